"""Measurements queue for a node by Kubernetes' own scheduler, across namespaces, and status says who is ahead."""

import uuid
from collections.abc import Iterator

import pytest

from dev.kube import Kube, condition, found, until
from onnxmodel_operator import names
from tests.integration.kubelet import Kubelet
from tests.integration.scheduler import ON_IT, scheduled, volume
from tests.integration.support import GOOD, SETTINGS, model

POOL = f"pools:\n  default: {{{ON_IT}}}\n"


@pytest.fixture
def node(control_plane: Kube) -> Iterator[None]:
    with scheduled(control_plane):
        yield


@pytest.fixture
def neighbour(control_plane: Kube) -> Iterator[Kube]:
    """A second namespace."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    control_plane.run("create", "namespace", name)
    until("the namespace's ServiceAccount", lambda: control_plane.within(name).get("serviceaccount", "default"))
    yield control_plane.within(name)
    control_plane.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def volumes(control_plane: Kube, kube: Kube, neighbour: Kube) -> Iterator[None]:
    """The scheduler places no pod whose claim has no volume. Claims of earlier tests must not take these."""
    made = {f"v-{uuid.uuid4().hex[:8]}": claim for claim in ((kube, "first"), (neighbour, "second"))}
    control_plane.apply(*(volume(name, *claim) for name, claim in made.items()))
    yield
    control_plane.delete("persistentvolume", *made, wait=False)


def placed(kube: Kube, stage: str) -> bool:
    pods = kube.list("pods", f"{names.LABEL_STAGE}={stage}")
    return any(pod["spec"].get("nodeName") and pod["status"]["phase"] == "Pending" for pod in pods)


def test_measurements_take_turns_on_a_node_and_keep_other_stages_away(kube, neighbour, node, volumes, start):
    start(settings=SETTINGS.partition("pools:")[0] + POOL)
    kube.apply(model(GOOD, "first"))
    first, second = Kubelet(kube), Kubelet(neighbour)
    for stage in ("validate", "optimize"):
        first.succeed("first", stage)
    until("the first measures", lambda: placed(kube, "benchmark"))
    neighbour.apply(model(GOOD, "second"))
    shown = until("it waits", found(neighbour, "second", reason="WaitingForMeasurement"))
    assert f"{kube.namespace}/first-benchmark-" in shown["status"]["message"]
    assert "on node quiet" in shown["status"]["message"]
    assert condition(shown, "Stalled") is None
    first.succeed("first", "benchmark")
    until("a stage runs when the measurement is over", lambda: placed(neighbour, "validate"))
    first.available("first")
    shown = until("it waits to measure", found(kube, "first", reason="WaitingForQuietNode"))
    assert f"{neighbour.namespace}/second-validate-" in shown["status"]["message"]
    assert "No action needed" in shown["status"]["lastFailure"]["hint"]
    neighbour.patch("onnxmodel", "second", {"spec": {"suspend": True}})  # no next stage that might come first
    until("it is suspended", found(neighbour, "second", reason="Suspended"))
    second.succeed("second", "validate")
    until("it measures when the node is quiet", lambda: placed(kube, "loadtest"))
    first.succeed("first", "loadtest")
    until("traffic", lambda: kube.get("service", "first"))
