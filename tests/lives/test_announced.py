"""The story of a model as Events tell it: each change once, in order, and nothing while nothing changes."""

from onnxmodel_operator import metrics, names
from onnxmodel_operator.events.values import ModelEvent
from onnxmodel_runtime.contract.outcome import Failure
from tests.builders import Cluster, body
from tests.canaries import both, canary, order, wait


def told(cluster: Cluster) -> list[ModelEvent]:
    """The Events since the last call."""
    found, cluster.announced = cluster.announced, []
    return found


def reasons(cluster: Cluster) -> list[str]:
    return [f"{event.reason} {event.action}" for event in told(cluster)]


def test_a_life_is_told_stage_by_stage():
    cluster = Cluster(body())
    cluster.live()
    events = told(cluster)
    stages = ("validate", "optimize", "benchmark", "loadtest", "probe")
    of_stages = [f"{reason} {stage}" for stage in stages for reason in ("StageStarted", "StageSucceeded")]
    of_stages.insert(-1, "TrafficSwitched Traffic")
    assert [f"{event.reason} {event.action}" for event in events] == [*of_stages, "Ready Serving"]
    assert not any(event.warning for event in events)
    notes = {f"{event.reason} {event.action}": event.note for event in events}
    assert notes["StageSucceeded validate"] == "validate succeeded in 1.5 s: no findings"
    assert notes["StageSucceeded loadtest"] == "loadtest succeeded in 1.5 s: p99 5 ms, 800/s"
    revision = cluster.status()["serving"]["revision"]
    assert notes["TrafficSwitched Traffic"] == f"revision {revision} receives the traffic: fp32, p99 5ms, 800/s"


def counted() -> dict[tuple[str, str], float]:
    """Runs of stages that the metric has, by stage and end."""
    samples = next(iter(metrics.STAGE_SECONDS.collect())).samples
    return {(s.labels["stage"], s.labels["end"]): s.value for s in samples if s.name.endswith("_count")}


def test_each_run_of_a_stage_is_counted_once():
    metrics.STAGE_SECONDS.clear()
    cluster = Cluster(body())
    cluster.settle()
    cluster.pass_time(40)
    cluster.fail("validate", 10, failure=Failure("OpsetTooLow", "the opset is 7.", "Export the model again."))
    cluster.settle()
    cluster.restart()
    cluster.settle()
    assert counted() == {("validate", "Failed"): 1}
    assert metrics.STAGE_SECONDS.labels("validate", "Failed")._sum.get() == 40

    cluster = Cluster(body())
    cluster.live()
    cluster.pass_time(7200)
    cluster.restart()
    cluster.settle()
    stages = ("validate", "optimize", "benchmark", "loadtest", "probe")
    assert counted() == {("validate", "Failed"): 1, **{(stage, "Succeeded"): 1 for stage in stages}}


def test_an_idle_model_and_a_restart_tell_nothing():
    cluster = Cluster(body())
    cluster.live()
    told(cluster)
    cluster.pass_time(7200)
    cluster.settle()
    cluster.restart()
    cluster.settle()
    assert told(cluster) == []


def test_a_refusal_is_told_once_with_its_fix():
    cluster = Cluster(body())
    cluster.settle()
    told(cluster)
    cluster.fail("validate", 10, failure=Failure("OpsetTooLow", "the opset is 7.", "Export the model again."))
    cluster.settle()
    (event,) = told(cluster)
    assert (event.reason, event.action, event.warning) == ("OpsetTooLow", "validate", True)
    assert event.note.startswith(
        "the opset is 7. Export the model again. Log: kubectl -n team-a logs job/magika-validate-"
    )
    cluster.restart()
    cluster.settle()
    assert told(cluster) == []


def test_pods_that_die_and_come_back_are_told():
    cluster = Cluster(body())
    cluster.live()
    told(cluster)
    cluster.available(replicas=0)
    cluster.settle()
    (event,) = told(cluster)
    assert (event.reason, event.warning) == ("NotReady", True)
    assert "0 of 1 replicas" in event.note
    cluster.available()
    cluster.settle()
    assert reasons(cluster) == ["Ready Serving"]


def test_holding_a_model_back_is_told():
    cluster = Cluster(body())
    cluster.live()
    told(cluster)
    cluster.edit(suspend=True)
    cluster.settle()
    assert reasons(cluster) == ["Suspended Serving"]
    cluster.edit(suspend=False)
    cluster.settle()
    assert reasons(cluster) == ["Resumed Serving", "Ready Serving"]


def test_each_step_of_a_canary_and_its_pause_are_told():
    cluster = canary()
    _, new = both(cluster)
    notes = [event.note for event in told(cluster) if event.reason == "CanaryStep"]
    assert notes == [f"step 1 of 2: revision {new} is given 10 % of the traffic"]
    wait(cluster, 60)
    wait(cluster, 10)
    wait(cluster, 3600)
    step, pause = told(cluster)
    assert step.note == f"step 2 of 2: revision {new} is given 50 % of the traffic"
    assert (pause.reason, pause.warning) == ("CanaryPaused", False)
    assert "waits until it is promoted" in pause.note
    order(cluster, names.PROMOTE)
    wait(cluster, 1)
    assert "TrafficSwitched Traffic" in reasons(cluster)


def test_a_rollback_is_told_with_what_serves():
    cluster = canary()
    old, new = both(cluster)
    told(cluster)
    order(cluster, names.ABORT)
    events = told(cluster)
    assert [event.reason for event in events] == ["RolledBack", "RolloutAborted"]
    assert events[0].note == f"revision {new} takes no more traffic: RolloutAborted; revision {old} serves"
    assert all(event.warning for event in events)


def test_a_stall_that_ends_by_itself_is_told():
    cluster = Cluster(body())
    cluster.settle()
    job = cluster.jobs()["validate"]
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    unschedulable["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    cluster.pod(job, phase="Pending", conditions=[unschedulable])
    cluster.pass_time(601)
    cluster.settle()
    stalled = told(cluster)
    assert stalled[-1].warning
    assert cluster.condition("Stalled")
    cluster.objects = {key: item for key, item in cluster.objects.items() if key[0] != "Pod"}
    cluster.pod(job)
    cluster.settle()
    assert reasons(cluster) == ["Recovered Serving"]
