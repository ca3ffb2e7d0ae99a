"""What Jobs, Deployments and the other children tell."""

from datetime import UTC, datetime, timedelta

import pytest

from onnxmodel_operator import names
from onnxmodel_operator.observe import Snapshot, observe
from onnxmodel_operator.observe.children import read_job, read_revision
from onnxmodel_operator.observe.values import JobSeen, Waiting, Warned
from onnxmodel_operator.observe.warnings import explained, puzzles
from onnxmodel_runtime.contract.outcome import Failure, Outcome, encode

AT, LATER = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUCCESS = encode(Outcome("validate", 1.0))


def meta(name, *, kind="OnnxModel", uid="uid-model", deleting=False, labels=(), **annotations):
    """Metadata of an object that the model owns."""
    return {
        "name": name,
        "namespace": "team-a",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": AT,
        "labels": {names.LABEL_MODEL: "m", **dict(labels)},
        "annotations": annotations,
        "ownerReferences": [{"kind": kind, "uid": uid}],
        **({"deletionTimestamp": AT} if deleting else {}),
    }


def job(*conditions, annotations=(), **status):
    """A Job of validate. conditions: types, all of which are true."""
    given = {names.LABEL_DIGEST: "d1", **dict(annotations)}
    told = [
        {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": LATER} for kind, reason in conditions
    ]
    return {
        "metadata": meta("j", labels=[(names.LABEL_STAGE, "validate")], **given),
        "status": {"conditions": told, **status},
    }


def pod(state, name="validate", *, phase="Running"):
    return {
        "metadata": meta("p", kind="Job", uid="uid-j", labels=[(names.LABEL_STAGE, "validate")]),
        "spec": {},
        "status": {"phase": phase, "containerStatuses": [{"name": name, "state": state}]},
    }


def terminated(code, message=""):
    return {"terminated": {"exitCode": code, "message": message, "finishedAt": AT}}


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], "Running"),
        ([("Suspended", "")], "Running"),
        ([("FailureTarget", ""), ("SuccessCriteriaMet", "")], "Running"),
        ([("SuccessCriteriaMet", ""), ("Complete", "CompletionsReached")], "Succeeded"),
        ([("FailureTarget", ""), ("Failed", "PodFailurePolicy")], "Failed"),
    ],
)
def test_the_state_of_a_job(conditions, state):
    seen = read_job(job(*conditions), [], Snapshot(None))
    assert (seen.state, seen.stage, seen.digest, seen.name) == (state, "validate", "d1", "j")
    assert bool(seen.ended) == (state == "Failed")
    assert seen.completion_time == (LATER if state == "Failed" else None)


def test_a_job_that_succeeded_has_what_its_pod_said():
    seen = read_job(job(("Complete", ""), completionTime=LATER), [pod(terminated(0, SUCCESS))], Snapshot(None))
    assert (seen.message, seen.completion_time, seen.pods) == (SUCCESS, LATER, 1)
    assert seen.outcome == Outcome("validate", 1.0)


def test_a_job_whose_pod_a_sidecar_keeps_alive_has_its_outcome_before_its_end():
    there = pod(terminated(0, SUCCESS))
    there["status"]["containerStatuses"].append({"name": "proxy", "state": {"running": {}}})
    seen = read_job(job(), [there], Snapshot(None))
    assert (seen.state, seen.kept_alive_by, seen.message) == ("Running", "proxy", SUCCESS)


@pytest.mark.parametrize(
    ("failed", "pods", "attempts"),
    [
        (0, [pod(terminated(1))], 1),
        (1, [pod(terminated(1))], 1),
        (3, [], 3),
        (0, [pod({"running": {}})], 0),
    ],
)
def test_the_end_of_an_attempt_is_seen_before_the_job_counts_it(failed, pods, attempts):
    assert read_job(job(failed=failed), pods, Snapshot(None)).attempts == attempts


@pytest.mark.parametrize(
    ("reason", "suffix"),
    [("BackoffLimitExceeded", "(every attempt failed; there are no more retries)"), ("PodFailurePolicy", "1")],
)
def test_why_a_job_failed(reason, suffix):
    seen = read_job(job(("Failed", reason)), [pod(terminated(1), phase="Failed")], Snapshot(None))
    assert seen.ended is not None
    assert seen.ended.failure.message.startswith("container validate exited with code 1")
    assert seen.ended.failure.message.endswith(suffix)


@pytest.mark.parametrize(
    ("started", "began"),
    [
        (None, AT),
        ("2026-01-01T00:00:04Z", AT),
        ("2026-01-01T00:10:00Z", "2026-01-01T00:10:00Z"),
    ],
)
def test_a_stage_began_as_its_job_was_made_unless_a_queue_held_it_back(started, began):
    assert read_job(job(startTime=started), [], Snapshot(None)).start_time == began


def test_a_job_without_a_pod_waits_for_one():
    seen = read_job(job(startTime=AT), [], Snapshot(None))
    assert seen.waiting is not None
    assert (seen.waiting.failure.reason, seen.waiting.about, seen.waiting.normal_seconds) == ("NoPod", "uid-j", 10)
    assert read_job(job(), [], Snapshot(None)).waiting is None, "it is suspended, or was just made"


def test_a_measurement_that_was_made_to_run_alone_says_so():
    assert read_job(job(annotations=[(names.ANNOTATION_QUIET, "true")]), [], Snapshot(None)).quiet
    assert not read_job(job(), [], Snapshot(None)).quiet


def deployment(*, wanted=2, observed=1, conditions=(), labels=(), **numbers):
    given = {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted, "readyReplicas": wanted}
    return {
        "metadata": meta("m-r1", labels=[(names.LABEL_REVISION, "r1"), *labels]),
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": observed, "conditions": list(conditions), **{**given, **numbers}},
    }


@pytest.mark.parametrize(
    ("there", "complete", "available"),
    [
        (deployment(), True, 2),
        (deployment(observed=0), False, 2),
        (deployment(availableReplicas=1), False, 1),
        (deployment(updatedReplicas=1), False, 2),
        (deployment(replicas=3), False, 2),
        (deployment(wanted=0), True, 0),
    ],
)
def test_whether_a_revision_is_complete(there, complete, available):
    seen = read_revision(there, [], ())
    assert (seen.complete, seen.available, seen.overdue, seen.revision) == (complete, available, False, "r1")


@pytest.mark.parametrize(
    ("condition", "overdue", "reason", "hint"),
    [
        ({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}, True, None, ""),
        ({"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}, False, None, ""),
        (
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"},
            False,
            "PodsRefused",
            "Raise the ResourceQuota",
        ),
        (
            {"type": "ReplicaFailure", "status": "True", "message": "no"},
            False,
            "PodsRefused",
            "Change what the message",
        ),
        ({"type": "ReplicaFailure", "status": "False"}, False, None, ""),
    ],
)
def test_what_a_deployment_says_of_its_pods(condition, overdue, reason, hint):
    seen = read_revision(deployment(conditions=[condition]), [], ())
    assert seen.overdue is overdue
    assert (seen.waiting.failure.reason if seen.waiting else None) == reason
    assert seen.waiting is None or seen.waiting.failure.hint.startswith(hint)


def test_the_runtime_of_a_revision():
    assert read_revision(deployment(labels=[(names.LABEL_RUNTIME, "triton")]), [], ()).runtime == "triton"
    assert read_revision(deployment(), [], ()).runtime == "onnxruntime", "one of an earlier release has no label"


MODEL = {"metadata": {"uid": "uid-model"}, "status": {"observedGeneration": 3}}
CLAIM = {"metadata": meta("m-artifacts")}


def service(name, revision):
    return {"metadata": meta(name), "spec": {"selector": {names.LABEL_REVISION: revision}}}


def record(name, claim, **given):
    metadata = meta(name, labels=[(names.LABEL_REVISION, name)], **{names.ANNOTATION_CLAIM: claim})
    return {"metadata": {**metadata, **given}, "data": {"of": name}}


def test_what_is_observed_of_a_model():
    seen = observe(
        Snapshot(
            MODEL,
            jobs=(job(),),
            deployments=(deployment(),),
            services=(service("m-r1", "r1"), service("m", "r0")),
            claims=(CLAIM,),
            records=(record("r1", "uid-m-artifacts"), record("r0", "uid-of-an-earlier-volume")),
        )
    )
    assert (seen.claim_uid, seen.claim_leaves, seen.stuck) == ("uid-m-artifacts", False, False)
    assert list(seen.jobs) == [("validate", "d1")]
    assert list(seen.revisions) == ["r1"]
    assert seen.routed == "r0", "the Service of a load test is asked by nobody else"
    assert seen.records == {"r1": {"of": "r1"}}, "the artifacts of the other one are gone"
    assert seen.memory.generation == 3
    assert ("Service", "m-r1") in seen.live


def test_what_leaves_is_there_and_decides_nothing():
    leaving = {**deployment(), "metadata": meta("m-r1", labels=[(names.LABEL_REVISION, "r1")], deleting=True)}
    seen = observe(Snapshot(MODEL, deployments=(leaving,), claims=({"metadata": meta("m-artifacts", deleting=True)},)))
    assert (seen.claim_uid, seen.claim_leaves, dict(seen.revisions)) == (None, True, {})
    assert set(seen.live) == {("Deployment", "m-r1"), ("PersistentVolumeClaim", "m-artifacts")}


def test_children_of_an_earlier_model_of_the_same_name_are_not_this_ones():
    other = {"metadata": meta("m-artifacts", uid="uid-before")}
    assert not observe(Snapshot(MODEL, claims=(other,))).live


@pytest.mark.parametrize(
    ("stage", "state", "stuck"),
    [
        ("validate", {"waiting": {"reason": "ErrImagePull"}}, True),
        ("validate", {"running": {}}, False),
        ("benchmark", {"waiting": {"reason": "ErrImagePull"}}, False),
    ],
)
def test_a_stage_that_is_stuck_on_a_node_anywhere_holds_up_no_measurement(stage, state, stuck):
    there = pod(state)
    there["metadata"]["labels"][names.LABEL_STAGE] = stage
    assert observe(Snapshot(MODEL, busy=(there,))).stuck is stuck


def waits(**waiting):
    """What is observed while the one Job waits."""
    found = Waiting(Failure("NoPod", "Job j has no pod", "Read the events."), NOW, **waiting)
    seen = observe(Snapshot(MODEL, jobs=(job(),)))
    (key, there), *_ = seen.jobs.items()
    fields = {name: getattr(there, name) for name in JobSeen.__slots__}
    return type(seen)(
        claim_uid=None,
        claim_leaves=False,
        jobs={key: JobSeen(**{**fields, "waiting": found})},
        revisions={},
        routed=None,
        live={},
    )


@pytest.mark.parametrize(
    ("waiting", "seconds", "asked"),
    [
        ({"about": "uid-j", "normal_seconds": 10}, 9, set()),
        ({"about": "uid-j", "normal_seconds": 10}, 10, {"uid-j"}),
        ({"about": "uid-j"}, 0, {"uid-j"}),
        ({}, 100, set()),
    ],
)
def test_whose_events_are_read(waiting, seconds, asked):
    assert puzzles(waits(**waiting), NOW + timedelta(seconds=seconds)) == asked


@pytest.mark.parametrize(
    ("waiting", "warnings", "message", "hint"),
    [
        ({}, ["exceeded quota: q"], "Job j has no pod: exceeded quota: q", "Raise the ResourceQuota"),
        ({}, ["cpu max limit to request ratio per Container is 1"], None, "Set serving.resources within"),
        ({}, ["violates PodSecurity"], None, "Pods of models comply with the restricted"),
        ({}, ['admission webhook "x" denied the request'], None, "Change what the webhook rejects"),
        ({}, ["no PriorityClass with name x was found"], None, "Create the PriorityClass"),
        ({}, ['RuntimeClass "x" not found'], None, "Create the RuntimeClass"),
        ({}, ['service account "default" not found'], None, "Create the ServiceAccount in the namespace"),
        ({}, ['storageclass.storage.k8s.io "x" not found'], None, "Create the StorageClass"),
        ({}, ["Multi-Attach error for volume"], None, "Wait until the pods on the other node"),
        ({}, ["something else", "exceeded quota: q"], "Job j has no pod: something else", "Read the events."),
        ({}, [], "Job j has no pod", "Read the events."),
        ({"silent": True}, ["Pulling failed"], "Job j has no pod: Pulling failed", "Read the events."),
    ],
)
def test_what_events_explain(waiting, warnings, message, hint):
    told = {"uid-j": [Warned("Failed", words, NOW) for words in warnings]}
    (found,) = explained(waits(about="uid-j", **waiting), told, NOW).jobs.values()
    assert found.waiting is not None
    assert found.waiting.failure.message == (message or f"Job j has no pod: {warnings[0]}")
    assert found.waiting.failure.hint.startswith(hint)


@pytest.mark.parametrize(
    "warnings", [[], [Warned("Failed", "", None)], [Warned("Failed", "", NOW - timedelta(minutes=6))]]
)
def test_a_pod_of_which_the_kubelet_warns_no_more_waits_for_nothing(warnings):
    (found,) = explained(waits(about="uid-j", silent=True), {"uid-j": warnings}, NOW).jobs.values()
    assert found.waiting is None


def test_events_of_others_explain_nothing():
    seen = waits(about="uid-j")
    assert explained(seen, {"uid-other": [Warned("Failed", "x", NOW)]}, NOW).jobs == seen.jobs
    assert explained(seen, {}, NOW) is seen
