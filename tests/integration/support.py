"""What the tests on a real API server share."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dev.kube import Kube, until

ROOT = Path(__file__).parents[2]
SETTINGS = """
images: {runtimeCpu: "runtime:cpu", runtimeGpu: "runtime:gpu"}
jobs: {backoffLimit: 3}
pools:
  default: {}
  gpu: {gpuResource: nvidia.com/gpu, executionProviders: [TensorRT, CUDA, CPU]}
"""
GOOD = {"source": {"uri": "s3://models/magika/1/model.onnx"}}


def model(spec: Mapping[str, Any], name: str = "magika") -> dict[str, Any]:
    """An OnnxModel of this spec."""
    return {"apiVersion": "onnx-operator.dev/v1alpha1", "kind": "OnnxModel", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Kube]:
    """An API server with the CRD, for the whole run."""
    from dev.cluster import standalone
    from dev.cluster.golang import program

    try:
        kube = Kube(program("kubectl"), standalone.up())
        kube.run("apply", "--server-side", "-f", str(ROOT / "crds" / "onnxmodels.yaml"))
        until("the CRD is served", lambda: kube.run("get", "onnxmodels") is not None)
        yield kube
    finally:
        standalone.down()


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
