"""A GPU that is short: Kubernetes' own scheduler says it, and status says it within seconds."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dev.kube import Kube, condition, found, until
from onnxmodel_operator import names
from onnxmodel_runtime.contract.outcome import Failure
from tests.integration.scheduler import ON_IT, resize, scheduled, vacate, volume
from tests.integration.support import GOOD, SETTINGS, model

SECONDS = 5
DEADLINE = 8
PROVIDERS = "executionProviders: [CUDA, CPU]"
PATIENT = 20
"""A deadline within which a busy machine starts whatever has room."""
POOLS = f"""pools:
  default: {{}}
  gpu: {{gpuResource: nvidia.com/gpu, {PROVIDERS}, {ON_IT}}}
  mig: {{gpuResource: nvidia.com/mig-1g.5gb, {PROVIDERS}, {ON_IT}}}
  claimed: {{resourceClaimTemplateName: one-gpu, {PROVIDERS}, {ON_IT}}}
"""
DEVICES = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "DeviceClass",
    "metadata": {"name": "gpu.example.com"},
    "spec": {},
}
TEMPLATE = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaimTemplate",
    "metadata": {"name": "one-gpu"},
    "spec": {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}}},
}


@pytest.fixture(scope="module")
def node(control_plane: Kube) -> Iterator[None]:
    with scheduled(control_plane):
        yield


@pytest.fixture
def asks(
    control_plane: Kube,
    kube: Kube,
    node: None,
    start: Callable[..., Any],
    kubelet: Any,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., None]]:
    """Apply a model that has come to the first stage that needs a GPU. Its parameter is the progress deadline."""
    deadline = f"progressDeadlineSeconds: {getattr(request, 'param', DEADLINE)}\n"
    vacate(control_plane)
    resize(control_plane)
    name = f"v-{uuid.uuid4().hex[:8]}"
    control_plane.apply(volume(name, kube, "magika"))
    start(settings=SETTINGS.partition("pools:")[0] + deadline + POOLS)

    def apply(pool: str, **serving: Any) -> None:
        kube.apply(model({**GOOD, "serving": {"nodePool": pool, **serving}}))
        kubelet.succeed("magika", "validate")

    yield apply
    control_plane.delete("persistentvolume", name, wait=False)


def unscheduled(kube: Kube, words: str) -> Callable[[], Any]:
    """For `until`: a pod of which the scheduler has said this."""

    def look() -> Any:
        told = [c for pod in kube.list("pods") for c in pod["status"].get("conditions", ())]
        return [c for c in told if c["type"] == "PodScheduled" and words in c.get("message", "")]

    return look


def test_a_gpu_that_is_short_is_said_within_seconds_and_stalls_after_the_deadline(control_plane, kube, asks, kubelet):
    asks("gpu", replicas=2)
    until("the scheduler says it", unscheduled(kube, "Insufficient nvidia.com/gpu"))
    began = time.monotonic()
    shown = until("the Job's pod", found(kube, "magika", true="Reconciling", reason="InsufficientGPU"), pause=0.1)
    seconds = time.monotonic() - began
    print(f"InsufficientGPU was seen {seconds:.1f} s after the scheduler said it")
    assert seconds < SECONDS
    assert "Insufficient nvidia.com/gpu" in shown["status"]["message"]
    assert "InsufficientGPU" in kube.run("get", "onnxmodel", "magika", "-o", "wide")
    shown = until("the deadline", found(kube, "magika", true="Stalled", reason="InsufficientGPU"))
    assert "Pool gpu has no node with 1 free nvidia.com/gpu." in shown["status"]["lastFailure"]["hint"]
    resize(control_plane, **{"nvidia.com/gpu": "1"})
    until("it goes on by itself", found(kube, "magika", true="Reconciling", reason="Optimizing"))
    for stage in ("optimize", "benchmark"):
        kubelet.succeed("magika", stage)
    shown = until("a server's pod", found(kube, "magika", true="Reconciling", reason="InsufficientGPU"))
    assert shown["status"]["lastFailure"]["stage"] == "serve"
    until("its deadline", found(kube, "magika", true="Stalled", reason="InsufficientGPU"))


def test_a_part_of_a_gpu_that_is_short_is_named(control_plane, kube, asks):
    asks("mig")
    shown = until("it is short", found(kube, "magika", true="Reconciling", reason="InsufficientGPU"))
    assert "Insufficient nvidia.com/mig-1g.5gb" in shown["status"]["message"]
    resize(control_plane, **{"nvidia.com/mig-1g.5gb": "1"})
    until("it goes on by itself", found(kube, "magika", true="Reconciling", reason="Optimizing"))


def test_a_claim_for_which_there_is_no_device(kube, asks):
    asks("claimed", gpus=2)
    shown = until("no template", found(kube, "magika", reason="ResourceClaimMissing"))
    assert "Create ResourceClaimTemplate one-gpu in namespace" in shown["status"]["lastFailure"]["hint"]
    print(shown["status"]["message"])
    kube.apply(DEVICES, TEMPLATE)
    shown = until("no device", found(kube, "magika", reason="InsufficientGPU"))
    print(shown["status"]["message"])
    (pod,) = kube.list("pods", f"{names.LABEL_STAGE}=optimize")
    claims = [{"name": f"gpu-{number}", "resourceClaimTemplateName": "one-gpu"} for number in range(2)]
    assert pod["spec"]["resourceClaims"] == claims
    for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
        assert container["resources"]["claims"] == [{"name": "gpu-0"}, {"name": "gpu-1"}]
    assert len(kube.list("resourceclaims")) == 2, "Kubernetes made one for each"
    shown = until("the deadline", found(kube, "magika", true="Stalled", reason="InsufficientGPU"))
    assert "ResourceClaimTemplate one-gpu" in shown["status"]["lastFailure"]["hint"]


def placed(kube: Kube, selector: str) -> Callable[[], Any]:
    """For `until`: the scheduler gave a node to a pod. Those that end are removed: no kubelet does that here."""

    def look() -> Any:
        pods = kube.list("pods", selector)
        if leaving := [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]:
            kube.run("delete", "pod", "--grace-period=0", "--force", *leaving)
        return [pod for pod in pods if pod["spec"].get("nodeName") and pod["metadata"]["name"] not in leaving]

    return look


@pytest.mark.parametrize("asks", [PATIENT], indirect=True)
def test_auto_gives_the_only_gpu_to_the_new_revision_and_back_if_it_fails(control_plane, kube, asks, kubelet):
    """With the scheduler's own words, and pods that hold the device until they are gone."""
    asks("gpu")
    resize(control_plane, **{"nvidia.com/gpu": "1"})
    for stage in ("optimize", "benchmark"):
        kubelet.succeed("magika", stage)
    until("a GPU for the server", placed(kube, names.LABEL_REVISION), seconds=90)
    kubelet.available("magika")
    for stage in ("loadtest", "probe"):
        kubelet.succeed("magika", stage)
    first = until("Ready", found(kube, "magika", true="Ready"), seconds=90)["status"]["active"]["revision"]

    def changed(level: str) -> None:
        kube.delete("jobs", "--all")  # all have succeeded: those that come are the new spec's
        kube.patch("onnxmodel", "magika", {"spec": {"optimization": {"graphLevel": level}}})
        shown = until("no room", found(kube, "magika", true="Available", reason="InsufficientGPU"), seconds=90)
        assert "rollout" not in shown["status"], "until the deadline it serves"
        shown = until("room", lambda: (m := kube.get("onnxmodel", "magika"))["status"].get("rollout") and m, seconds=90)
        assert shown["status"]["rollout"]["strategy"] == "Recreate"
        assert "Insufficient nvidia.com/gpu" in shown["status"]["rollout"]["why"]
        for stage in ("optimize", "benchmark"):
            until(f"a GPU for {stage}", placed(kube, names.LABEL_MODEL), seconds=90)
            until(f"{stage} has it", placed(kube, f"{names.LABEL_STAGE}={stage}"), seconds=90)
            kubelet.succeed("magika", stage)
        until("a GPU for the server", placed(kube, names.LABEL_REVISION), seconds=90)
        shown = until("nothing serves", found(kube, "magika", untrue="Available"), seconds=90)
        assert "has made room" in condition(shown, "Available")["message"]
        kubelet.available("magika")

    changed("Basic")
    for stage in ("loadtest", "probe"):
        kubelet.succeed("magika", stage)
    second = until("Ready", found(kube, "magika", true="Ready"), seconds=90)["status"]["active"]["revision"]
    assert second != first
    changed("Extended")
    kubelet.fail("magika", "loadtest", 10, Failure("AnswerDiffers", "another answer", "Look at it."))
    shown = until("refused", found(kube, "magika", true="Stalled", reason="AnswerDiffers"), seconds=90)
    assert [one["reason"] for one in shown["status"]["rollout"]["refused"]] == ["AnswerDiffers"]
    until("the refused one's pod is gone, and holds nothing", placed(kube, names.LABEL_REVISION), seconds=90)
    (pod,) = until("the GPU is back", placed(kube, f"{names.LABEL_REVISION}={second}"), seconds=90)
    assert [one["metadata"]["name"] for one in kube.list("pods", names.LABEL_REVISION)] == [pod["metadata"]["name"]]
    kubelet.available("magika")
    shown = until("it serves", found(kube, "magika", true="Available", reason="AnswerDiffers"), seconds=90)
    assert shown["status"]["serving"]["revision"] == second
