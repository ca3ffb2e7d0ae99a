"""Watches that are late, each kind by itself: nothing is deleted, run again or called lost for it."""

import asyncio
from collections import Counter, deque

import pytest

from onnxmodel_operator import names
from onnxmodel_operator.cluster.errors import ApiError, StaleError
from onnxmodel_operator.cluster.kinds import ALL, BY_NAME
from onnxmodel_operator.controller.reconcile import Reconciled, reconcile
from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from tests.builders import Cluster, body, watched


class Late(Cluster):
    """A cluster whose watches of some kinds tell of everything some turns later. The operator keeps its cache."""

    def __init__(self, *late: str, turns: int = 4) -> None:
        super().__init__(body())
        self.late = late
        self.under_way = deque([[]] * turns)
        self.reasons = set()

    def step(self, name: str = "magika", *, namespace: str = "team-a", failures: int = 0) -> Reconciled:
        told = {key: item for key, item in self.objects.items() if watched(item)}
        gone = [
            ("DELETED", self.objects.get(key) or self.deleted(item))
            for key, item in self.told.items()
            if key not in told
        ]
        news = [("MODIFIED", item) for key, item in told.items() if self.told.get(key) is not item]
        self.told = told
        self.under_way.append([event for event in gone + news if event[1]["kind"] in self.late])
        in_time = [event for event in gone + news if event[1]["kind"] not in self.late]
        for kind, item in (*in_time, *self.under_way.popleft()):
            learn = self.cache.drop if kind == "DELETED" else self.cache.put
            learn(BY_NAME[item["kind"]], item)
        try:
            return asyncio.run(self.reconcile((namespace, name), failures))
        except StaleError:
            return Reconciled()
        finally:
            if ("OnnxModel", namespace, name) in self.objects:
                self.reasons.add(self.status().get("reason"))

    def turns(self, condition: str, most: int = 150) -> None:
        """Reconcile, and play after every third turn, until the condition is True."""
        for turn in range(most):
            self.step()
            if (found := self.condition(condition)) and found["status"] == "True":
                return
            if turn % 3 == 2:
                self.play()
        raise AssertionError(f"not {condition}: {self.status()}")


KINDS = [kind.name for kind in ALL]


@pytest.mark.parametrize("late", [["Pod"], ["Job"], ["OnnxModel"], KINDS], ids=lambda late: "+".join(late[:2]))
def test_late_watches_run_nothing_twice_and_lose_nothing(late):
    cluster = Late(*late)
    cluster.turns("Ready")
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.turns("Reconciling")
    cluster.turns("Ready")
    made = Counter(name for verb, kind, name in cluster.writes if (verb, kind) == ("apply", "Job"))
    assert set(made.values()) == {1}, made
    assert not cluster.reasons & {"ResultLost", "ResultInvalid", "InternalError", "ApplyFailed"}


def test_a_late_pod_hides_no_reason_of_a_failure():
    cluster = Late("Pod")
    cluster.turns("Reconciling")
    for _ in range(6):
        cluster.step()
    cluster.fail("validate", ExitCode.REFUSED, failure=Failure("OpsetTooLow", "opset is 9", "Export it again."))
    cluster.step()
    assert cluster.status()["lastFailure"]["reason"] == "OpsetTooLow"


def test_a_measurement_that_has_just_begun_is_not_made_again():
    """Its pod is known to wait, and somebody else's pod to be stuck: but the wait may be over."""
    cluster = Late("Pod", turns=0)
    for stage in ("validate", "optimize"):
        cluster.turns("Reconciling")
        while stage not in cluster.jobs():
            cluster.step()
        cluster.succeed(stage)
    while "benchmark" not in cluster.jobs():
        cluster.step()
    benchmark = cluster.jobs()["benchmark"]
    message = "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod = cluster.pod(benchmark, phase="Pending", conditions=[waits], containerStatuses=[])
    cluster.step()
    stuck = cluster.pod(
        benchmark, spec={"nodeName": "n"}, state={"waiting": {"reason": "ErrImagePull"}}, phase="Pending"
    )  # of another model's validate stage
    stuck["metadata"]["labels"]["onnx-operator.dev/model"] = "other"
    stuck["metadata"]["labels"]["onnx-operator.dev/stage"] = "validate"
    stuck["metadata"]["labels"].pop("batch.kubernetes.io/job-name")
    stuck["metadata"]["ownerReferences"] = []
    cluster._store(stuck)
    # The scheduler has found a node meanwhile, and the watch has yet to tell.
    running = {"phase": "Running", "containerStatuses": [{"name": "benchmark", "state": {"running": {}}}]}
    cluster._store({**pod, "status": running})
    cluster.told["Pod", "team-a", pod["metadata"]["name"]] = cluster.objects["Pod", "team-a", pod["metadata"]["name"]]
    cluster.step()
    assert ("delete", "Job", benchmark["metadata"]["name"]) not in cluster.writes


def test_a_deletion_waits_until_the_cache_knows_what_it_deletes():
    cluster = Late("Job")
    cluster.turns("Ready")
    for _ in range(6):
        cluster.step()
    cluster.edit(optimization={"graphLevel": "Basic"})
    optimize = cluster.jobs()["optimize"]
    cluster._store(optimize)  # something changed, and the watch has yet to tell
    before = len(cluster.writes)
    cluster.step()
    assert ("delete", "Job", optimize["metadata"]["name"]) not in cluster.writes[before:]
    cluster.step()
    assert ("delete", "Job", optimize["metadata"]["name"]) in cluster.writes[before:]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("job", [False, True], ids=["what serves", "a Job"])
def test_a_child_that_lost_our_labels_gets_them_back(job, restarted):
    """Another hand took them, and with them the watch's view of it."""
    cluster = Late(turns=0)
    cluster.turns("Reconciling" if job else "Ready")
    for _ in range(3):
        cluster.step()
    kinds = {"Job"} if job else {"PersistentVolumeClaim", "Service", "Deployment", "ControllerRevision"}
    children = [key for key in cluster.objects if key[0] in kinds]
    assert {kind for kind, _, _ in children} == kinds
    for label in (names.MANAGED_BY, names.LABEL_MODEL, names.LABEL_STAGE):
        for key in (key for key in children if label in cluster.objects[key]["metadata"]["labels"]):
            before = cluster.objects[key]
            labels = {name: value for name, value in before["metadata"]["labels"].items() if name != label}
            cluster._store({**before, "metadata": {**before["metadata"], "labels": labels}})
            if restarted:
                cluster.restart()
            writes = len(cluster.writes)
            assert not [cluster.step().wrote for _ in range(5)][-1], (label, key)
            written = [write for write in cluster.writes[writes:] if write[1] in kinds]
            assert written == [("apply", key[0], key[2])], label
            after = cluster.objects[key]
            assert after["metadata"]["labels"] == before["metadata"]["labels"]
            assert (after["metadata"]["uid"], after.get("spec")) == (before["metadata"]["uid"], before.get("spec"))


def test_a_model_whose_deletion_is_not_known_yet_gets_no_job_again():
    """The garbage collector has its failed Job already. Were it somebody's deletion, the stage would run again."""
    cluster = Late("OnnxModel", turns=2)
    for stage in ("validate", "optimize"):
        while stage not in cluster.jobs():
            cluster.step()
        if stage == "validate":
            cluster.succeed(stage)
    cluster.fail("optimize", ExitCode.REFUSED, failure=Failure("ParityFailed", "another answer", "Look at it."))
    for _ in range(6):
        cluster.step()
    assert cluster.status()["phase"] == "Failed"
    before = len(cluster.writes)
    cluster.objects.clear()
    for _ in range(4):
        cluster.step()
    assert cluster.writes[before:] == []


def test_a_status_is_not_written_into_a_new_model_of_the_name_of_which_the_watch_has_yet_to_tell():
    cluster, key = Cluster(body()), ("OnnxModel", "team-a", "magika")
    model = cluster.objects[key]
    cluster.cache.put(BY_NAME["OnnxModel"], model)
    cluster._store({**model, "metadata": {**model["metadata"], "uid": "another"}})
    with pytest.raises(StaleError):
        asyncio.run(reconcile(key[1:], cluster.cache, cluster.telemetry, cluster.settings, cluster, cluster.now))
    assert "phase" not in cluster.objects[key]["status"]


def test_a_status_is_not_written_into_a_new_model_of_the_name_that_the_watch_tells_of_meanwhile():
    cluster, key = Cluster(body()), ("OnnxModel", "team-a", "magika")
    model = cluster.objects[key]
    cluster.cache.put(BY_NAME["OnnxModel"], model)

    async def refused(manifest):
        cluster._store({**model, "metadata": {**model["metadata"], "uid": "another"}})
        cluster.cache.put(BY_NAME["OnnxModel"], cluster.objects[key])
        raise ApiError(403, "exceeded quota")

    cluster.create = refused
    with pytest.raises(StaleError):
        asyncio.run(reconcile(key[1:], cluster.cache, cluster.telemetry, cluster.settings, cluster, cluster.now))
    assert "phase" not in cluster.objects[key]["status"]


def test_an_edit_of_which_the_watch_has_yet_to_tell_is_not_lost():
    """The answer to a status would bring it into the cache, and its event would be no news."""
    cluster = Cluster(body())
    cluster.live()
    known = cluster.objects["OnnxModel", "team-a", "magika"]
    cluster.edit(serving={"replicas": 2})
    edited, cluster.objects["OnnxModel", "team-a", "magika"] = cluster.objects["OnnxModel", "team-a", "magika"], known
    cluster.available(replicas=0)
    tell = cluster.apply_status

    async def edit_first(*args):
        cluster.objects["OnnxModel", "team-a", "magika"] = edited
        return await tell(*args)

    cluster.apply_status = edit_first
    with pytest.raises(StaleError):  # so it is tried again
        cluster.step()
    del cluster.apply_status
    cluster.settle()
    assert cluster.deployments()[0]["spec"]["replicas"] == 2


def test_what_follows_from_a_status_follows_though_its_event_comes_before_the_answer():
    cluster = Cluster(body())
    cluster.settle()
    cluster.succeed("validate")
    tell = cluster.apply_status

    async def event_first(*args):
        answer = await tell(*args)
        assert cluster.cache.put(BY_NAME["OnnxModel"], answer)
        return answer

    cluster.apply_status = event_first
    assert cluster.step().wrote
