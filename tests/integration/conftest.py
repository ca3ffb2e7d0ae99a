"""The operator, as a process, against a real kube-apiserver, etcd and controller manager; no kubelet.

    control_plane   session   etcd + kube-apiserver + kube-controller-manager, the CRD
      kube          function  a fresh namespace in it
      operator      function  `python -m onnxmodel_operator` on it
      kubelet       function  plays the kubelet: Jobs succeed or fail, Deployments become available

What is faked is the kubelet alone: pods never run, their status is written by `kubelet`. The Job and Deployment
controllers, garbage collection, admission, CEL, server-side apply and watches are Kubernetes' own.
"""

import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.kube import Kube, until
from tests.faults.proxy import Proxy
from tests.integration.kubelet import Kubelet

ROOT = Path(__file__).parents[2]
SETTINGS = """
images: {runtimeCpu: "runtime:cpu", runtimeGpu: "runtime:gpu"}
jobs: {backoffLimit: 3}
pools:
  default: {}
  gpu: {gpuResource: nvidia.com/gpu, executionProviders: [TensorRT, CUDA, CPU]}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the control plane."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("integration")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Kube]:
    from dev.cluster import standalone
    from dev.cluster.golang import program

    try:
        kube = Kube(program("kubectl"), standalone.up())
        kube.run("apply", "--server-side", "-f", str(ROOT / "crds" / "onnxmodels.yaml"))
        until("the CRD is served", lambda: kube.run("get", "onnxmodels") is not None)
        yield kube
    finally:
        standalone.down()


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


MORTAL = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: what it starts ends with the test run, however that ends."""


class Operator:
    """The operator as a process, with its log in a folder."""

    def __init__(
        self, kube: Kube, folder: Path, *arguments: str, settings: str, module: str = "onnxmodel_operator"
    ) -> None:
        self.log = folder / "operator.log"
        path = folder / "settings.yaml"
        path.write_text(settings)
        command = [*MORTAL, sys.executable, "-m", module, "--settings", str(path), "--port", "0", *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=kube.environment(), stdout=log, stderr=log)

    def text(self) -> str:
        """What it logged."""
        return self.log.read_text()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code. One that a test has stopped goes on to end."""
        self.process.terminate()
        self.process.send_signal(signal.SIGCONT)
        return self.process.wait(timeout=30)


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
