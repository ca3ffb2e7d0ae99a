"""What the operator asks of a real API server: how often in a life, and how it makes a child without taking one over."""

import asyncio
import urllib.request
from collections import Counter

import pytest

from dev.kube import found, until
from dev.ports import reserved
from onnxmodel_operator import names
from onnxmodel_operator.cluster.access import from_kubeconfig
from onnxmodel_operator.cluster.broadcaster import Broadcaster
from onnxmodel_operator.cluster.client import connect
from onnxmodel_operator.cluster.errors import StaleError
from onnxmodel_operator.events.values import About, normal
from tests.integration.support import GOOD, model


def test_a_life_reads_one_object_and_writes_each_child_once_and_a_restart_asks_nothing(
    kube, through, proxy, start, kubelet
):
    operator = start(through=through)
    kube.apply(model(GOOD))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    assert [path.rpartition("/namespaces/")[2] for _, path in proxy.reads] == [f"{kube.namespace}/services/magika"]
    written = Counter((verb, path.split("/")[-2]) for verb, path in proxy.written(kube.namespace))
    told, events = written.pop(("patch", "magika")), written.pop(("post", kube.namespace))
    assert written == {
        ("patch", "persistentvolumeclaims"): 1,
        ("patch", "jobs"): 5,
        ("patch", "controllerrevisions"): 1,
        ("patch", "deployments"): 1,
        ("patch", "services"): 2,
        ("delete", "services"): 1,
    }
    assert told <= 16, "of status; as many as the steps that a slow kubelet shows"
    assert events <= 12, "the start and the end of five stages, the traffic and Ready"
    operator.stop()
    before = list(proxy.writes), list(proxy.reads)
    with reserved(1) as (port,):
        start("--port", str(port), through=through)
        until("a reconcile", lambda: 'reconciles_total{outcome="ok"} 1.0' in answer(port, "metrics"))
    assert (proxy.writes, proxy.reads) == before


def answer(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as found:
            return found.read().decode()
    except OSError:
        return ""


CHILDREN = [
    ("v1", "Service", {"spec": {"ports": [{"port": 80}]}}),
    (
        "v1",
        "PersistentVolumeClaim",
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    ),
    ("apps/v1", "ControllerRevision", {"revision": 1, "data": {"a": 1}}),
    ("policy/v1", "PodDisruptionBudget", {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
    (
        "batch/v1",
        "Job",
        {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}},
    ),
    (
        "apps/v1",
        "Deployment",
        {
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            }
        },
    ),
]


@pytest.mark.parametrize(("version", "kind", "content"), CHILDREN, ids=[kind for _, kind, _ in CHILDREN])
async def test_a_child_is_created_only_where_nothing_has_its_name(kube, version, kind, content):
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": "c", "namespace": kube.namespace}, **content}
    async with connect(from_kubeconfig(kube.kubeconfig)) as client:
        made = await client.create(manifest)
        managers = [(entry["manager"], entry["operation"]) for entry in made["metadata"]["managedFields"]]
        assert managers == [(names.MANAGER, "Apply")], "so that a later apply removes what it does not name"
        with pytest.raises(StaleError):
            await client.create(manifest)
        now = await client.get(kind, kube.namespace, "c")
        assert now["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_status_is_never_written_into_a_new_model_of_the_name(kube):
    kube.apply(model({**GOOD, "suspend": True}))
    earlier = kube.get("onnxmodel", "magika")["metadata"]["resourceVersion"]
    kube.delete("onnxmodel", "magika")
    kube.apply(model({**GOOD, "suspend": True}))
    async with connect(from_kubeconfig(kube.kubeconfig)) as client:
        with pytest.raises(StaleError):
            await client.apply_status(kube.namespace, "magika", earlier, {"message": "of an earlier one"})
    assert "message" not in kube.get("onnxmodel", "magika")["status"]


NOW = "2026-01-01T00:00:00.000000Z"


async def test_the_same_words_again_count_in_one_event(kube):
    kube.apply(model({**GOOD, "suspend": True}))
    shown = kube.get("onnxmodel", "magika")["metadata"]
    about = About(kube.namespace, "magika", shown["uid"])
    async with connect(from_kubeconfig(kube.kubeconfig)) as client:
        broadcaster = Broadcaster(client)
        broadcaster.add(about, [normal("Ready", "Serving", "fp32 serves")] * 3)
        running = asyncio.create_task(broadcaster.run())
        try:
            told = await _described(kube)
        finally:
            running.cancel()
        assert not await client.count_event(kube.namespace, "no-such-event", {"count": 2, "lastObservedTime": NOW})
    (line,) = [line for line in told.splitlines() if "fp32 serves" in line]
    assert line.split()[:2] == ["Normal", "Ready"]
    assert "onnxmodel-operator" in line


async def _described(kube):
    """What kubectl describe shows once it has counted to three. The loop goes on meanwhile."""
    for _ in range(100):
        text = await asyncio.to_thread(kube.run, "describe", "onnxmodel", "magika")
        if "(x3 over" in text:
            return text
        await asyncio.sleep(0.1)
    raise AssertionError(text)
