"""The lives of models whose pool has no room for two revisions: what makes room, and what is restored."""

from typing import Any

import pytest

from dev.results import benchmarked
from onnxmodel_operator import names
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, encode
from tests.builders import Cluster, body
from tests.crashing import Crashing

SCARCE = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
DEADLINE = 600
NEW = {"optimization": {"graphLevel": "Basic"}}
ON_GPU = {"nodePool": "a100", "replicas": 2}


def begin(strategy: str = "Recreate", kind: type[Cluster] = Cluster, **serving: Any) -> Cluster:
    """A model that is Ready, and whose spec has just changed."""
    cluster = kind(body(serving={**ON_GPU, **serving}, rollout={"strategy": strategy}))
    cluster.live()
    cluster.edit(**NEW)
    cluster.settle()
    return cluster


def measured(cluster: Cluster) -> Cluster:
    """Its stages find room, and its new revision is applied."""
    cluster.succeed("optimize")
    cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    return cluster


def away(cluster: Cluster) -> None:
    """The pods of a Deployment without replicas are gone."""
    for deployment in cluster.deployments():
        if deployment["spec"]["replicas"] == 0 and deployment["status"].get("availableReplicas"):
            cluster.available(deployment)
    cluster.settle()


def scheduled(cluster: Cluster) -> None:
    """Whatever waited for a node has one, and pods of Deployments without replicas are gone."""
    servers = {item["metadata"]["uid"] for item in cluster.deployments()}
    for key in [key for key, item in cluster.objects.items() if key[0] == "Pod"]:
        if cluster.objects[key]["status"]["conditions"] or cluster.objects[key]["owner"] in servers:
            del cluster.objects[key]


def no_room(cluster: Cluster, owner: dict[str, Any], why: str = SCARCE) -> None:
    """The scheduler finds no node for a pod."""
    since = cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
    cluster.pod(owner, phase="Pending", conditions=[{**condition, "lastTransitionTime": since}], spec={})
    cluster.settle()


def replicas(cluster: Cluster) -> list[int]:
    return [deployment["spec"]["replicas"] for deployment in cluster.deployments()]


def order(cluster: Cluster, name: str) -> None:
    """A person annotates the model."""
    model = cluster.objects["OnnxModel", "team-a", "magika"]
    cluster._store({**model, "metadata": {**model["metadata"], "annotations": {name: "1"}}})
    cluster.settle()


def rollout(cluster: Cluster) -> dict[str, Any]:
    shown: dict[str, Any] = cluster.status().get("rollout", {})
    return shown


def serves(cluster: Cluster) -> bool:
    return bool(cluster.condition("Available")["status"] == "True")


def restored(cluster: Cluster, old: str, wanted: int = 2) -> None:
    """The old revision has its replicas and the traffic, and serves again once its pods run."""
    assert replicas(cluster)[0] == wanted
    assert sum(replicas(cluster)[1:]) == 0, "both cannot run"
    assert cluster.routed() == old
    cluster.available(cluster.deployments()[0])
    cluster.settle()
    assert serves(cluster)


def active(cluster: Cluster) -> str:
    return str(cluster.status()["active"]["revision"])


def test_the_old_revision_makes_room_and_the_new_one_serves():
    cluster = begin()
    old = active(cluster)
    assert replicas(cluster) == [2], "it serves during the stages, which found room"
    measured(cluster)
    assert replicas(cluster) == [0, 2]
    away(cluster)
    new = cluster.status()["target"]["revision"]
    shown = rollout(cluster)
    assert (shown["revision"], shown["strategy"], shown["why"]) == (new, "Recreate", "spec.rollout.strategy")
    assert shown["since"] == "2026-01-01T00:00:00Z"
    assert cluster.routed() == old, "what is not proven takes no traffic"
    available = cluster.condition("Available")
    assert available["status"] == "False"
    assert available["message"] == f"nothing receives traffic: revision {old} has made room for the next one"
    cluster.deploy()
    assert cluster.routed() == new
    cluster.succeed("probe")
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert (replicas(cluster), active(cluster), rollout(cluster)) == ([2], new, {})


def crash(cluster: Cluster) -> None:
    """A server that cannot load its model, for good."""
    said = Failure("ModelInvalid", "no such operator", "Export it again.")
    ended = {"exitCode": 10, "message": encode(Outcome("serve", 0.1, failure=said)), "reason": "Error"}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"name": "server", "image": "runtime:cpu", "state": state}
    last = {"terminated": {**ended, "finishedAt": "2026-01-01T00:00:00Z"}}
    cluster.available(replicas=0)
    cluster.pod(cluster.deployments()[-1], containerStatuses=[{**status, "lastState": last}])


def late(cluster: Cluster) -> None:
    cluster.pass_time(DEADLINE)
    overdue = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    cluster.available(replicas=0, conditions=[overdue])


def never_scheduled(cluster: Cluster) -> None:
    no_room(cluster, cluster.deployments()[-1])
    assert replicas(cluster) == [0, 2], "it has until the deadline"
    cluster.pass_time(DEADLINE)


def slow(cluster: Cluster) -> None:
    cluster.available()
    cluster.settle()
    cluster.fail("loadtest", ExitCode.REFUSED, failure=Failure("AnswerDiffers", "another answer", "Look at it."))


def wrong(cluster: Cluster) -> None:
    cluster.deploy()
    cluster.fail("probe", ExitCode.REFUSED, failure=Failure("ProbeMismatch", "another answer", "Look at it."))


FAILURES = {
    "ModelInvalid": crash,
    "ProgressDeadlineExceeded": late,
    "InsufficientGPU": never_scheduled,
    "AnswerDiffers": slow,
    "ProbeMismatch": wrong,
}


@pytest.mark.parametrize("reason", FAILURES)
def test_whatever_fails_is_refused_and_the_old_revision_is_restored(reason):
    cluster = measured(begin())
    old = active(cluster)
    away(cluster)
    FAILURES[reason](cluster)
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == reason
    (refused,) = rollout(cluster)["refused"]
    assert (refused["revision"], refused["reason"]) == (cluster.status()["target"]["revision"], reason)
    hint = cluster.status()["lastFailure"]["hint"]
    assert hint.startswith(refused["hint"])
    assert "onnx-operator.dev/retry=" in hint
    said = f"nothing receives traffic: revision {old} is being restored"
    assert cluster.condition("Available")["message"] == said
    restored(cluster, old)
    scheduled(cluster)
    cluster.available()
    cluster.settle()
    before = len(cluster.writes)
    for _ in range(20):
        cluster.pass_time(DEADLINE)
        cluster.restart()
        cluster.settle()
        assert replicas(cluster) == [2, 0], "it never causes a second outage by itself"
    assert {verb for verb, _, _ in cluster.writes[before:]} <= {"delete", "status"}, "Jobs are collected"
    order(cluster, names.RETRY)
    assert replicas(cluster) == [0, 2], "until somebody says so"
    assert "refused" not in rollout(cluster)


def test_an_abort_restores_the_old_revision_at_once():
    cluster = measured(begin())
    old = active(cluster)
    away(cluster)
    order(cluster, names.ABORT)
    assert cluster.condition("Stalled")["reason"] == "RolloutAborted"
    restored(cluster, old)


def test_a_benchmark_that_finds_room_costs_nothing_and_one_that_fails_leaves_all_as_it_was():
    cluster = begin()
    cluster.succeed("optimize")
    cluster.settle()
    cluster.fail("benchmark", ExitCode.REFUSED, failure=Failure("BenchmarkFailed", "no", "Look."))
    cluster.settle()
    assert replicas(cluster) == [2]
    assert serves(cluster)


@pytest.mark.parametrize("stage", ["optimize", "benchmark"])
def test_room_is_made_for_a_stage_that_finds_none_and_kept_until_the_revision_serves(stage):
    cluster = begin()
    old = active(cluster)
    if stage == "benchmark":
        cluster.succeed("optimize")
        cluster.settle()
    no_room(cluster, cluster.jobs()[stage])
    assert replicas(cluster) == [0]
    away(cluster)
    assert rollout(cluster) == {
        "strategy": "Recreate",
        "why": "spec.rollout.strategy",
        "since": "2026-01-01T00:00:00Z",
    }
    assert f"revision {old} has made room" in cluster.condition("Available")["message"]
    scheduled(cluster)
    cluster.settle()
    assert replicas(cluster) == [0], "while the stage runs"
    if stage == "optimize":
        cluster.succeed("optimize")
        cluster.settle()
    assert replicas(cluster) == [0]
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    assert replicas(cluster) == [0, 2]
    cluster.deploy()
    cluster.succeed("probe")
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("fails", ["the Job", "the constraints", "the deadline", "aborted"])
def test_a_benchmark_that_fails_after_room_was_made_restores_what_served(fails):
    cluster = begin()
    old = active(cluster)
    if fails == "the constraints":
        cluster.edit(benchmark={"constraints": {"p99Milliseconds": 0.001}})
        cluster.settle()
    cluster.succeed("optimize")
    cluster.settle()
    no_room(cluster, cluster.jobs()["benchmark"])
    away(cluster)
    match fails:
        case "the Job":
            scheduled(cluster)
            failure = Failure("BenchmarkFailed", "no", "Look.")
            cluster.fail("benchmark", ExitCode.REFUSED, failure=failure)
        case "the constraints":
            scheduled(cluster)
            cluster.succeed("benchmark")
        case "the deadline":
            cluster.pass_time(DEADLINE)
        case "aborted":
            order(cluster, names.ABORT)
    cluster.settle()
    assert cluster.condition("Stalled")["status"] == "True"
    restored(cluster, old)
    for _ in range(5):
        cluster.pass_time(DEADLINE)
        cluster.settle()
        assert replicas(cluster) == [2]
    if fails in ("the deadline", "aborted"):
        assert "benchmark" not in cluster.jobs(), "it no longer waits for the place of what serves"
        order(cluster, names.RETRY)
        no_room(cluster, cluster.jobs()["benchmark"])
        assert replicas(cluster) == [0]


MOMENTS = ("stage", "rolling out", "probing")
CHANGES: dict[str, dict[str, Any]] = {
    "suspended": {"suspend": True},
    "an invalid spec": {"serving": {**ON_GPU, "nodePool": "nowhere"}},
    "a spec that cannot be read": {"serving": {"replicas": "many"}},
    "a new spec": {"optimization": {"graphLevel": "Extended"}},
    "back": {"optimization": {"graphLevel": "All"}},
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_the_middle_restores_the_old_revision_and_frees_what_was_being_rolled_out(moment, change):
    cluster = begin()
    old = active(cluster)
    cluster.succeed("optimize")
    cluster.settle()
    if moment == "stage":
        no_room(cluster, cluster.jobs()["benchmark"])
        away(cluster)
        job = cluster.jobs()["benchmark"]["metadata"]["name"]
    else:
        cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
        cluster.settle()
        away(cluster)
    if moment == "probing":
        cluster.deploy()
        assert cluster.routed() != old
    cluster.edit(**CHANGES[change])
    cluster.settle()
    # Nothing says any more how many there were before its room was made.
    restored(cluster, old, 1 if (moment, change) == ("stage", "a spec that cannot be read") else 2)
    assert [d["metadata"]["labels"][names.LABEL_REVISION] for d in cluster.deployments()] == [old]
    if moment == "stage":
        assert ("Job", "team-a", job) not in cluster.objects
    if change == "suspended":
        cluster.edit(suspend=False)
        cluster.live(20)
        assert active(cluster) != old


def test_auto_with_room_runs_both():
    cluster = measured(begin("Auto"))
    assert (replicas(cluster), rollout(cluster)["strategy"]) == ([2, 2], "Surge")
    cluster.deploy()
    cluster.succeed("probe")
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"


def auto(cluster: Cluster, why: str = SCARCE) -> None:
    """Auto waits in vain for room for the new revision."""
    measured(cluster)
    cluster.available(replicas=0)
    no_room(cluster, cluster.deployments()[-1], why)
    cluster.pass_time(DEADLINE - 1)
    cluster.settle()
    assert replicas(cluster) == [2, 2], "an autoscaler may add a node until the deadline"
    assert (rollout(cluster)["strategy"], serves(cluster)) == ("Surge", True)
    cluster.pass_time(1)
    cluster.settle()


def test_auto_without_room_becomes_recreate_at_the_deadline_and_gets_another_one():
    cluster = begin("Auto")
    old = active(cluster)
    auto(cluster)
    assert replicas(cluster) == [0, 2]
    shown = rollout(cluster)
    assert (shown["strategy"], shown["since"]) == ("Recreate", "2026-01-01T00:10:00Z")
    assert SCARCE in shown["why"]
    cluster.restart()
    away(cluster)
    assert SCARCE in cluster.condition("Available")["message"]
    scheduled(cluster)
    overdue = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    cluster.available(replicas=0, conditions=[overdue])  # Kubernetes counts from the Deployment's beginning
    cluster.pass_time(DEADLINE - 1)
    cluster.settle()
    assert cluster.condition("Reconciling")["reason"] == "RollingOut"
    cluster.deploy()
    cluster.succeed("probe")
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert (active(cluster) != old, rollout(cluster)) == (True, {})


def test_auto_that_finds_no_room_after_all_restores_what_served_and_stays_so():
    cluster = begin("Auto")
    old = active(cluster)
    auto(cluster)
    away(cluster)
    cluster.pass_time(DEADLINE)
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "InsufficientGPU"
    restored(cluster, old)
    for _ in range(5):
        cluster.pass_time(DEADLINE)
        cluster.settle()
        assert replicas(cluster) == [2, 0]


@pytest.mark.parametrize("stage", ["optimize", "benchmark"])
def test_auto_makes_room_for_a_stage_at_the_deadline(stage):
    cluster = begin("Auto")
    if stage == "benchmark":
        cluster.succeed("optimize")
        cluster.settle()
    no_room(cluster, cluster.jobs()[stage])
    assert replicas(cluster) == [2]
    cluster.pass_time(DEADLINE)
    cluster.settle()
    assert (replicas(cluster), rollout(cluster)["strategy"]) == ([0], "Recreate")
    scheduled(cluster)
    if stage == "optimize":
        cluster.succeed("optimize")
        cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    assert (replicas(cluster), rollout(cluster)["strategy"]) == ([0, 2], "Recreate"), "without a second wait"


@pytest.mark.parametrize(
    ("serving", "why"),
    [
        ({"gpus": 64}, SCARCE),
        ({"nodePool": "default"}, "0/1 nodes are available: 1 Insufficient cpu."),
        ({}, "0/1 nodes are available: 1 node(s) had untolerated taint {a: b}."),
        ({"replicas": 3}, SCARCE),
    ],
    ids=["more GPUs", "another pool", "another cause", "more replicas"],
)
def test_auto_stops_nothing_where_that_would_not_help(serving, why):
    cluster = Cluster(body(serving=ON_GPU, rollout={"strategy": "Auto"}))
    cluster.live()
    cluster.edit(serving={**ON_GPU, **serving}, **NEW)
    cluster.settle()
    if "replicas" in serving:
        cluster.available(cluster.deployments()[0], replicas=2)
    if "nodePool" in serving:
        cluster.succeed("validate")
        cluster.settle()
    measured(cluster)
    wanted = serving.get("replicas", 2)
    no_room(cluster, cluster.deployments()[-1], why)
    cluster.pass_time(DEADLINE)
    cluster.settle()
    assert cluster.condition("Stalled")["status"] == "True"
    assert replicas(cluster) == [wanted, wanted]
    assert "refused" not in rollout(cluster), "as with Surge, it goes on by itself"


def test_surge_is_stalled_without_room_and_stops_nothing():
    cluster = measured(begin("Surge"))
    cluster.available(replicas=0)
    no_room(cluster, cluster.deployments()[-1])
    cluster.pass_time(DEADLINE)
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "InsufficientGPU"
    assert replicas(cluster) == [2, 2]


@pytest.mark.parametrize("strategy", ["Recreate", "Auto"])
def test_killed_at_any_write_a_stage_without_room_is_refused_once(strategy):
    cluster = begin(strategy, Crashing)
    no_room(cluster, cluster.jobs()["optimize"])
    for _ in range(2):
        cluster.pass_time(DEADLINE)
        cluster.settle()
        away(cluster)
    assert [refused["reason"] for refused in rollout(cluster)["refused"]] == ["InsufficientGPU"]
    assert replicas(cluster) == [2]


@pytest.mark.parametrize("strategy", ["Recreate", "Auto"])
def test_killed_at_any_write_the_end_is_the_same(strategy):
    cluster = begin(strategy, Crashing)
    cluster.succeed("optimize")
    cluster.settle()
    no_room(cluster, cluster.jobs()["benchmark"])
    cluster.pass_time(DEADLINE if strategy == "Auto" else 1)
    cluster.settle()
    assert replicas(cluster) == [0]
    away(cluster)
    scheduled(cluster)
    cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    assert replicas(cluster) == [0, 2]
    wrong(cluster)
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "ProbeMismatch"
    assert replicas(cluster) == [2, 0]
    order(cluster, names.RETRY)
    assert replicas(cluster) == [0 if strategy == "Recreate" else 2, 2]
    cluster.edit(suspend=True)
    cluster.settle()
    cluster.edit(suspend=False)
    cluster.live(20)
    assert replicas(cluster) == [2]
    assert cluster.points > 50  # type: ignore[attr-defined]


def test_a_retry_that_never_starts_gives_the_place_back_at_a_deadline_without_the_word_of_kubernetes():
    """A Deployment that was complete with 0 replicas is never again late for Kubernetes."""
    cluster = measured(begin())
    old = active(cluster)
    order(cluster, names.ABORT)
    for _ in range(3):
        cluster.step()
    away(cluster)
    cluster.available(cluster.deployments()[0])
    order(cluster, names.RETRY)
    away(cluster)
    assert replicas(cluster) == [0, 2]
    new = cluster.deployments()[1]
    cluster.available(new, replicas=0)
    end = {"terminated": {"exitCode": 1, "message": "a log", "finishedAt": "2026-01-01T00:00:01Z"}}
    cluster.pod(new, containerStatuses=[{"name": "server", "image": "i", "state": {"running": {}}, "lastState": end}])
    assert cluster.step().requeue_seconds is not None, "nothing else would wake it"
    cluster.pass_time(DEADLINE)
    for _ in range(4):
        cluster.step()
    restored(cluster, old)


def test_room_for_a_stage_is_given_back_at_a_deadline_while_its_job_still_retries():
    cluster = begin()
    old = active(cluster)
    cluster.succeed("optimize")
    cluster.settle()
    no_room(cluster, cluster.jobs()["benchmark"])
    assert replicas(cluster) == [0]
    scheduled(cluster)
    away(cluster)
    failure = Failure("StoreUnavailable", "the store is away", "No action needed.")
    cluster.attempt_fails("benchmark", int(ExitCode.RETRY), failure=failure)
    cluster.settle()
    assert replicas(cluster) == [0], "it may yet succeed"
    cluster.pass_time(DEADLINE)
    for _ in range(4):
        cluster.step()
    restored(cluster, old)
    assert cluster.condition("Stalled")["reason"] == "StoreUnavailable"
