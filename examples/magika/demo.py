"""`make demo`: from nothing to an answered inference, on whatever cluster CLUSTER chooses.

Starts the cluster, builds the images, installs the chart and an S3 gateway, uploads Google's magika, applies
onnxmodel.yaml, waits until it is Ready, and asks it what a handful of files are.
"""

import sys
import time
from pathlib import Path
from typing import Any

import yaml

from dev import magika
from dev.cluster.steps import step
from dev.kube import until
from dev.platform import Platform

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMESPACE = "demo"
KEY = "magika/1/model.onnx"
CLASSIFIED = [
    *sorted((HERE / "files").iterdir()),
    HERE / "classify.py",
    HERE / "onnxmodel.yaml",
    ROOT / "dev/cluster/programs/pause/main.go",
    ROOT / "runtime-image/Dockerfile",
    ROOT / "README.md",
]


def upload(path: str, key: str) -> None:
    """Put a file of yours into the demo's S3 store, and say what to write into a manifest in the demo's namespace."""
    platform = Platform()
    platform.install_s3()
    platform.upload({key: Path(path).read_bytes()})
    print(f"source: {{uri: s3://models/{key}, secretRef: {{name: s3-credentials}}}}    # in namespace {NAMESPACE}")


def main() -> None:
    """The demo."""
    start = time.monotonic()
    platform = Platform()
    platform.install_operator()
    platform.install_s3()
    kube = platform.namespace(NAMESPACE)
    platform.credentials(kube)
    with step(f"magika: uploading to s3://models/{KEY}"):
        platform.upload({KEY: magika.model().read_bytes()})
    with step("magika: validate, optimize, benchmark, deploy, loadtest, probe"):
        kube.apply(yaml.safe_load((HERE / "onnxmodel.yaml").read_text()))
        watched = Watcher()
        until("magika is Ready", lambda: watched.ready(kube.get("onnxmodel", "magika")), seconds=900, pause=0.5)
    print(f"\n$ kubectl -n {NAMESPACE} get onnxmodels\n{kube.run('get', 'onnxmodels')}")
    contents = {path.name: path.read_bytes() for path in CLASSIFIED}
    script = contents.pop("classify.py").decode()
    paths = ["/files/script.py", *(f"/files/{name}" for name in contents)]
    arguments = [f"magika.{NAMESPACE}.svc", "/files/config.min.json", *paths]
    with step(f"{len(CLASSIFIED)} files: classifying through the Service"):
        printed = platform.client(
            kube,
            "classify",
            script,
            {**contents, "config.min.json": magika.file("config.min.json").read_bytes()},
            *arguments,
        )
    print(f"\n{printed}\nmake demo: done in {time.monotonic() - start:.0f} s. Look around:")
    print(f"  export KUBECONFIG={platform.kube.kubeconfig} PATH=$(python3 -m dev.cluster tools --path):$PATH")
    print(f"  kubectl -n {NAMESPACE} get onnxmodel magika -o yaml")
    print(f"  kubectl -n {NAMESPACE} apply -f examples/minimal/onnxmodel.yaml    # your own model: see README.md")
    print("  make down    # stops the cluster, and leaves nothing behind")


class Watcher:
    """Prints each turn of a model's life once."""

    def __init__(self) -> None:
        self.last = ""

    def ready(self, model: dict[str, Any]) -> bool:
        """Whether it is Ready. A model that will not get there ends the wait."""
        status = model.get("status", {})
        line = f"  {status.get('phase', 'Pending')}: {status.get('message', '')}"
        if line != self.last:
            print(line, flush=True)
            self.last = line
        if status.get("phase") == "Failed":
            raise SystemExit(f"magika failed: {status.get('lastFailure')}")
        return bool(status.get("phase") == "Ready")


if __name__ == "__main__":
    upload(*sys.argv[1:]) if sys.argv[1:] else main()
