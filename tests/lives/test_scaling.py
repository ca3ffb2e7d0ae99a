"""An autoscaler sets the replicas of a model: what is made for it, and what becomes of rollouts meanwhile."""

from typing import Any

import pytest

from dev.results import benchmarked
from onnxmodel_operator.platform import settings
from tests.builders import SETTINGS, Cluster, body

NEW = {"optimization": {"graphLevel": "Basic"}}
QUERY = 'rate(gateway_requests_total{namespace="$namespace",model="$model"}[1m])'
KEDA = {"backend": "KEDA", "activationQuery": QUERY}


def platform(**autoscaling: Any) -> settings.Settings:
    found = SETTINGS.model_dump(by_alias=True, mode="json") | {"autoscaling": autoscaling or KEDA}
    return settings.parse(found)


def scaled(platform_: settings.Settings | None = None, *, rollout: Any = None, **autoscaling: Any) -> Cluster:
    """A model that is Ready, with an autoscaler."""
    asked = {"minReplicas": 1, "maxReplicas": 5, **autoscaling}
    more = {"rollout": rollout} if rollout else {}
    cluster = Cluster(body(serving={"autoscaling": asked}, **more), platform=platform_ or platform())
    cluster.live()
    cluster.settle()
    return cluster


def scale(cluster: Cluster, replicas: int) -> None:
    """The autoscaler writes the scale."""
    serving = cluster.objects["OnnxModel", "team-a", "magika"]["spec"]["serving"]
    cluster.edit(serving={**serving, "replicas": replicas})
    cluster.settle()


def scaler(cluster: Cluster, kind: str = "ScaledObject") -> Any:
    return cluster.objects.get((kind, "team-a", "magika-autoscaler"))


def shares(cluster: Cluster) -> dict[str, int]:
    return {share["revision"]: share["wanted"] for share in cluster.status().get("traffic", ())}


def report(cluster: Cluster, *conditions: dict[str, str], kind: str = "ScaledObject") -> None:
    """The autoscaler says how it is."""
    cluster._store({**scaler(cluster, kind), "status": {"conditions": list(conditions)}})
    cluster.settle()


def condition(type_: str, status: str, reason: str = "R", message: str = "m") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def replicas(cluster: Cluster) -> list[int]:
    return [deployment["spec"]["replicas"] for deployment in cluster.deployments()]


def stages(cluster: Cluster, since: int) -> list[str]:
    return [name for verb, kind, name in cluster.writes[since:] if (verb, kind) == ("apply", "Job")]


def test_the_load_test_sets_the_target():
    cluster = scaled()
    served = cluster.status()["active"]["served"]["throughputPerSecond"]
    assert cluster.status()["active"]["capacity"] == served
    spec = scaler(cluster)["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 5)
    assert spec["scaleTargetRef"] == {
        "apiVersion": "onnx-operator.dev/v1alpha1", "kind": "OnnxModel", "name": "magika",
    }  # fmt: skip
    (trigger,) = spec["triggers"]
    assert float(trigger["metadata"]["threshold"]) == pytest.approx(0.8 * served)
    assert trigger["metadata"]["query"] == (
        'sum(rate(nv_inference_count{namespace="team-a",model="magika",'
        f'onnx_operator_dev_revision=~"{cluster.routed()}"}}[2m]))'
    )
    assert cluster.status()["autoscaling"] == {"backend": "KEDA", "metric": "RowsPerSecond", "target": 0.8 * served}
    assert cluster.condition("ScalingReady")["status"] == "Unknown"
    report(cluster, condition("Ready", "True"))
    found = cluster.condition("ScalingReady")
    assert (found["status"], found["message"]) == (
        "True", f"between 1 and 5 replicas, each with {0.8 * served:g} rows per second",
    )  # fmt: skip


def test_a_first_revision_is_not_scaled_before_it_is_proven():
    cluster = Cluster(body(serving={"autoscaling": {"maxReplicas": 5}}), platform=platform())
    cluster.prove()
    cluster.deploy()
    assert scaler(cluster) is None
    assert cluster.condition("ScalingReady")["message"] == "nothing is scaled before a revision is proven"
    cluster.live()
    assert scaler(cluster)


def test_other_autoscalers_of_the_cluster_have_the_same_numbers():
    cluster = scaled(platform(backend="HPA"), scaleDownAfterSeconds=60)
    served = cluster.status()["active"]["served"]["throughputPerSecond"]
    spec = scaler(cluster, "HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 5)
    assert spec["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 60}}
    external = spec["metrics"][0]["external"]
    assert external["metric"] == {
        "name": "onnxmodel_rows_per_second",
        "selector": {
            "matchLabels": {"model": "magika"},
            "matchExpressions": [{"key": "onnx_operator_dev_revision", "operator": "In", "values": [cluster.routed()]}],
        },
    }
    assert external["target"] == {"type": "AverageValue", "averageValue": f"{round(800 * served)}m"}
    report(cluster, condition("ScalingActive", "False", "FailedGetExternalMetric", "no metrics returned"),
           kind="HorizontalPodAutoscaler")  # fmt: skip
    found = cluster.condition("ScalingReady")
    assert (found["status"], found["reason"]) == ("False", "FailedGetExternalMetric")
    assert found["message"].endswith("magika-autoscaler does not scale: no metrics returned")


def test_what_the_autoscaler_of_keda_reports_counts_too():
    cluster = scaled()
    report(cluster, condition("Ready", "True"))
    ours = scaler(cluster)["metadata"]
    theirs = {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": "keda-hpa-magika-autoscaler", "namespace": "team-a", "uid": "uid-hpa", "labels": ours["labels"],
            "ownerReferences": [{"uid": ours["uid"]}],
        },
        "spec": {},
        "status": {"conditions": [condition("ScalingActive", "False", "FailedGetExternalMetric", "no answer")]},
    }  # fmt: skip
    cluster._store(theirs)
    cluster.settle()
    assert cluster.condition("ScalingReady")["reason"] == "FailedGetExternalMetric"
    cluster._store({**theirs, "status": {"conditions": [condition("ScalingActive", "False", "ScalingDisabled")]}})
    cluster.settle()
    assert cluster.condition("ScalingReady")["status"] == "True", "at zero it has nothing to do"


def test_without_an_autoscaler_of_the_platform_the_field_is_refused():
    cluster = Cluster(body(serving={"autoscaling": {"maxReplicas": 5}}))
    cluster.settle()
    stalled = cluster.condition("Stalled")
    assert stalled["reason"] == "InvalidSpec"
    assert stalled["message"] == (
        "spec.serving.autoscaling: the platform has no autoscaler: set settings.autoscaling in the chart's values, or "
        "serving.replicas alone"
    )


def test_zero_is_refused_where_nothing_would_wake_the_model():
    where = platform(**{name: value for name, value in KEDA.items() if name != "activationQuery"})
    cluster = Cluster(body(serving={"autoscaling": {"minReplicas": 0, "maxReplicas": 5}}), platform=where)
    cluster.settle()
    assert cluster.condition("Stalled")["message"].startswith("spec.serving.autoscaling.minReplicas: 0 needs")


def test_a_cluster_without_keda_is_said_and_what_serves_goes_on():
    cluster = scaled()
    cluster.cache.missing.add("ScaledObject")
    del cluster.objects["ScaledObject", "team-a", "magika-autoscaler"]
    cluster.cache.notes.clear()
    assert {verb for verb, *_ in cluster.settle()} == {"status"}
    found = cluster.condition("ScalingReady")
    assert (found["status"], found["reason"]) == ("False", "BackendMissing")
    assert "install KEDA" in found["message"]
    assert cluster.condition("Ready")["status"] == "True"


def test_an_autoscaler_that_is_not_asked_for_any_more_goes():
    cluster = scaled()
    cluster.edit(serving={"replicas": 2})
    cluster.settle()
    assert scaler(cluster) is None
    assert cluster.condition("ScalingReady") is None
    assert "autoscaling" not in cluster.status()
    cluster = scaled()
    cluster.settings = platform(backend="HPA")
    cluster.settle()
    assert scaler(cluster) is None
    assert scaler(cluster, "HorizontalPodAutoscaler")


def test_the_replicas_of_an_autoscaler_are_followed():
    cluster = scaled()
    since = len(cluster.writes)
    for count in (3, 5, 2):
        scale(cluster, count)
        assert replicas(cluster) == [count]
        assert (("PodDisruptionBudget", "team-a", "magika-servers") in cluster.objects) == (count > 1)
        cluster.available()
        cluster.settle()
        assert cluster.condition("Ready")["status"] == "True"
    scale(cluster, 1)
    assert ("PodDisruptionBudget", "team-a", "magika-servers") not in cluster.objects
    assert stages(cluster, since) == []
    assert ("apply", "ScaledObject", "magika-autoscaler") not in cluster.writes[since:], "nothing of it depends on them"


def test_a_model_that_is_turned_off_is_not_scaled():
    cluster = scaled()
    scale(cluster, 0)
    assert cluster.status()["phase"] == "TurnedOff"
    assert cluster.condition("ScalingReady")["reason"] == "TurnedOff"
    assert scaler(cluster) is None, "it would turn it on again"
    scale(cluster, 1)
    cluster.available()
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert scaler(cluster)


def test_a_model_sleeps_and_wakes_and_says_how_long_that_took():
    cluster = scaled(minReplicas=0)
    load, wakes = (trigger["metadata"] for trigger in scaler(cluster)["spec"]["triggers"])
    asked = 'sum(rate(gateway_requests_total{namespace="team-a",model="magika"}[1m]))'
    assert load["query"].endswith(f"or 0 * {asked}")
    assert wakes["query"] == asked
    report(cluster, condition("Ready", "True"))
    revision, since = cluster.routed(), len(cluster.writes)
    scale(cluster, 0)
    cluster.available()
    cluster.settle()
    status = cluster.status()
    assert (status["phase"], status["reason"]) == ("ScaledToZero", "ScaledToZero")
    assert cluster.condition("Ready")["status"] == "True", "what was proven still is"
    assert cluster.condition("Available")["message"] == "nothing receives traffic: the model is scaled to zero"
    assert (replicas(cluster), status["serving"]["replicas"]) == ([0], 0)
    assert status["autoscaling"]["asleepSince"] == "2026-01-01T00:00:00Z"
    assert cluster.condition("ScalingReady")["status"] == "True"
    cluster.pass_time(3600)
    scale(cluster, 1)
    assert cluster.condition("Ready")["status"] == "False"
    assert cluster.status()["autoscaling"]["wakingSince"] == "2026-01-01T01:00:00Z"
    cluster.restart()
    cluster.pass_time(7)
    cluster.available()
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert stages(cluster, since) == [], "coming back proves nothing anew"
    assert cluster.routed() == revision
    found = cluster.status()["autoscaling"]
    assert found["coldStartSeconds"] == 7.0
    assert not {"asleepSince", "wakingSince"} & found.keys()
    assert scaler(cluster), "through all of it"


def test_a_new_revision_is_proven_while_the_model_sleeps():
    cluster = scaled(minReplicas=0)
    old = cluster.routed()
    scale(cluster, 0)
    cluster.available()
    cluster.edit(**NEW)
    for _ in range(12):
        cluster.settle()
        cluster.play()
    new = cluster.routed()
    assert new != old
    assert cluster.status()["active"]["revision"] == new
    assert cluster.status()["phase"] == "ScaledToZero"
    assert replicas(cluster) == [0]
    assert new in scaler(cluster)["spec"]["triggers"][0]["metadata"]["query"]


def test_a_revision_that_fails_while_the_model_sleeps_changes_nothing():
    cluster = scaled(minReplicas=0)
    old = cluster.routed()
    scale(cluster, 0)
    cluster.available()
    cluster.edit(**NEW)
    cluster.settle()
    cluster.succeed("optimize")
    cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    cluster.available(cluster.deployments()[-1])
    cluster.settle()
    cluster.fail("loadtest", 10)
    cluster.settle()
    assert cluster.condition("Stalled")
    assert cluster.routed() == old
    scale(cluster, 1)
    assert replicas(cluster)[0] == 1, "it wakes"


STEPS = [{"weight": 50, "pause": "1m"}]
CANARY = {"strategy": "Canary", "steps": STEPS, "gates": {"mode": "Warn"}}


def _changed(cluster: Cluster) -> None:
    cluster.edit(**NEW)
    cluster.settle()
    cluster.succeed("optimize")
    cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()


def _play(cluster: Cluster, seconds: float = 0) -> None:
    cluster.pass_time(seconds)
    for _ in range(3):
        cluster.settle()
        cluster.play()
    cluster.settle()


def test_a_canary_keeps_its_share_while_the_replicas_change():
    cluster = scaled(rollout=CANARY)
    scale(cluster, 4)
    cluster.available()
    cluster.settle()
    _changed(cluster)
    cluster.deploy()
    old, new = cluster.status()["active"]["revision"], cluster.status()["target"]["revision"]
    assert shares(cluster) == {old: 50, new: 50}
    query = scaler(cluster)["spec"]["triggers"][0]["metadata"]["query"]
    assert "|".join(sorted((old, new))) in query, "the load of both counts"
    for count in (2, 5, 3):
        scale(cluster, count)
        assert replicas(cluster) == [count, count], "the old one could take all of it"
        assert shares(cluster) == {old: 50, new: 50}
        cluster.play()
        cluster.settle()
        assert shares(cluster) == {old: 50, new: 50}
    since = cluster.status()["rollout"]["since"]
    assert since == "2026-01-01T00:00:00Z", "the step goes on"
    _play(cluster, 61)
    _play(cluster, 1)
    assert cluster.condition("Ready")["status"] == "True"
    assert replicas(cluster) == [3]


def test_a_canary_is_not_promoted_by_a_night():
    cluster = scaled(minReplicas=0, rollout={**CANARY, "gates": {"mode": "Enforce"}})
    _changed(cluster)
    cluster.deploy()
    assert len(shares(cluster)) == 2
    scale(cluster, 0)
    _play(cluster, 8 * 3600)
    assert replicas(cluster) == [1, 1], "both stay, since both are compared"
    assert cluster.status()["reason"] == "CanaryInconclusive"
    assert len(shares(cluster)) == 2
    assert cluster.condition("Ready")["status"] == "False"


def test_a_surge_takes_over_with_the_replicas_of_the_moment():
    cluster = scaled()
    scale(cluster, 2)
    cluster.available()
    cluster.settle()
    _changed(cluster)
    assert replicas(cluster) == [2, 2]
    scale(cluster, 4)
    assert replicas(cluster) == [4, 4]
    _play(cluster)
    _play(cluster)
    assert cluster.condition("Ready")["status"] == "True"
    assert replicas(cluster) == [4]


def test_nothing_is_scaled_while_a_revision_makes_room():
    cluster = scaled(rollout={"strategy": "Recreate"})
    scale(cluster, 3)
    cluster.available()
    cluster.settle()
    _changed(cluster)
    assert replicas(cluster) == [0, 3]
    assert scaler(cluster) is None, "without traffic there is no load, and fewer replicas would seem enough"
    assert cluster.condition("ScalingReady")["reason"] == "MakingRoom"
    _play(cluster)
    _play(cluster)
    assert cluster.condition("Ready")["status"] == "True"
    assert replicas(cluster) == [3]
    assert scaler(cluster)


def test_a_suspended_model_is_scaled():
    cluster = scaled()
    cluster.edit(suspend=True)
    cluster.settle()
    assert scaler(cluster)
    scale(cluster, 3)
    assert replicas(cluster) == [3]
    del cluster.objects["ScaledObject", "team-a", "magika-autoscaler"]
    cluster.settle()
    assert scaler(cluster)


def test_the_capacity_is_measured_within_the_limit_of_the_p99():
    limits = {"constraints": {"p99Milliseconds": 15}, "gate": "Warn"}
    cluster = Cluster(body(serving={"autoscaling": {"maxReplicas": 5}}, benchmark=limits), platform=platform())
    cluster.live()
    active = cluster.status()["active"]
    assert active["capacity"] == 400, "of what the played load test has below 15 ms"
    assert active["served"]["throughputPerSecond"] == 800, "the best, whatever the latency"
    assert cluster.status()["autoscaling"]["target"] == 320


def test_where_no_load_is_within_the_limit_the_queue_is_the_signal():
    limits = {"constraints": {"p99Milliseconds": 0.1}, "gate": "Warn"}
    asked = {"autoscaling": {"maxReplicas": 5}, "instances": 2}
    cluster = Cluster(body(serving=asked, benchmark=limits), platform=platform())
    cluster.live()
    cluster.settle()
    assert "capacity" not in cluster.status()["active"]
    assert cluster.status()["autoscaling"] == {"backend": "KEDA", "metric": "PendingRequests", "target": 2}
    (trigger,) = scaler(cluster)["spec"]["triggers"]
    assert trigger["metadata"]["query"].startswith("sum(nv_inference_pending_request_count{")
    assert trigger["metadata"]["threshold"] == "2"


def test_a_switch_of_revisions_changes_neither_the_signal_nor_the_load_that_is_seen():
    """Rates of the new revision alone begin at none, and its own capacity is in status a turn later."""
    cluster = scaled()
    old, queries = cluster.routed(), []
    cluster.edit(**NEW)
    for _ in range(60):
        cluster.step()
        cluster.play()
        (trigger,) = scaler(cluster)["spec"]["triggers"]
        queries.append((trigger["metadata"]["query"], trigger["metadata"]["threshold"]))
    assert cluster.routed() != old
    assert all(query.startswith("sum(rate(nv_inference_count{") for query, _ in queries)
    assert {threshold for _, threshold in queries} == {queries[0][1]}
    assert all(old in query for query, _ in queries), "as long as its requests are in the window"
    assert cluster.routed() in queries[-1][0]


def test_an_invalid_spec_leaves_the_autoscaler_and_what_is_said_of_it():
    cluster = scaled()
    report(cluster, condition("Ready", "True"))
    assert cluster.condition("ScalingReady")["status"] == "True"
    cluster.edit(serving={"autoscaling": {"maxReplicas": 5}, "nodePool": "nowhere"})
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "InvalidSpec"
    assert scaler(cluster)
    assert cluster.condition("ScalingReady")["status"] == "True"
    assert cluster.condition("ScalingReady")["message"].endswith("scales as the last valid spec said")


def test_a_model_that_is_turned_off_in_its_sleep_does_not_start_a_clock():
    cluster = scaled(minReplicas=0)
    scale(cluster, 0)
    assert cluster.status()["phase"] == "ScaledToZero"
    cluster.edit(serving={"autoscaling": {"minReplicas": 1, "maxReplicas": 5}, "replicas": 0})
    cluster.settle()
    assert cluster.status()["phase"] == "TurnedOff"
    cluster.pass_time(3 * 86_400)
    scale(cluster, 1)
    cluster.play()
    cluster.settle()
    assert "coldStartSeconds" not in cluster.status()["autoscaling"]
