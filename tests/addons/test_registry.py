"""Artifacts in a real registry, with a replica on each node: mounted as image volumes, pulled, and swept."""

import json
import time

import pytest

from dev.addons import registry
from dev.cluster import embedded
from dev.cluster.node import NODES, forget
from dev.kube import condition, found, is_true, until
from dev.platform import SYSTEM
from onnxmodel_operator import names
from tests.e2e.changes import ANYWHERE, SPREAD, SWEEP, sweep
from tests.e2e.support import model, namespace

OCI = {"repository": f"{registry.HOST}/artifacts", "secretRef": {"name": "artifact-registry"}, "insecure": True}
LIST = "import os; print(*sorted(os.path.join(at, name) for at, _, files in os.walk('/artifacts') for name in files))"


def installed(platform, *more, **oci):
    platform.install_operator(
        *(ANYWHERE, *more), 'settings.artifacts.store="oci"', f"settings.artifacts.oci={json.dumps({**OCI, **oci})}"
    )


@pytest.fixture(scope="module")
def away(platform):
    with registry.running() as running:
        yield running


@pytest.fixture(scope="module")
def kube(platform, away):
    """A namespace with a model whose servers mount images, on both nodes."""
    with namespace(platform) as within:
        registry.credentials(within, "artifact-registry")
        installed(platform, imageVolumes=True)
        serving = {"nodePool": "anywhere", "replicas": 2, "pod": {"topologySpreadConstraints": [SPREAD]}}
        within.apply(model("wide", "s3://models/magika/1/model.onnx", serving=serving))
        within.run("wait", "--for=condition=Ready", "onnxmodel/wide", "--timeout=400s", timeout=420)
        yield within
    platform.install_operator()


def servers(kube):
    """The pods of the revision that serves."""
    revision = kube.get("onnxmodel", "wide")["status"]["active"]["revision"]
    pods = kube.list("pods", f"{names.LABEL_MODEL}=wide,{names.LABEL_REVISION}={revision}")
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def ready(kube, count):
    def seen():
        pods = servers(kube)
        return len(pods) == count and all(is_true(pod, "Ready") for pod in pods) and pods

    return until(f"{count} servers are ready", seen, seconds=240)


def test_servers_on_both_nodes_mount_exactly_what_they_serve(kube):
    pods = ready(kube, 2)
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    active = kube.get("onnxmodel", "wide")["status"]["active"]
    for pod in pods:
        assert "initContainers" not in pod["spec"]
        images = [volume["image"]["reference"] for volume in pod["spec"]["volumes"] if "image" in volume]
        assert images
        assert all("@sha256:" in image for image in images)
        files = kube.run("exec", pod["metadata"]["name"], "--", "python3", "-c", LIST).split()
        assert sorted(path.rpartition("/")[2] for path in files) == ["model.onnx", "probe.npz"], (active, files)
        assert not [each for container in pod["spec"]["containers"] for each in container.get("envFrom", ())]


def test_triton_mounts_the_same_image(kube):
    serving = {"nodePool": "anywhere", "runtime": "triton"}
    kube.apply(model("triton", "s3://models/magika/1/model.onnx", serving=serving))
    kube.run("wait", "--for=condition=Ready", "onnxmodel/triton", "--timeout=400s", timeout=420)
    revision = kube.get("onnxmodel", "triton")["status"]["active"]["revision"]
    (pod,) = kube.list("pods", f"{names.LABEL_MODEL}=triton,{names.LABEL_REVISION}={revision}")
    assert [volume["image"]["reference"] for volume in pod["spec"]["volumes"] if "image" in volume]
    assert "pull" not in {container["name"] for container in pod["spec"]["initContainers"]}
    kube.run("delete", "onnxmodel", "triton", "--timeout=60s")


def lose_image(kube):
    """A node loses the image, and a server that starts there needs it."""
    kept, lost = NODES[0], NODES[1]
    (pod,) = [pod for pod in servers(kube) if pod["spec"]["nodeName"] == lost.name][:1]
    forget(lost, embedded.plane(), registry.HOST)
    kube.run("cordon", kept.name)
    try:
        kube.run("delete", "pod", pod["metadata"]["name"], "--wait=false")
        return until("status says which image is missing", lambda: failing(kube, "ImagePullFailed"), seconds=120)
    finally:
        kube.run("uncordon", kept.name)


def failing(kube, reason):
    """The model, if this is its last failure."""
    shown = kube.get("onnxmodel", "wide")
    return shown if shown["status"].get("lastFailure", {}).get("reason") == reason else None


def test_while_the_registry_is_away_a_node_that_has_the_image_starts_another_server(kube, away):
    """What a new revision needs waits, and status says so; what serves goes on."""
    away.stop()
    try:
        began = time.monotonic()
        kube.run("scale", "onnxmodel/wide", "--replicas=3")
        ready(kube, 3)
        print(f"{time.monotonic() - began:.1f} s: a third server without the registry")
        waits = lose_image(kube)
        assert f"image {registry.HOST}/artifacts" in waits["status"]["lastFailure"]["message"]
        assert is_true(waits, "Available")
        kube.patch("onnxmodel", "wide", {"spec": {"optimization": {"graphLevel": "Extended"}}})
        waits = until("status says what waits", lambda: failing(kube, "StoreUnavailable"), seconds=180)
        assert is_true(waits, "Available")
        assert is_true(waits, "Reconciling")
        assert registry.HOST in waits["status"]["lastFailure"]["message"]
        assert len([pod for pod in servers(kube) if is_true(pod, "Ready")]) == 2
    finally:
        away.start()
    again = until("Ready again", found(kube, "wide", true="Ready"), seconds=400)
    assert condition(again, "Stalled") is None


def test_without_image_volumes_servers_pull_the_same(kube, platform):
    before = kube.get("onnxmodel", "wide")["status"]["active"]
    installed(platform)

    def pulls():
        pods = servers(kube)
        return (
            len(pods) == 3 and all(pod["spec"].get("initContainers") and is_true(pod, "Ready") for pod in pods) and pods
        )

    for pod in until("all servers pull", pulls, seconds=240):
        assert [container["name"] for container in pod["spec"]["initContainers"]] == ["pull"]
    assert kube.get("onnxmodel", "wide")["status"]["active"]["revision"] == before["revision"]


def test_the_sweep_in_its_pod_removes_what_a_deleted_model_left(kube, platform, away):
    """The first one without the model leaves a mark, since a registry does not say when something was written."""
    uid = kube.get("onnxmodel", "wide")["metadata"]["uid"]
    path, system = f"artifacts/{kube.namespace}/wide", platform.kube.within(SYSTEM)
    registry.credentials(system, "artifact-registry")
    installed(platform, SWEEP)
    before = away.tags(path)
    assert len([tag for tag in before if tag.startswith(uid)]) > 5
    sweep(system, "sweep-with-the-model")
    assert away.tags(path) == before
    kube.run("delete", "onnxmodel", "wide", "--timeout=60s")
    sweep(system, "sweep-sees-no-model")
    assert away.tags(path) == sorted([*before, f"{uid}-gone"])
    sweep(system, "sweep-without-the-model")
    assert away.tags(path) == []
