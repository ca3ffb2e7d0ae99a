"""Why a pod does not run yet."""

import pytest

from onnxmodel_operator import names
from onnxmodel_operator.observe.waiting import is_idle, suspended, waiting_of, works_on_a_node
from onnxmodel_operator.times import format_time
from onnxmodel_runtime.contract.outcome import Outcome, encode
from onnxmodel_runtime.contract.stages import Stage

AT = "2026-01-01T00:00:00Z"
RULE = {"labelSelector": {"matchExpressions": [{"key": names.LABEL_STAGE, "operator": "In", "values": ["benchmark"]}]}}
POOLS_RULE = {"labelSelector": {"matchLabels": {"team": "a"}}}
KEPT_AWAY = "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."


def pod(*, stage="validate", node="", rules=(RULE,), conditions=(), phase="Pending", deleting=False, **containers):
    """A pod of a stage. containers: name -> its state."""
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": list(rules)}
    return {
        "metadata": {
            "name": "p",
            "namespace": "team-a",
            "uid": "uid-p",
            "labels": {names.LABEL_STAGE: stage},
            "creationTimestamp": AT,
            **({"deletionTimestamp": AT} if deleting else {}),
        },
        "spec": {"nodeName": node, "affinity": {"podAntiAffinity": terms}},
        "status": {
            "phase": phase,
            "startTime": AT,
            "conditions": list(conditions),
            "containerStatuses": [
                {"name": name, "image": "runtime:cpu", "state": state} for name, state in containers.items()
            ],
        },
    }


def unscheduled(message="no GPU", **condition):
    return {"type": "PodScheduled", "status": "False", "lastTransitionTime": AT, "message": message, **condition}


def waits(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


def test_an_image_that_is_a_volume_is_not_said_to_be_the_containers():
    """As a kubelet of 1.35 reports it, of the container."""
    image = "registry.example.com/artifacts/team-a/m@sha256:" + "e" * 64
    for own, named in (("runtime:cpu", image), (image, image), ("runtime@sha256:" + "e" * 64, None)):
        for message in (f'failed to pull and unpack image "{image}": no', f'Back-off pulling image "{image}": no'):
            item = pod(server=waits("ErrImagePull", message))
            item["status"]["containerStatuses"][0]["image"] = own
            found = waiting_of(item, ())
            assert found is not None
            assert found.failure.reason == "ImagePullFailed"
            assert found.failure.message == f"image {named or own} cannot be pulled: {message}"
            assert ("artifacts.oci" in found.failure.hint) is (own == "runtime:cpu")


@pytest.mark.parametrize(
    ("state", "reason", "message"),
    [
        (waits("ErrImagePull", "401"), "ImagePullFailed", "image runtime:cpu cannot be pulled: 401"),
        (waits("ImagePullBackOff", "401"), "ImagePullFailed", "image runtime:cpu cannot be pulled: 401"),
        (waits("InvalidImageName"), "ImagePullFailed", "image runtime:cpu cannot be pulled: "),
        (waits("ErrImageNeverPull"), "ImagePullFailed", "image runtime:cpu cannot be pulled: "),
        (
            waits("CreateContainerConfigError", 'secret "s" not found'),
            "CreateContainerConfigError",
            'container validate cannot be created: secret "s" not found',
        ),
        (waits("CreateContainerError"), "CreateContainerError", "container validate cannot be created: "),
        (waits("RunContainerError", "no runtime"), "RunContainerError", "container validate is waiting: no runtime"),
        (waits("ContainerCreating"), "PodNotStarted", "pod p is scheduled, but does not start"),
        (waits("PodInitializing"), "PodNotStarted", "pod p is scheduled, but does not start"),
        ({}, "PodNotStarted", "pod p is scheduled, but does not start"),
    ],
)
def test_why_a_pod_with_a_node_does_not_start(state, reason, message):
    found = waiting_of(pod(validate=state), ())
    assert found is not None
    assert (found.failure.reason, found.failure.message) == (reason, message)
    assert found.failure.hint
    assert found.since is not None
    assert format_time(found.since) == AT
    silent = reason == "PodNotStarted"
    assert (found.silent, found.about, found.normal_seconds) == ((True, "uid-p", 60) if silent else (False, "", 0))


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(pod(validate={"running": {}}, phase="Running"), id="runs"),
        pytest.param(pod(validate=waits("CrashLoopBackOff"), fetch={"terminated": {}}), id="crashed"),
        pytest.param(pod(phase="Succeeded"), id="succeeded"),
        pytest.param(pod(phase="Failed", validate=waits("ErrImagePull")), id="failed"),
        pytest.param(pod(deleting=True, validate=waits("ErrImagePull")), id="is being deleted"),
        pytest.param(pod(), id="was just made"),
        pytest.param(pod(conditions=[{"type": "PodScheduled", "status": "True"}]), id="was just scheduled"),
    ],
)
def test_a_pod_that_waits_for_nothing(there):
    assert waiting_of(there, ()) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [({}, "Job j is suspended"), ({names.LABEL_QUEUE: "q"}, "Job j is suspended until queue q admits it")],
)
def test_a_job_that_somebody_suspended_waits_without_a_deadline(labels, message):
    job = {"metadata": {"name": "j", "namespace": "n", "labels": labels}, "spec": {"suspend": True}}
    found = suspended(job)
    assert found is not None
    assert (found.failure.reason, found.failure.message, found.queued) == ("WaitingForQuota", message, True)
    assert 'kubectl -n n patch job j -p \'{"spec":{"suspend":false}}\'' in found.failure.hint
    assert suspended({**job, "spec": {"suspend": False}}) is None


@pytest.mark.parametrize(
    ("condition", "claims", "reason", "queued", "about"),
    [
        (unscheduled(), (), "Unschedulable", False, ""),
        (unscheduled(reason="SchedulerError"), (), "SchedulerError", False, ""),
        (unscheduled(reason="SchedulingGated"), (), "SchedulingGated", True, ""),
        (unscheduled(), ("Pending",), "Unschedulable", False, "uid-claim"),
        (unscheduled(), ("Bound",), "Unschedulable", False, ""),
    ],
)
def test_why_a_pod_has_no_node(condition, claims, reason, queued, about):
    volumes = [{"metadata": {"uid": "uid-claim"}, "status": {"phase": phase}} for phase in claims]
    found = waiting_of(pod(conditions=[condition]), volumes)
    assert found is not None
    assert (found.failure.reason, found.queued, found.about) == (reason, queued, about)
    assert found.failure.message == "pod p is not scheduled: no GPU"


def busy(number, stage="benchmark"):
    item = pod(stage=stage, node=f"node-{number}")
    return {**item, "metadata": {**item["metadata"], "name": f"b{number}"}}


@pytest.mark.parametrize(
    ("stage", "rules", "others", "reason", "ahead"),
    [
        pytest.param(
            Stage.BENCHMARK,
            [RULE],
            [busy(1, Stage.VALIDATE)],
            "WaitingForQuietNode",
            "team-a/b1 on node node-1",
            id="a measurement waits for any stage",
        ),
        pytest.param(
            Stage.LOADTEST,
            [RULE],
            [busy(n) for n in range(5)],
            "WaitingForQuietNode",
            "team-a/b0 on node node-0, team-a/b1 on node node-1, team-a/b2 on node node-2 and 2 more",
            id="three are named",
        ),
        pytest.param(
            Stage.VALIDATE,
            [RULE],
            [busy(1), busy(2, Stage.OPTIMIZE)],
            "WaitingForMeasurement",
            "team-a/b1 on node node-1",
            id="a stage waits for measurements alone",
        ),
        pytest.param(
            Stage.VALIDATE,
            [RULE],
            [],
            "WaitingForMeasurement",
            f"the scheduler has yet to retry ({KEPT_AWAY})",
            id="nobody is ahead any more",
        ),
        pytest.param(
            Stage.VALIDATE,
            [RULE, POOLS_RULE],
            [busy(1)],
            "Unschedulable",
            KEPT_AWAY,
            id="the pool has a rule of its own",
        ),
    ],
)
def test_who_is_ahead_of_a_pod_that_waits_for_its_turn(stage, rules, others, reason, ahead):
    found = waiting_of(pod(stage=stage, rules=rules, conditions=[unscheduled(KEPT_AWAY)]), (), others)
    assert found is not None
    assert (found.failure.reason, found.queued) == (reason, reason != "Unschedulable")
    assert found.failure.message.endswith(f": {ahead}")


@pytest.mark.parametrize(
    ("there", "works"),
    [
        (pod(stage=Stage.VALIDATE, node="n"), True),
        (pod(stage=Stage.BENCHMARK, node="n", phase="Running"), True),
        (pod(stage=Stage.PROBE, node="n"), False),
        (pod(stage="", node="n"), False),
        (pod(stage=Stage.VALIDATE), False),
        (pod(stage=Stage.VALIDATE, node="n", phase="Succeeded"), False),
        (pod(stage=Stage.VALIDATE, node="n", phase="Failed"), False),
    ],
)
def test_which_pods_work_on_a_node(there, works):
    assert works_on_a_node(there) is works


DONE = {"terminated": {"exitCode": 0, "message": encode(Outcome("validate", 1.0))}}
DEAD = {"terminated": {"exitCode": 1, "message": ""}}


@pytest.mark.parametrize(
    ("containers", "idle"),
    [
        ({"validate": waits("ErrImagePull")}, True),
        ({"validate": waits("ContainerCreating")}, False),
        ({"validate": {"running": {}}}, False),
        ({"validate": DEAD, "proxy": {"running": {}}}, True),
        ({"validate": DONE, "proxy": {"running": {}}}, False),
        ({"validate": DEAD}, False),
    ],
)
def test_which_pods_use_none_of_their_nodes_cores(containers, idle):
    assert is_idle(pod(**containers)) is idle


@pytest.mark.parametrize(
    ("claims", "conditions", "node", "waits_for_them"),
    [
        pytest.param(["one-gpu"], (), "", True, id="the scheduler has not looked at it"),
        pytest.param(["one-gpu"], [{"type": "PodScheduled", "status": "True"}], "n", False, id="it has a node"),
        pytest.param([], (), "", False, id="it has no claims"),
    ],
)
def test_a_pod_whose_claims_were_not_made(claims, conditions, node, waits_for_them):
    there = pod(conditions=conditions, node=node)
    if claims:
        there["spec"]["resourceClaims"] = [{"resourceClaimTemplateName": name} for name in claims]
    found = waiting_of(there, ())
    assert (found is not None) is waits_for_them
    if found:
        assert (found.failure.reason, found.about, found.normal_seconds) == ("ResourceClaimMissing", "uid-p", 5)
        assert "Create ResourceClaimTemplate one-gpu in namespace team-a" in found.failure.hint
