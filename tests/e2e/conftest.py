"""Real pods on a real cluster: whatever CLUSTER chooses.

    platform     session   the cluster, the project's images, the chart, an S3 gateway with models in it
      recorded   session   every state of every OnnxModel, as a watch tells it
      kube       module    a fresh namespace under the restricted Pod Security Standard, with S3 credentials

Nothing is faked but the GPUs: they are extended resources of a node, which the scheduler counts like real ones.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev import magika
from dev.kube import Kube
from dev.platform import Platform
from tests import models
from tests.e2e.support import BAD, namespace

ODD = {"trees": models.trees(), "texts": models.lower_case()}  # and served: docs/what-is-served.md


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("e2e")
            item.add_marker(pytest.mark.timeout(2400))  # what a test waits for has limits of its own


@pytest.fixture(scope="session")
def platform() -> Platform:
    made = Platform(tests=True)
    made.install_operator()
    made.install_s3()
    objects = {f"bad/{name}.onnx": content for name, content in BAD.items()}
    objects |= {f"odd/{name}.onnx": made.SerializeToString() for name, made in ODD.items()}
    objects["magika/1/model.onnx"] = magika.model().read_bytes()
    objects["mlp/model.onnx"] = models.mlp().SerializeToString()
    objects["mlp/other.onnx"] = models.mlp(seed=8).SerializeToString()
    made.upload(objects)
    return made


class Recorder:
    """`kubectl get onnxmodels --watch`, into a file; again whenever the API server ends it, after 30 to 60 minutes."""

    def __init__(self, kube: Kube, path: Path) -> None:
        self.path = path
        watch = 'while :; do "$0" get onnxmodels --all-namespaces --watch -o json; sleep 0.2; done'
        with path.open("w") as out:
            self.process = subprocess.Popen(
                ["sh", "-c", watch, kube.kubectl],
                env=kube.environment(), stdout=out, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()

    def states(self, namespace: str = "", name: str = "") -> list[dict[str, Any]]:
        """What was seen so far, in order."""
        decoder, text, out = json.JSONDecoder(), self.path.read_text(), []
        position = 0
        while (start := text.find("{", position)) >= 0:
            try:
                state, position = decoder.raw_decode(text, start)
            except ValueError:
                break  # the last one is being written
            metadata = state["metadata"]
            if (not namespace or metadata["namespace"] == namespace) and (not name or metadata["name"] == name):
                out.append(state)
        return out


@pytest.fixture(scope="session", autouse=True)
def recorded(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    recorder = Recorder(platform.kube, tmp_path_factory.mktemp("recorded") / "onnxmodels.json")
    yield recorder
    recorder.stop()


@pytest.fixture(scope="module")
def kube(platform: Platform) -> Iterator[Kube]:
    with namespace(platform) as within:
        yield within
