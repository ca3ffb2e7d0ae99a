"""A measurement has its node to itself, waits in the open, and nobody's broken pod holds it up."""

import pytest

from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import POD
from onnxmodel_operator.platform import settings
from onnxmodel_runtime.contract.stages import STAGES
from tests.builders import SETTINGS, Cluster, body
from tests.stages import UNSERVED

WORKING = {stage for stage, row in STAGES.items() if row.works}
MEASURING = [stage.value for stage, row in STAGES.items() if row.measures]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def rules(job):
    return job["spec"]["template"]["spec"].get("affinity", {}).get("podAntiAffinity", {}).get(REQUIRED, [])


def kept_away(job):
    """The stages that the scheduler keeps off the Job's node."""
    (rule,) = rules(job)
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["namespaceSelector"] == {}, "of all namespaces"
    (expression,) = rule["labelSelector"]["matchExpressions"]
    assert (expression["key"], expression["operator"]) == (names.LABEL_STAGE, "In")
    assert set(expression["values"]) <= WORKING, "and no probe"
    return set(expression["values"])


def at(stage, *models):
    """A cluster in which the first model's stage has its Job."""
    cluster = Cluster(*(models or (body(),)))
    for before in UNSERVED:
        cluster.settle()
        if before == stage:
            return cluster
        cluster.succeed(before)
    cluster.settle()
    cluster.available()
    cluster.settle()
    return cluster


def unscheduled(cluster, stage, message):
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    job = cluster.jobs()[stage]
    spec = job["spec"]["template"]["spec"]
    return cluster.pod(job, phase="Pending", conditions=[condition], container=stage, spec=spec)


def elsewhere(cluster, stage, name="other", state=None, node="n1", phase="Running"):
    """A pod of another namespace's model, on a node."""
    labels = {names.MANAGED_BY: names.MANAGER, names.LABEL_MODEL: name, names.LABEL_STAGE: stage}
    job = {
        "kind": "Job",
        "metadata": {"name": f"{name}-{stage}", "namespace": "team-b", "uid": f"uid-{name}"},
        "spec": {"template": {"metadata": {"labels": labels}}},
    }
    spec = {"nodeName": node} if node else {}
    return cluster.pod(job, container=stage, state=state, phase=phase, spec=spec)


@pytest.mark.parametrize("stage", MEASURING)
def test_what_measures_is_alone_and_what_does_not_may_share(stage):
    cluster = at(stage)
    assert kept_away(cluster.jobs()[stage]) == WORKING
    for other in (set(cluster.jobs()) & WORKING) - {*MEASURING}:
        (rule,) = rules(cluster.jobs()[other])
        assert rule["topologyKey"] == "onnx-operator.dev/none", "no node has it, so that it keeps nothing away"
        assert rule["labelSelector"]["matchExpressions"][0]["values"] == MEASURING
    for deployment in cluster.deployments():
        assert rules(deployment) == []


def test_the_rule_joins_those_of_the_pool():
    own = {"nodeAffinity": {"x": 1}, "podAntiAffinity": {REQUIRED: [{"topologyKey": "rack", "labelSelector": {}}]}}
    pools = {"default": {"affinity": own}}
    platform = settings.parse({**SETTINGS.model_dump(mode="json", by_alias=True), "pools": pools})
    cluster = Cluster(body(), platform=platform)
    cluster.reach("benchmark")
    affinity = cluster.jobs()["benchmark"]["spec"]["template"]["spec"]["affinity"]
    assert affinity["nodeAffinity"] == {"x": 1}
    assert [rule["topologyKey"] for rule in affinity["podAntiAffinity"][REQUIRED]] == ["rack", "kubernetes.io/hostname"]
    assert pools["default"]["affinity"] == own, "the settings are not touched"


def test_a_measurement_that_waits_says_for_whom_and_is_never_stalled_by_it():
    cluster = at("benchmark")
    unscheduled(cluster, "benchmark", "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.")
    ahead = elsewhere(cluster, "optimize")
    cluster.pass_time(7200)
    outcome = cluster.step()
    assert cluster.condition("Reconciling")["reason"] == "WaitingForQuietNode"
    assert "until no other stage runs on its node: team-b/other-optimize-" in cluster.status()["message"]
    assert "on node n1" in cluster.status()["message"]
    assert outcome.requeue_seconds == 30
    del cluster.objects["Pod", "team-b", ahead["metadata"]["name"]]
    cluster.settle()
    assert cluster.condition("Reconciling")["reason"] == "WaitingForQuietNode", (
        "its turn came, the scheduler has yet to act"
    )
    assert cluster.condition("Stalled") is None


def test_another_stage_that_waits_for_a_measurement_says_so():
    cluster = at("validate")
    unscheduled(cluster, "validate", "1 node(s) didn't satisfy existing pods anti-affinity rules.")
    elsewhere(cluster, "benchmark")
    elsewhere(cluster, "optimize", "not-in-its-way")
    cluster.pass_time(7200)
    cluster.step()
    assert cluster.condition("Reconciling")["reason"] == "WaitingForMeasurement"
    assert "team-b/other-benchmark-" in cluster.status()["message"]
    assert "not-in-its-way" not in cluster.status()["message"]


def test_a_lack_of_anything_else_is_stalled_as_ever():
    cluster = at("benchmark")
    unscheduled(cluster, "benchmark", "0/1 nodes are available: 1 Insufficient cpu.")
    elsewhere(cluster, "optimize")
    cluster.pass_time(7200)
    cluster.step()
    assert cluster.condition("Stalled")["reason"] == "Unschedulable"


def test_a_pod_that_cannot_start_holds_up_no_measurement():
    """Somebody's Secret is missing: such a pod keeps its place on the node for hours, and uses none of its cores."""
    cluster = at("benchmark")
    unscheduled(cluster, "benchmark", "1 node(s) didn't match pod anti-affinity rules.")
    elsewhere(cluster, "validate", state={"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}})
    cluster.settle()
    assert kept_away(cluster.jobs()["benchmark"]) == {"benchmark", "loadtest"}, "made again with the weaker rule"
    assert names.ANNOTATION_QUIET not in cluster.jobs()["benchmark"]["metadata"]["annotations"]
    job = cluster.jobs()["benchmark"]
    cluster.pod(job, container="benchmark", spec={"nodeName": "n1"})
    cluster.objects = {key: item for key, item in cluster.objects.items() if key[1] != "team-b"}
    assert [write for write in cluster.settle() if write[1] == "Job"] == [], "one that runs stays as it was made"


def test_the_cache_knows_who_works_on_a_node():
    cluster = Cluster()
    pods = {
        "benchmark": elsewhere(cluster, "benchmark"),
        "probe": elsewhere(cluster, "probe"),
        "no node": elsewhere(cluster, "optimize", node=""),
        "ended": elsewhere(cluster, "optimize", phase="Succeeded"),
    }
    cache = Cache()
    live = {key: item for key, item in cluster.objects.items() if key[0] == "Pod"}
    for item in live.values():
        cache.put(POD, item)
    busy = cache.snapshot(("team-a", "magika")).busy
    assert [item["metadata"]["name"] for item in busy] == [pods["benchmark"]["metadata"]["name"]]
    key = ("Pod", "team-b", pods["benchmark"]["metadata"]["name"])
    done = {**live[key], "status": {"phase": "Failed"}}
    done["metadata"] = {**done["metadata"], "resourceVersion": "999"}
    cache.put(POD, done)
    assert cache.snapshot(("team-a", "magika")).busy == ()
    cache.put(POD, {**live[key], "metadata": {**live[key]["metadata"], "resourceVersion": "1000"}})
    cache.drop(POD, live[key])
    assert cache.snapshot(("team-a", "magika")).busy == ()
