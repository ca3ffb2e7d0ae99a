"""The operator, as a process, against a real kube-apiserver, etcd and controller manager; no kubelet.

    control_plane   session   etcd + kube-apiserver + kube-controller-manager, the CRD
      kube          function  a fresh namespace in it
      operator      function  `python -m onnxmodel_operator` on it
      kubelet       function  plays the kubelet: Jobs succeed or fail, Deployments become available

What is faked is the kubelet alone: pods never run, their status is written by `kubelet`. The Job and Deployment
controllers, garbage collection, admission, CEL, server-side apply and watches are Kubernetes' own.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.kube import Kube, until
from tests.faults.proxy import Proxy
from tests.integration.kubelet import Kubelet
from tests.integration.support import SETTINGS, Operator, control_plane

__all__ = ["control_plane"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the control plane."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("integration")


@pytest.fixture
def kube(control_plane: Kube) -> Iterator[Kube]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    control_plane.run("create", "namespace", name)
    until("the namespace's ServiceAccount", lambda: control_plane.within(name).get("serviceaccount", "default"))
    yield control_plane.within(name)
    control_plane.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def proxy(control_plane: Kube, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before the API server, for faults."""
    with Proxy(control_plane.kubeconfig, tmp_path) as proxy:
        yield proxy


@pytest.fixture
def through(kube: Kube, proxy: Proxy) -> Kube:
    """The cluster as the operator sees it."""
    return Kube(kube.kubectl, proxy.kubeconfig, kube.namespace)


@pytest.fixture
def start(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Operator]]:
    """Start an operator. Those that a test did not end itself must end well when they are told to."""
    # Models of earlier tests are on their way out with their namespaces: this test's operator would look at them as well.
    anywhere = kube.within("")
    anywhere.run("delete", "onnxmodels", "--all-namespaces", f"--field-selector=metadata.namespace!={kube.namespace}")
    started: list[Operator] = []

    def make(*arguments: str, settings: str = SETTINGS, through: Kube | None = None) -> Operator:
        started.append(Operator(through or kube, tmp_path_factory.mktemp("operator"), *arguments, settings=settings))
        return started[-1]

    yield make
    codes = [operator.stop() for operator in started if operator.process.poll() is None]
    for operator in started:
        print(operator.text())
    assert set(codes) <= {0}, "an operator ended badly"


@pytest.fixture
def operator(start: Callable[..., Operator]) -> Operator:
    return start()


@pytest.fixture
def kubelet(kube: Kube) -> Kubelet:
    return Kubelet(kube)
