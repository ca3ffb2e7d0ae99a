"""What the cache drops of objects is what nothing reads."""

from typing import Any

import pytest

from onnxmodel_operator import names
from onnxmodel_operator.cluster import cache as module
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import ALL, BY_NAME, DEPLOYMENT, JOB, MODEL, POD, RECORD, ROUTES, SCALERS
from onnxmodel_operator.cluster.trim import KEPT, share, trim
from onnxmodel_operator.controller.meters import address
from onnxmodel_operator.names import LABEL_MODEL
from onnxmodel_operator.platform.settings import Autoscalers, Parent, Routes
from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from tests.builders import SETTINGS, Cluster, body

NO_FIELDS = {("Deployment", "data"), ("ControllerRevision", "status")}
"""Asked for by code that handles objects of several kinds, of which these have no such field."""


class Strict(dict[str, Any]):
    """An object that was trimmed. To read what is not kept of it is a failure, and not the answer None.

    fields: of KEPT, {} for all. path: of the object's own fields. read: every path that was asked for, there or not.
    """

    def __init__(self, kept, whole, fields, path, read):
        super().__init__(kept)
        self.fields, self.path, self.read = fields, path, read
        self.dropped = whole.keys() - kept.keys()

    def _look(self, name):
        where = (*self.path, name)
        kept = not self.fields or name in self.fields or where in NO_FIELDS
        assert kept, f"{'.'.join(where)} is read, and cluster/trim.py drops it"
        self.read.add(where)

    def __getitem__(self, name):
        self._look(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self._look(name)
        return super().get(name, default)

    def __contains__(self, name):
        self._look(name)
        return super().__contains__(name)

    def items(self):
        assert not self.dropped, f"all is read, and cluster/trim.py drops {self.dropped}"
        return super().items()

    def values(self):
        assert not self.dropped, f"all is read, and cluster/trim.py drops {self.dropped}"
        return super().values()

    def __iter__(self):
        if len(self.path) > 2:  # a copy of all, or of its metadata, is made by the cache alone
            self.read.update((*self.path, name) for name in self.keys())
        return super().__iter__()


def strict(kept, whole, fields, path, read):
    match whole:
        case dict():
            below = {name: strict(kept[name], whole[name], fields.get(name, {}), (*path, name), read) for name in kept}
            return Strict(below, whole, fields, path, read)
        case list() | tuple():
            return [strict(*pair, fields, path, read) for pair in zip(kept, whole, strict=True)]
        case _:
            return kept


@pytest.fixture
def watched_reads(monkeypatch):
    """Everything in the cache fails where it is read and was dropped. What was read."""
    read = set()
    monkeypatch.setattr(
        module, "trim", lambda kind, item: strict(trim(kind, item), item, KEPT[kind.name], (kind.name,), read)
    )
    monkeypatch.setattr(module, "share", lambda kind, item: item)
    return read


POD_SPEC = {
    "nodeName": "n",
    "schedulerName": "s",
    "volumes": [],
    "initContainers": [{"name": "fetch", "image": "i", "resources": {"limits": {"memory": "1Gi"}}}],
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
        status = (
            {"podIP": "10.0.0.1", "hostIP": "10.0.0.9", "active": 1, **item.get("status", {})}
            if key[0] != RECORD.name
            else {}
        )
        for condition in status.get("conditions", ()) if key[0] != MODEL.name else ():
            condition["lastProbeTime"] = condition["lastUpdateTime"] = None
        for container in (*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())):
            container |= {"imageID": "i", "containerID": "c", "restartCount": 0}
            for end in container["state"].values():
                end["startedAt"] = "2026-01-01T00:00:00Z"
        if key[0] == MODEL.name:
            metadata["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
            status = item["status"]
        cluster.objects[key] = {**item, "metadata": metadata, "status": status}


def look(cluster):
    noisy(cluster)
    cluster.restart()
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
    cluster.edit(serving={"replicas": 1})
    look(cluster)  # at a budget that goes
    cluster.edit(serving={"replicas": 2})
    look(cluster)
    cluster.pod(cluster.deployments()[0], state={"terminated": {"exitCode": 1, "message": "no"}}, spec=POD_SPEC)
    look(cluster)
    assert [address(pod) for _, pod in cluster.cache.servers().values()] == [("10.0.0.1", 8002)]
    cluster.pass_time(7200)
    look(cluster)
    assert not cluster.jobs(), "they were collected"


CRASHED = {"exitCode": 137, "reason": "OOMKilled", "message": "", "finishedAt": "2026-01-01T00:00:00Z"}
AGAIN = {"ready": True, "started": False, "state": {"running": {}}, "lastState": {"terminated": CRASHED}}
NO_NODE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
LABELS = {names.MANAGED_BY: names.MANAGER}
BAD_PODS = {
    "memory": {"state": {"terminated": CRASHED}, "phase": "Failed"},
    "memory of the fetch": {"state": {"terminated": CRASHED}, "phase": "Failed", "init": True},
    "fetch": {"state": {"terminated": {"exitCode": 1, "message": "a log"}}, "phase": "Failed", "init": True},
    "image": {
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}},
        "phase": "Pending",
        "startTime": None,
    },
    "image of the fetch": {
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}},
        "phase": "Pending",
        "init": True,
    },
    "again": {"containerStatuses": [{"name": "validate", **AGAIN}]},
    "the fetch again": {"init": True, "initContainerStatuses": [{"name": "fetch", **AGAIN}]},
    "sidecar": {
        "containerStatuses": [
            {"name": "validate", "state": {"terminated": CRASHED}},
            {"name": "proxy", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
        ]
    },
    "deadline": {"phase": "Failed", "reason": "DeadlineExceeded", "message": "too long"},
    "evicted": {"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]},
    "queue": {"phase": "Pending", "conditions": [{**NO_NODE, "message": "anti-affinity"}]},
    "claims": {"phase": "Pending", "spec": {"nodeName": "", "resourceClaims": [{"resourceClaimTemplateName": "gpu"}]}},
    "no node": {"phase": "Pending", "conditions": [{**NO_NODE, "message": "insufficient cpu"}]},
}


@pytest.mark.parametrize("pod", BAD_PODS.values(), ids=BAD_PODS)
def test_what_ends_badly_or_waits_reads_nothing_that_is_dropped(watched_reads, pod):
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "t", "namespaceSelector": {}, "labelSelector": {"matchLabels": {names.LABEL_STAGE: "b"}}}
    ]}}  # fmt: skip
    cluster = Cluster(body(), body("other"))
    cluster.settle()
    job = cluster.jobs()["validate"]
    other = cluster.pod(job, container="benchmark", spec=POD_SPEC)
    other["metadata"] |= {"labels": {**LABELS, names.LABEL_MODEL: "other", names.LABEL_STAGE: "benchmark"}}
    other["metadata"] |= {"ownerReferences": []}
    cluster._store(other)
    spec = {**POD_SPEC, "affinity": affinity, **pod.get("spec", {})}
    cluster.pod(job, **{"container": "fetch" if pod.get("init") else "validate", **pod, "spec": spec})
    look(cluster)
    cluster.fail("validate", ExitCode.REFUSED, failure=Failure("Bad", "it is", "do"))
    look(cluster)
    assert cluster.status()["phase"] == "Failed"


def test_orders_read_nothing_that_is_dropped(watched_reads):
    orders = (names.PROMOTE, names.ABORT, names.RETRY, names.PAUSE, names.MEASURE)
    ordered = body()
    ordered["metadata"]["annotations"] = dict.fromkeys(orders, "true")
    cluster = Cluster(ordered)
    cluster.settle()
    assert cluster.status()["rollout"]["handled"] == dict.fromkeys(("promote", "abort", "retry", "measure"), "true")


def test_what_fails_without_a_pod_reads_nothing_that_is_dropped(watched_reads):
    cluster = Cluster(body())
    cluster.live()
    (deployment,) = cluster.deployments()
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    status = {**deployment["status"], "availableReplicas": 0, "conditions": [late, refused]}
    cluster._store({**deployment, "status": status})
    look(cluster)
    cluster.edit(optimization={"graphLevel": "Basic"})
    look(cluster)
    cluster._finish(cluster.jobs()["optimize"], "Failed", "BackoffLimitExceeded")
    look(cluster)
    assert cluster.condition("Stalled")["reason"] == "BackoffLimitExceeded"


def test_routes_read_nothing_that_is_dropped(watched_reads):
    parents = (Parent(name="a", namespace="infra"), Parent(name="b", namespace="infra", section_name="web"))
    routes = Routes(parent_refs=parents, domain="example.com")
    cluster = Cluster(body(), platform=SETTINGS.model_copy(update={"routes": routes}))
    cluster.live()
    said = [{"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 1}]
    no = [*said, {"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": "no"}]
    for kind in ROUTES:
        route = cluster.objects[kind.name, "team-a", "magika"]
        answers = [
            {"parentRef": {"name": "a", "namespace": "infra", "kind": "Gateway"}, "conditions": said},
            {"parentRef": {"name": "b", "sectionName": "web"}, "controllerName": "c", "conditions": no},
        ]
        cluster._store({**route, "status": {"parents": answers}})
    look(cluster)
    assert cluster.condition("RouteAccepted")["status"] == "Unknown"
    cluster._store({**route, "status": {"parents": [{**answers[0], "conditions": no}]}})
    look(cluster)
    assert "BackendNotFound: no" in cluster.condition("RouteAccepted")["message"]


@pytest.mark.parametrize("backend", ["KEDA", "HPA"])
def test_an_autoscaler_reads_nothing_that_is_dropped(watched_reads, backend):
    offered = Autoscalers.model_validate({"backend": backend})
    asked = {"autoscaling": {"maxReplicas": 3}}
    cluster = Cluster(body(serving=asked), platform=SETTINGS.model_copy(update={"autoscaling": offered}))
    cluster.live()
    cluster.settle()
    (key,) = (key for key in cluster.objects if key[2] == "magika-autoscaler")
    made = cluster.objects[key]
    wrong = {"type": "ScalingActive", "status": "False", "reason": "R", "message": "m"}
    status = {"conditions": [wrong]}
    cluster._store({**made, "status": status})
    theirs = {"name": "theirs", "uid": "theirs", "ownerReferences": [{"uid": made["metadata"]["uid"]}]}
    cluster._store(
        {**made, "kind": "HorizontalPodAutoscaler", "metadata": {**made["metadata"], **theirs}, "status": status}
    )
    look(cluster)
    assert cluster.condition("ScalingReady")["reason"] == "R"
    cluster.edit(serving={})
    look(cluster)


@pytest.fixture
def lived(watched_reads):
    """Everything above at once. What was read."""
    test_a_life_reads_nothing_that_is_dropped(watched_reads)
    for pod in BAD_PODS.values():
        test_what_ends_badly_or_waits_reads_nothing_that_is_dropped(watched_reads, pod)
    test_what_fails_without_a_pod_reads_nothing_that_is_dropped(watched_reads)
    test_orders_read_nothing_that_is_dropped(watched_reads)
    test_routes_read_nothing_that_is_dropped(watched_reads)
    for backend in ("KEDA", "HPA"):
        test_an_autoscaler_reads_nothing_that_is_dropped(watched_reads, backend)
    return watched_reads


def leaves(fields, path=()):
    for name, below in fields.items():
        yield from leaves(below, (*path, name)) if below else [(*path, name)]


def test_what_is_kept_is_read(lived):
    """So that reading it would fail if it were dropped: the tests above see each field of the list."""
    kept = {path for path in leaves(KEPT) if path[1:] not in BY_THE_CACHE}
    assert kept - lived - IN_FINGERPRINTS == set()


BY_THE_CACHE = {("metadata", name) for name in ("name", "namespace", "uid", "resourceVersion")}
IN_FINGERPRINTS = {("PersistentVolumeClaim", "metadata", "annotations")}
"""Read where a webhook changed the child: tests/lives/test_injected.py."""


def test_each_kind_has_its_fields():
    assert set(KEPT) == set(BY_NAME) == {kind.name for kind in (*ALL, *ROUTES, *SCALERS)}


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
    for kind, item, change in ((JOB, job, {"active": 1}), (POD, pod, {"phase": "Running", "hostIP": "10.0.0.1"})):
        newer = {**item, "metadata": {**item["metadata"], "resourceVersion": "2"}, "status": change}
        assert cache.put(kind, newer) is None
    assert cache.snapshot(("n", "m")).jobs[0]["metadata"]["resourceVersion"] == "2", "for the next deletion"
