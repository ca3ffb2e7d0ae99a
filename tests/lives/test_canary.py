"""A canary's life: what is scaled, routed and said at each step."""

import copy
from typing import Any

import pytest

from dev.results import benchmarked
from onnxmodel_operator import names
from tests.builders import Cluster, body
from tests.canaries import CANARY, NEW, both, canary, change, order, wait


def shares(cluster: Cluster) -> dict[str, int]:
    return {share["revision"]: share["wanted"] for share in cluster.status().get("traffic", ())}


def replicas(cluster: Cluster) -> list[int]:
    return [deployment["spec"]["replicas"] for deployment in cluster.deployments()]


def selected(cluster: Cluster) -> Any:
    return cluster.objects["Service", "team-a", "magika"]["spec"]["selector"]


def test_each_step_gives_the_new_revision_a_larger_share():
    cluster = canary()
    old, new = both(cluster)
    assert replicas(cluster) == [4, 1], "one pod beside four is the nearest to 10 percent"
    assert shares(cluster) == {old: 90, new: 10}
    assert selected(cluster) == {names.LABEL_MODEL: "magika", names.LABEL_SERVER: "true"}
    rollout = cluster.status()["rollout"]
    assert (rollout["revision"], rollout["strategy"], rollout["backend"]) == (new, "Canary", "Replicas")
    assert (rollout["step"], rollout["steps"], rollout["weight"]) == (1, 2, 10)
    assert [share["ready"] for share in cluster.status()["traffic"]] == [80, 20], "what the pods can do is said"
    assert cluster.condition("Ready")["status"] == "False"
    wait(cluster, 59)
    assert cluster.status()["rollout"]["step"] == 1
    wait(cluster, 1)
    assert (replicas(cluster), cluster.status()["rollout"]["step"]) == ([4, 4], 2)
    wait(cluster, 10_000)
    assert shares(cluster) == {old: 50, new: 50}, "until it is promoted"
    order(cluster, names.PROMOTE)
    wait(cluster, 1)
    assert selected(cluster)[names.LABEL_REVISION] == new
    cluster.succeed("probe")
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert [d["metadata"]["labels"][names.LABEL_REVISION] for d in cluster.deployments()] == [new]
    assert cluster.status()["rollout"] == {"handled": {"promote": "1"}}
    assert "traffic" not in cluster.status()


def test_a_revision_without_a_ready_pod_takes_no_share():
    cluster = canary()
    old, _ = both(cluster)
    cluster.available(cluster.deployments()[1], replicas=0)
    cluster.settle()
    assert selected(cluster)[names.LABEL_REVISION] == old
    assert "traffic" not in cluster.status()
    cluster.available(cluster.deployments()[1])
    cluster.settle()
    assert len(shares(cluster)) == 2


def test_the_old_revision_keeps_its_replicas_until_the_new_one_is_ready():
    cluster = canary()
    for _ in range(20):
        assert replicas(cluster)[0] == 4
        order(cluster, names.PROMOTE, str(cluster.now))
        wait(cluster, 30)
        if "probe" in cluster.jobs():
            break
    assert replicas(cluster) == [4, 4]


def test_an_aborted_canary_goes_back_and_stays_refused_until_a_retry():
    cluster = canary()
    old, new = both(cluster)
    order(cluster, names.ABORT)
    assert (selected(cluster)[names.LABEL_REVISION], replicas(cluster)) == (old, [4, 0])
    assert cluster.condition("Stalled")["reason"] == "RolloutAborted"
    assert [r["revision"] for r in cluster.status()["rollout"]["refused"]] == [new]
    assert (
        "kubectl -n team-a annotate --overwrite onnxmodel magika onnx-operator.dev/retry="
        in cluster.status()["lastFailure"]["hint"]
    )
    cluster.restart()
    wait(cluster, 3600)
    assert replicas(cluster) == [4, 0], "also for an operator that was restarted"
    order(cluster, names.RETRY)
    wait(cluster, 1)
    assert (replicas(cluster), shares(cluster)) == ([4, 1], {old: 90, new: 10})
    assert "refused" not in cluster.status()["rollout"]


def test_a_refused_revision_does_not_refuse_the_next_one():
    cluster = canary()
    old, new = both(cluster)
    order(cluster, names.ABORT)
    change(cluster, optimization={"graphLevel": "Extended"})
    third = cluster.status()["target"]["revision"]
    assert shares(cluster) == {old: 90, third: 10}
    assert third not in (old, new)


def test_going_back_to_the_spec_that_serves_ends_a_canary_at_once():
    cluster = canary()
    old, _ = both(cluster)
    cluster.edit(optimization={"graphLevel": "All"})
    cluster.settle()
    assert selected(cluster)[names.LABEL_REVISION] == old
    assert cluster.condition("Ready")["status"] == "True"
    assert len(cluster.deployments()) == 1


def test_a_change_in_the_middle_goes_back_to_the_proven_revision():
    cluster = canary()
    old, _ = both(cluster)
    cluster.edit(optimization={"graphLevel": "Extended"})
    cluster.settle()
    assert selected(cluster)[names.LABEL_REVISION] == old, "not to the last canary"
    assert [d["metadata"]["labels"][names.LABEL_REVISION] for d in cluster.deployments()] == [old]


def test_an_abort_waits_for_a_pod_of_the_proven_revision():
    cluster = canary()
    old, _ = both(cluster)
    cluster.available(cluster.deployments()[0], replicas=0)
    order(cluster, names.ABORT)
    assert replicas(cluster) == [4, 1], "the new one serves: that is better than nothing"
    assert cluster.condition("Reconciling")["reason"] == "RollingBack"
    cluster.available(cluster.deployments()[0])
    cluster.settle()
    assert (selected(cluster)[names.LABEL_REVISION], replicas(cluster)) == (old, [4, 0])


def test_a_broken_old_revision_does_not_hold_up_a_good_new_one():
    cluster = canary()
    _, new = both(cluster)
    first = cluster.deployments()[0]
    overdue = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    cluster.available(first, replicas=0, conditions=[overdue])
    cluster.settle()
    assert selected(cluster)[names.LABEL_REVISION] == new


def down(cluster: Cluster, *, since: Any = None) -> None:
    """The old revision has no pod, and its Deployment says since when."""
    at = (since or cluster.now).strftime("%Y-%m-%dT%H:%M:%SZ")
    gone = {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "lastTransitionTime": at}
    cluster.available(cluster.deployments()[0], replicas=0, conditions=[gone])


def crashed(cluster: Cluster, deployment: Any) -> None:
    """A container of its pod was killed, and starts again."""
    end = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    statuses = [{"name": "server", "image": "runtime:cpu", "state": {"running": {}}, "lastState": {"terminated": end}}]
    cluster.pod(deployment, containerStatuses=statuses)


def test_an_old_revision_that_crashed_once_promotes_nothing():
    cluster = canary()
    down(cluster)
    crashed(cluster, cluster.deployments()[0])
    wait_without_pods(cluster, 60)
    assert cluster.status()["rollout"]["weight"] == 10
    assert names.LABEL_SERVER in selected(cluster)


def wait_without_pods(cluster: Cluster, seconds: float) -> None:
    cluster.pass_time(seconds)
    cluster.settle()


def test_an_old_revision_that_stays_down_does_not_hold_up_a_new_one_but_a_pause_does():
    cluster = canary()
    _, new = both(cluster)
    down(cluster)
    order(cluster, names.PAUSE, "true")
    wait_without_pods(cluster, 700)
    assert names.LABEL_SERVER in selected(cluster)
    order(cluster, names.PAUSE, "false")
    assert selected(cluster)[names.LABEL_REVISION] == new


@pytest.mark.parametrize("change_of_spec", [{"suspend": True}, {"optimization": {"graphLevel": "Extended"}}])
def test_while_the_old_revision_has_no_pod_a_change_leaves_the_traffic_to_the_new_one(change_of_spec):
    cluster = canary()
    _, new = both(cluster)
    down(cluster)
    cluster.settle()
    cluster.edit(**change_of_spec)
    cluster.settle()
    assert selected(cluster)[names.LABEL_REVISION] == new
    assert new in [d["metadata"]["labels"][names.LABEL_REVISION] for d in cluster.deployments()]


def test_a_pod_that_crashes_while_it_has_traffic_is_a_failed_gate():
    cluster = canary({**CANARY, "gates": {"mode": "Enforce"}})
    old, new = both(cluster)
    cluster.available(cluster.deployments()[1], replicas=0)
    cluster.pass_time(5)
    crashed(cluster, cluster.deployments()[1])
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "GateFailed"
    assert f"a pod of revision {new} ended: container server was killed" in cluster.status()["message"]
    assert (selected(cluster)[names.LABEL_REVISION], replicas(cluster)) == (old, [4, 0])


def test_a_shorter_list_of_steps_does_not_end_a_canary():
    cluster = canary()
    order(cluster, names.PROMOTE)
    wait(cluster, 1)
    assert cluster.status()["rollout"]["step"] == 2
    old, new = both(cluster)
    cluster.edit(rollout={**CANARY, "steps": [{"weight": 1, "pause": "Manual"}]})
    wait(cluster, 1)
    assert shares(cluster) == {old: 99, new: 1}


def test_an_order_to_promote_what_is_refused_is_over():
    cluster = canary()
    order(cluster, names.ABORT)
    order(cluster, names.PROMOTE)
    order(cluster, names.RETRY)
    wait(cluster, 1)
    wait(cluster, 1)
    assert cluster.status()["rollout"]["step"] == 1


def test_a_step_that_lasts_costs_a_write_a_minute_at_most():
    cluster = canary()
    wait(cluster, 120)
    before = len(cluster.writes)
    for _ in range(24):
        wait(cluster, 5)
    assert len(cluster.writes) - before <= 3


def test_a_pause_holds_a_step_and_an_order_to_promote():
    cluster = canary()
    order(cluster, names.PAUSE, "true")
    wait(cluster, 3600)
    assert cluster.status()["rollout"]["step"] == 1
    assert cluster.condition("Reconciling")["reason"] == "CanaryPaused"
    order(cluster, names.PROMOTE)
    wait(cluster, 1)
    assert cluster.status()["rollout"]["step"] == 1
    order(cluster, names.PAUSE, "false")
    wait(cluster, 1)
    assert cluster.status()["rollout"]["step"] == 2


def test_an_old_order_does_not_promote_the_next_canary():
    cluster = Cluster(body(serving={"replicas": 4}, rollout=CANARY))
    cluster.live()
    order(cluster, names.PROMOTE)
    change(cluster)
    wait(cluster, 1)
    assert cluster.status()["rollout"]["step"] == 1


def test_an_order_is_followed_once_wherever_the_operator_dies():
    cluster = canary()
    order(cluster, names.PROMOTE)
    wait(cluster, 1)
    cluster.restart()
    wait(cluster, 1)
    assert cluster.status()["rollout"]["step"] == 2


def test_going_back_within_the_window_skips_the_steps_and_every_stage():
    cluster = canary({**CANARY, "steps": [{"weight": 50, "pause": "0s"}]})
    old, new = both(cluster)
    wait(cluster, 1)
    wait(cluster, 1)
    cluster.succeed("probe")
    cluster.settle()
    assert cluster.status()["active"]["revision"] == new
    cluster.edit(optimization={"graphLevel": "All"})
    cluster.settle()
    assert (
        cluster.status()["rollout"]["why"] == f"revision {old} served before, and is within spec.rollout.rollbackWindow"
    )
    cluster.available()
    cluster.settle()
    assert cluster.condition("Ready")["status"] == "True"
    assert cluster.status()["active"]["revision"] == old


def test_a_release_whose_pods_lack_the_label_is_replaced_at_once():
    cluster = Cluster(body(serving={"replicas": 4}, rollout=CANARY))
    cluster.live()
    for key in [key for key in cluster.objects if key[0] in ("Deployment", "ControllerRevision")]:
        item = cluster.objects[key] = copy.deepcopy(cluster.objects[key])
        del item.get("data", item)["spec"]["template"]["metadata"]["labels"][names.LABEL_SERVER]
    cluster.restart()
    change(cluster)
    assert cluster.status()["rollout"]["strategy"] == "Surge"
    assert "earlier release" in cluster.status()["rollout"]["why"]


def test_the_first_revision_takes_all_traffic():
    cluster = Cluster(body(rollout=CANARY))
    cluster.live()
    assert cluster.condition("Ready")["status"] == "True"
    assert "rollout" not in cluster.status()


def test_a_suspended_canary_goes_back_and_begins_again():
    cluster = canary()
    old, new = both(cluster)
    cluster.edit(suspend=True)
    cluster.settle()
    assert selected(cluster)[names.LABEL_REVISION] == old
    assert [names.child("magika", old)] == [deployment["metadata"]["name"] for deployment in cluster.deployments()], (
        "connections outlive the Service's choice: without pods, the new revision answers none"
    )
    cluster.edit(suspend=False)
    cluster.settle()
    cluster.available()
    cluster.settle()
    assert shares(cluster) == {old: 90, new: 10}


@pytest.mark.parametrize(
    ("weights", "refused"), [((5, 5), True), ((50, 5), True), ((5, 50), False)], ids=["equal", "falling", "rising"]
)
def test_weights_ascend(weights, refused):
    steps = [{"weight": weight} for weight in weights]
    cluster = Cluster(body(rollout={"steps": steps}))
    cluster.settle()
    assert (cluster.status()["reason"] == "InvalidSpec") is refused


@pytest.mark.parametrize(
    ("rollout", "why"),
    [
        (
            {**CANARY, "strategy": "Surge"},
            "spec.rollout.strategy; steps and gates of spec.rollout are for Canary, and have no effect",
        ),
        (
            {"gates": {"mode": "Warn"}},
            "Auto: the new revision runs beside the old one; gates of spec.rollout are for Canary, and have no effect",
        ),
        ({"strategy": "Surge", "rollbackWindow": 1}, "spec.rollout.strategy"),
        ({"strategy": "Surge", "gates": {"mode": "Enforce"}}, "spec.rollout.strategy"),
    ],
)
def test_steps_and_gates_without_a_canary_are_said_to_have_no_effect(rollout, why):
    cluster = Cluster(body(rollout=rollout))
    cluster.live()
    cluster.edit(**NEW)
    cluster.settle()
    cluster.succeed("optimize")
    cluster.settle()
    cluster.succeed("benchmark", result=benchmarked(original=1.0, fp32=2.0))
    cluster.settle()
    assert cluster.status()["rollout"]["why"] == why
