"""What serves is looked after, whatever the newest spec says: it is scaled, restored and routed."""

import copy
import json
from typing import Any

import pytest

from dev.results import benchmarked
from onnxmodel_operator import names
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_operator.render import server
from onnxmodel_operator.render.parts import stamped
from onnxmodel_runtime.contract.outcome import Failure
from tests.builders import Cluster, Killed, body

NEW = {"optimization": {"graphLevel": "Basic"}}


def proving(cluster: Cluster) -> None:
    """A new spec waits for its optimize Job."""
    cluster.edit(**NEW)
    cluster.settle()


def stalled(cluster: Cluster) -> None:
    """A new spec's optimize Job failed for good."""
    proving(cluster)
    cluster.fail("optimize", 20, failure=Failure("OptimizeFailed", "it cannot be optimized", "Export it again."))
    cluster.settle()
    assert cluster.condition("Stalled") is not None


def refused(cluster: Cluster) -> None:
    """A new spec names a pool that the platform does not have."""
    cluster.edit(serving={"nodePool": "mars"}, **NEW)
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "InvalidSpec"


def unreadable(cluster: Cluster) -> None:
    """A new spec that no rule of the CRD let through."""
    cluster.edit(benchmark={"batchSizes": "many"})
    cluster.settle()
    assert cluster.condition("Stalled")["reason"] == "InvalidSpec"


def suspended(cluster: Cluster) -> None:
    cluster.edit(suspend=True, **NEW)
    cluster.settle()


def unproven(cluster: Cluster) -> None:
    """A new revision's Deployment is there and does not become available."""
    cluster.edit(**NEW)
    for stage in ("optimize", "benchmark"):
        cluster.settle()
        cluster.succeed(stage)
    cluster.settle()
    assert len(cluster.deployments()) == 2


LATER = [proving, stalled, refused, unreadable, suspended, unproven]


def serving(cluster: Cluster) -> dict[str, Any]:
    """The Deployment that takes traffic."""
    return next(d for d in cluster.deployments() if d["metadata"]["name"].endswith(cluster.routed()))


@pytest.mark.parametrize("later", LATER)
def test_replicas_apply_at_once_to_what_serves(later):
    cluster = Cluster(body())
    cluster.live()
    before = serving(cluster)
    later(cluster)
    spec = cluster.objects["OnnxModel", "team-a", "magika"]["spec"]
    cluster.edit(serving={**spec.get("serving", {}), "replicas": 3})
    cluster.settle()
    after = serving(cluster)
    assert after["spec"] == {**before["spec"], "replicas": 3}
    cluster.available(after)
    cluster.settle()
    assert cluster.status()["serving"]["ready"] == "3/3"


@pytest.mark.parametrize("later", LATER)
def test_what_serves_is_restored_as_it_was_when_someone_deletes_it(later):
    cluster = Cluster(body())
    cluster.live()
    later(cluster)
    before = serving(cluster)
    del cluster.objects["Deployment", "team-a", before["metadata"]["name"]]
    del cluster.objects["Service", "team-a", "magika"]
    cluster.settle()
    after = serving(cluster)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert cluster.status()["active"]["revision"] == cluster.routed()


def test_a_refused_job_does_not_keep_what_serves_from_being_scaled():
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(serving={"replicas": 2}, **NEW)
    cluster.refuses["Job"] = ApiError(403, "exceeded quota")
    with pytest.raises(ApiError):
        cluster.step()
    assert serving(cluster)["spec"]["replicas"] == 2


def test_an_unreadable_number_of_replicas_leaves_what_serves_as_it_is():
    cluster = Cluster(body(serving={"replicas": 2}))
    cluster.live()
    cluster.edit(serving={"replicas": "two"})
    assert {write[0] for write in cluster.settle()} == {"status"}
    assert serving(cluster)["spec"]["replicas"] == 2


def test_a_proven_revision_comes_back_from_zero_while_another_one_is_proven():
    cluster = Cluster(body())
    cluster.live()
    proven = cluster.routed()
    cluster.edit(serving={"replicas": 0, "batching": {"maxBatchSize": 64}})
    cluster.settle()
    assert cluster.status()["phase"] == "TurnedOff"
    cluster.edit(serving={"replicas": 1, "batching": {"maxBatchSize": 64}})
    cluster.settle()
    assert cluster.routed() == proven
    assert serving(cluster)["spec"]["replicas"] == 1
    cluster.live()
    assert cluster.routed() != proven


def test_a_revision_and_its_record_go_together():
    cluster = Cluster(body())
    cluster.live()
    first = cluster.routed()
    cluster.edit(**NEW)
    cluster.live()
    cluster.settle()
    records = [name for kind, _, name in cluster.objects if kind == "ControllerRevision"]
    assert records == [deployment["metadata"]["name"] for deployment in cluster.deployments()]
    assert len(records) == 1
    assert not records[0].endswith(first)


def test_nothing_is_restored_from_the_artifacts_of_a_volume_that_is_gone():
    cluster = Cluster(body())
    cluster.live()
    key = ("PersistentVolumeClaim", "team-a", "magika-artifacts")
    claim = cluster.objects[key]
    deployment = serving(cluster)["metadata"]["name"]
    cluster._store({**claim, "metadata": {**claim["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    cluster.settle()
    del cluster.objects["Deployment", "team-a", deployment]
    cluster.settle()
    assert cluster.deployments() == [], "its pods would keep the volume"
    del cluster.objects[key]
    cluster.step()
    cluster._store({**claim, "metadata": {**claim["metadata"], "uid": "another"}})
    cluster.settle()
    assert cluster.deployments() == []
    assert not cluster.jobs()["validate"]["status"], "it runs again; what is finished stays for its log"
    cluster.live()


def folders(arguments: list[str]) -> set[str]:
    """What a container is told to keep on the volume."""
    return set(arguments[arguments.index("--keep") + 1].split(","))


def kept(cluster: Cluster, stage: str) -> set[str]:
    """What the stage's Job keeps, in each container that removes."""
    pod = cluster.jobs()[stage]["spec"]["template"]["spec"]
    told = [c["args"] for c in (*pod.get("initContainers", ()), *pod["containers"]) if "--keep" in c["args"]]
    assert told
    assert len({frozenset(folders(arguments)) for arguments in told}) == 1
    return folders(told[0])


def test_what_status_can_go_back_to_stays_on_the_volume_and_the_rest_goes():
    cluster = Cluster(body())
    cluster.live()
    made = []
    for size in (33, 34, 35, 36, 37):
        cluster.edit(optimization={"parity": {"relative": size / 1000}})
        cluster.settle()
        request = json.loads(cluster.jobs()["optimize"]["spec"]["template"]["spec"]["containers"][0]["args"][2])
        made.append(request["directory"].removeprefix("/artifacts/"))
        keep = kept(cluster, "optimize")
        assert made[-1] in keep
        assert request["model"].removeprefix("/artifacts/").rpartition("/")[0] in keep
        serves = json.dumps(serving(cluster))
        assert any(folder in serves for folder in keep), "what serves"
        cluster.live()
    remembered = {s["directory"].removeprefix("/artifacts/") for s in cluster.status()["stages"] if s.get("directory")}
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.settle()
    keep = kept(cluster, "optimize")
    assert remembered <= keep
    assert made[0] not in keep, "no spec that status remembers leads there"


def test_what_is_needed_changes_no_job_that_runs():
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(**NEW)
    cluster.settle()
    job = cluster.jobs()["optimize"]["metadata"]
    cluster.step()
    assert cluster.jobs()["optimize"]["metadata"]["uid"] == job["uid"]
    assert cluster.settle() == []


def available(cluster: Cluster) -> bool:
    """Whether the Service selects a Deployment that has pods, before the operator's next turn."""
    found = [d for d in cluster.deployments() if d["metadata"]["name"].endswith(cluster.routed() or "none")]
    return bool(found and found[0]["status"].get("availableReplicas"))


def switching() -> Cluster:
    """One revision serves, and the spec asks for another one."""
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(**NEW)
    return cluster


def turns(cluster: Cluster, most: int = 60) -> None:
    """Reconcile and play until the model is Ready and nothing is left to do. Something serves after each turn."""
    for _ in range(most):
        before = len(cluster.writes)
        cluster.step()
        assert available(cluster), cluster.status()
        if len(cluster.writes) == before:
            if cluster.condition("Ready")["status"] == "True":
                return
            cluster.play()
    raise AssertionError(f"not ready: {cluster.status()}")


@pytest.mark.parametrize("lands", [True, False], ids=["after the write", "before the write"])
def test_killed_at_any_write_of_a_switch_something_serves_whatever_the_next_spec_is(lands):
    last = {"optimization": {"graphLevel": "Extended"}}
    start = switching()
    reference = copy.copy(start)
    reference.objects, reference.writes = dict(start.objects), []
    reference.restart()
    turns(reference)
    for kill_at in range(len(reference.writes)):
        cluster = copy.copy(start)
        cluster.objects, cluster.writes = dict(start.objects), []
        cluster.restart()
        cluster.kill_at, cluster.write_lands = kill_at, lands
        with pytest.raises(Killed):
            turns(cluster)
        cluster.edit(**last)  # while no operator runs
        assert available(cluster), kill_at
        turns(cluster)
        (deployment,) = cluster.deployments()
        assert deployment["metadata"]["labels"][names.LABEL_REVISION] == cluster.status()["active"]["revision"]


@pytest.mark.parametrize("kind", ["Deployment", "ControllerRevision", "Service", "Job"])
def test_a_refused_write_of_the_last_turn_forgets_nothing_that_serves(kind):
    cluster = switching()
    for stage in ("optimize", "benchmark"):
        cluster.settle()
        cluster.succeed(stage)
    cluster.settle()
    cluster.deploy()
    assert cluster.status()["phase"] == "Probing"
    cluster.succeed("probe")
    service = cluster.objects["Service", "team-a", "magika"]
    cluster._store({**service, "spec": {**service["spec"], "ports": []}})  # so that it is applied in that turn
    cluster.refuses[kind] = ApiError(403, "denied by policy")
    for _ in range(3):
        try:
            cluster.step()
        except ApiError:
            continue
    assert cluster.status()["active"]["revision"] in json.dumps([d["metadata"] for d in cluster.deployments()])
    cluster.edit(optimization={"graphLevel": "Extended"})
    cluster.refuses.clear()
    turns(cluster)


def test_what_the_service_selects_stays_when_the_recorded_revision_is_gone():
    cluster = switching()
    old = serving(cluster)["metadata"]["name"]
    for stage in ("optimize", "benchmark"):
        cluster.settle()
        cluster.succeed(stage)
    cluster.settle()
    cluster.deploy()
    assert cluster.status()["phase"] == "Probing"
    for kind in ("Deployment", "ControllerRevision"):
        del cluster.objects[kind, "team-a", old]
    cluster.edit(optimization={"graphLevel": "Extended"})
    cluster.settle()
    assert available(cluster)


def another(cluster: Cluster) -> None:
    """A third spec waits for its optimize Job."""
    cluster.edit(optimization={"graphLevel": "Extended"})
    cluster.settle()


def unchanged(cluster: Cluster) -> None:
    """The same spec, and the probe's end is told."""
    cluster.settle()


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        (later, reason)
        for later in (another, refused, unreadable, suspended, unchanged)
        for reason in ("", "ProbeMismatch", "ServiceUnreachable")
        if reason or later is not unchanged  # proven and unchanged, it becomes the recorded one
    ],
)
def test_a_routed_revision_stays_while_the_recorded_one_has_no_pods_unless_it_answers_wrongly(later, reason):
    cluster = switching()
    old = serving(cluster)
    for stage in ("optimize", "benchmark"):
        cluster.settle()
        cluster.succeed(stage)
    cluster.settle()
    cluster.deploy()
    new = serving(cluster)
    assert new["metadata"]["name"] != old["metadata"]["name"]
    cluster.available(old, replicas=0)
    wrong = reason == "ProbeMismatch"
    if reason:
        cluster.fail("probe", 20, failure=Failure(reason, "said by the probe", "Look at it."))
    else:
        cluster.succeed("probe")
    later(cluster)  # before any turn records the proof
    assert available(cluster) is not wrong
    assert (serving(cluster)["metadata"]["name"] == new["metadata"]["name"]) is not wrong
    cluster.available(old)
    cluster.settle()
    assert serving(cluster)["metadata"]["name"] == old["metadata"]["name"]
    assert len(cluster.deployments()) == 1 + (later is not another), "what a readable spec does not ask for goes"


def test_the_regression_gate_holds_while_what_serves_is_being_restored():
    messages = []
    for deleted in (False, True):
        cluster = Cluster(body())
        cluster.live()
        cluster.edit(benchmark={"attempt": 2, "constraints": {"maxRegressionPercent": 5}}, **NEW)
        cluster.settle()
        cluster.succeed("optimize")
        cluster.settle()
        cluster.succeed("benchmark", result=benchmarked(original=40.0, fp32=20.0))
        if deleted:
            del cluster.objects["Deployment", "team-a", serving(cluster)["metadata"]["name"]]
        cluster.settle()
        messages.append(cluster.status()["message"])
        assert cluster.condition("Stalled")["reason"] == "ConstraintsNotMet"
    assert messages[0] == messages[1]


@pytest.mark.parametrize("kind", ["Deployment", "ControllerRevision"])
@pytest.mark.parametrize("later", [lambda cluster: None, proving, stalled, unproven])
def test_a_label_that_someone_removes_takes_nothing_down(kind, later):
    cluster = Cluster(body())
    cluster.live()
    later(cluster)
    name = serving(cluster)["metadata"]["name"]
    item = cluster.objects[kind, "team-a", name]
    labels = {key: value for key, value in item["metadata"]["labels"].items() if key != names.LABEL_REVISION}
    cluster._store({**item, "metadata": {**item["metadata"], "labels": labels}})
    for write in cluster.settle():
        assert write[:2] != ("delete", "Deployment"), write
    assert available(cluster)
    assert cluster.status()["active"]["revision"] == cluster.routed()


def test_suspended_says_that_what_serves_is_scaled():
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(suspend=True, serving={"replicas": 3})
    cluster.settle()
    assert cluster.status()["message"].endswith("the current revision keeps serving, with the replicas in the spec")
    assert serving(cluster)["spec"]["replicas"] == 3


def test_a_revision_that_vanishes_and_returns_is_in_the_history_once():
    cluster = Cluster(body())
    cluster.live()
    first = cluster.routed()
    key = ("PersistentVolumeClaim", "team-a", "magika-artifacts")
    claim = cluster.objects[key]
    name = serving(cluster)["metadata"]["name"]
    for _ in range(3):
        for kind in ("Deployment", "ControllerRevision"):
            del cluster.objects[kind, "team-a", name]
        del cluster.objects[key]
        cluster.step()
        assert "active" not in cluster.status()
        cluster._store(claim)
        cluster.live()
        assert cluster.routed() == first
    assert [item["revision"] for item in cluster.status()["history"]] == [first]


def lose_the_status(cluster: Cluster) -> None:
    """A restore of the model from a backup, for example."""
    cluster._store({**cluster.objects["OnnxModel", "team-a", "magika"], "status": {}})


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_what_serves_outlives_a_status_that_is_lost_after_its_jobs(runtime):
    cluster = Cluster(body(serving={"runtime": runtime}))
    cluster.live()
    cluster.settle()
    cluster.pass_time(3700)
    cluster.settle()
    assert cluster.jobs() == {}
    known, (served,) = cluster.status()["active"], cluster.deployments()
    lose_the_status(cluster)
    lost = len(cluster.writes)
    cluster.settle()
    found = cluster.status()["active"]
    kept = ("revision", "variant", "sha256", "runtime")
    assert {key: found[key] for key in kept} == {key: known[key] for key in kept}
    assert cluster.status()["serving"]["revision"] == cluster.routed() == known["revision"]
    assert cluster.condition("Available")["status"] == "True"
    cluster.live()
    again = {key: value for key, value in cluster.status()["active"].items() if key != "time"}
    assert again == {key: value for key, value in known.items() if key != "time"}
    assert "history" not in cluster.status()
    assert cluster.deployments() == [served]
    gone = [(kind, name) for verb, kind, name in cluster.writes[lost:] if verb == "delete"]
    assert not {"Deployment", "ControllerRevision"} & {kind for kind, _ in gone}
    assert ("Service", "magika") not in gone


@pytest.mark.parametrize("later", LATER)
def test_what_serves_outlives_a_status_that_is_lost_while_a_newer_spec_is_there(later):
    cluster = Cluster(body())
    cluster.live()
    cluster.settle()
    cluster.pass_time(3700)
    cluster.settle()
    served = cluster.routed()
    later(cluster)
    lose_the_status(cluster)
    for _ in range(3):
        cluster.settle()
        assert cluster.status()["active"]["revision"] == cluster.routed() == served
    assert f"magika-{served}" in [item["metadata"]["name"] for item in cluster.deployments()]


def test_a_newer_operator_restarts_no_server(monkeypatch):
    cluster = Cluster(body())
    cluster.live()
    before = copy.deepcopy(cluster.deployments())
    monkeypatch.setattr(server, "_GRACE_SECONDS", 99)  # what the next release renders
    _forget()
    cluster.restart()
    assert cluster.settle() == []
    assert cluster.deployments() == before
    cluster.edit(serving={"batching": {"maxBatchSize": 64}})
    cluster.settle()
    cluster.succeed("benchmark")
    cluster.settle()
    graces = [d["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for d in cluster.deployments()]
    assert graces == [45, 99], "a revision that is new anyway is made as the new release makes it"


def test_a_revision_from_before_the_digest_of_its_settings_restarts_no_server(monkeypatch):
    cluster = Cluster(body())
    cluster.live()
    before = copy.deepcopy(cluster.deployments())
    for key in [key for key in cluster.objects if key[0] == "ControllerRevision"]:
        record = copy.deepcopy(cluster.objects[key])
        del record["metadata"]["annotations"][names.ANNOTATION_POD_SETTINGS]
        made = {name: record["metadata"][name] for name in ("name", "namespace", "labels", "ownerReferences")}
        claim = {names.ANNOTATION_CLAIM: record["metadata"]["annotations"][names.ANNOTATION_CLAIM]}
        content = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": record["data"]}
        cluster.objects[key] = record | {"metadata": record["metadata"] | {"annotations": stamped(
            {**content, "metadata": {**made, "annotations": claim}}
        )["metadata"]["annotations"]}}  # fmt: skip
    monkeypatch.setattr(server, "_GRACE_SECONDS", 99)
    _forget()
    cluster.restart()
    assert cluster.settle() == []
    assert [d["spec"] for d in cluster.deployments()] == [d["spec"] for d in before]


def test_a_pull_secret_of_the_platform_reaches_a_revision_that_serves():
    cluster = Cluster(body())
    cluster.live()
    images = cluster.settings.images.model_copy(update={"pull_secrets": ("registry",)})
    cluster.settings = cluster.settings.model_copy(update={"images": images})
    cluster.settle()
    (deployment,) = cluster.deployments()
    assert deployment["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def _forget():
    server.server_manifests.cache_clear()
