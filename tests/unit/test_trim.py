"""What the cache drops of objects is what nothing reads."""

import pytest

from onnxmodel_operator.cluster import cache as module
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import ALL, BY_NAME, DEPLOYMENT, JOB, MODEL, POD, RECORD
from onnxmodel_operator.cluster.trim import KEPT, share, trim
from onnxmodel_operator.names import LABEL_MODEL
from onnxmodel_runtime.contract import ExitCode, Failure
from tests.builders import Cluster, body


class Strict(dict):
    """An object that was trimmed. To read what was dropped of it is a failure, and not the answer None."""

    def __init__(self, kept, whole):
        super().__init__(kept)
        self.dropped = {name for name in whole if name not in kept and whole[name] not in ({}, None)}

    def _look(self, name):
        assert name not in self.dropped, f"{name} is read, and cluster/trim.py drops it"

    def __getitem__(self, name):
        self._look(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self._look(name)
        return super().get(name, default)

    def __contains__(self, name):
        self._look(name)
        return super().__contains__(name)


def strict(kept, whole):
    match whole:
        case dict():
            return Strict({name: strict(kept[name], whole[name]) for name in kept}, whole)
        case list() | tuple():
            return [strict(*pair) for pair in zip(kept, whole, strict=True)]
        case _:
            return kept


@pytest.fixture
def watched_reads(monkeypatch):
    """Everything in the cache fails where it is read and was dropped."""
    monkeypatch.setattr(module, "trim", lambda kind, item: strict(trim(kind, item), item))
    monkeypatch.setattr(module, "share", lambda kind, item: item)


POD_SPEC = {
    "nodeName": "n",
    "schedulerName": "s",
    "volumes": [],
    "containers": [
        {"name": "validate", "image": "i", "args": ["x"], "resources": {"limits": {"memory": "1Gi", "cpu": 1}}}
    ],
}


def noisy(cluster):
    """Every object with some of what a real API server and its controllers write into it besides."""
    for key, item in cluster.objects.items():
        metadata = {
            "managedFields": [{"manager": "m"}],
            "selfLink": "/x",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **item["metadata"],
        }
        status = {"podIP": "10.0.0.1", "active": 1, **item.get("status", {})} if key[0] != RECORD.name else {}
        for condition in status.get("conditions", ()) if key[0] != MODEL.name else ():
            condition["lastProbeTime"] = condition["lastUpdateTime"] = None
        for container in status.get("containerStatuses", ()):
            container |= {"imageID": "i", "containerID": "c", "restartCount": 0}
            for end in container["state"].values():
                end["startedAt"] = "2026-01-01T00:00:00Z"
        if key[0] == MODEL.name:
            metadata["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
            status = item["status"]
        cluster.objects[key] = {**item, "metadata": metadata, "status": status}


def look(cluster):
    noisy(cluster)
    cluster.step()


def test_a_life_reads_nothing_that_is_dropped(watched_reads):
    cluster = Cluster(body())
    for _ in range(40):
        look(cluster)
        if cluster.status().get("phase") == "Ready":
            break
        cluster.play()
    assert cluster.status()["phase"] == "Ready"
    cluster.edit(serving={"replicas": 2})
    look(cluster)
    cluster.pod(cluster.deployments()[0], state={"terminated": {"exitCode": 1, "message": "no"}}, spec=POD_SPEC)
    look(cluster)
    cluster.pass_time(7200)
    look(cluster)
    assert not cluster.jobs(), "they were collected"


@pytest.mark.parametrize(
    "pod",
    [
        {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": ""}}, "phase": "Failed"},
        {"state": {"terminated": {"exitCode": 1, "message": "a log"}}, "phase": "Failed", "init": True},
        {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}, "phase": "Pending"},
        {"phase": "Failed", "reason": "DeadlineExceeded", "message": "too long"},
        {"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "anti-affinity",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
        },
    ],
    ids=["memory", "fetch", "image", "deadline", "evicted", "queue"],
)
def test_what_ends_badly_or_waits_reads_nothing_that_is_dropped(watched_reads, pod):
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "t", "namespaceSelector": {}, "labelSelector": {"matchLabels": {"a": "b"}}}
    ]}}  # fmt: skip
    cluster = Cluster(body())
    cluster.settle()
    job = cluster.jobs()["validate"]
    cluster.pod(job, container="validate", spec={**POD_SPEC, "affinity": affinity}, **pod)
    look(cluster)
    cluster.fail("validate", ExitCode.REFUSED, Failure("Bad", "it is", "do"))
    look(cluster)
    assert cluster.status()["phase"] == "Failed"


def test_each_kind_has_its_fields():
    assert set(KEPT) == set(BY_NAME) == {kind.name for kind in ALL}


def test_equal_parts_are_one_and_different_ones_are_not():
    def deployment(name, number):
        container = {"args": [name], "ports": [{"containerPort": 8000}], "number": number}
        return {"metadata": {"name": name}, "spec": {"template": {"containers": [container]}}}

    one, other = (share(DEPLOYMENT, deployment(name, 1)) for name in ("a", "b"))
    first, second = (item["spec"]["template"]["containers"][0] for item in (one, other))
    assert first["ports"] is second["ports"]
    assert (first["args"], second["args"]) == (["a"], ["b"])
    numbers = [share(DEPLOYMENT, deployment("a", number)) for number in (1, True, 1.0, 0, False)]
    shown = [item["spec"]["template"]["containers"][0]["number"] for item in numbers]
    assert [type(number) for number in shown] == [int, bool, float, int, bool]


def test_a_change_of_what_nothing_reads_is_no_news_and_is_known():
    cache = Cache()
    job = {
        "metadata": {"name": "j", "namespace": "n", "uid": "u", "resourceVersion": "1", "labels": {LABEL_MODEL: "m"}},
        "status": {"active": 0},
    }
    pod = {**job, "metadata": {**job["metadata"], "uid": "p"}, "status": {"phase": "Running"}}
    assert cache.put(JOB, job) == cache.put(POD, pod) == ("n", "m")
    for kind, item, change in ((JOB, job, {"active": 1}), (POD, pod, {"phase": "Running", "podIP": "10.0.0.1"})):
        newer = {**item, "metadata": {**item["metadata"], "resourceVersion": "2"}, "status": change}
        assert cache.put(kind, newer) is None
    assert cache.snapshot(("n", "m")).jobs[0]["metadata"]["resourceVersion"] == "2", "for the next deletion"
