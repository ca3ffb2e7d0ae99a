"""`onnxmodel run` on a person's machine says what the cluster says: verdict, findings, and the same bytes."""

import re
import subprocess
import sys

import pytest
import yaml

from dev.kube import until
from tests import models
from tests.e2e.support import BAD, MLP, model

GOOD = models.mlp().SerializeToString()
CASES = [(model("mlp", MLP), GOOD)] + [
    (model(name, f"s3://models/bad/{name}.onnx"), BAD[name]) for name in ("fixed-batch", "old-opset")
]


@pytest.fixture(scope="module")
def applied(kube):
    kube.apply(*(manifest for manifest, _ in CASES))
    return kube


@pytest.mark.parametrize(("manifest", "content"), CASES, ids=[case[0]["metadata"]["name"] for case in CASES])
def test_the_verdict_the_findings_and_the_digests_are_the_clusters(applied, tmp_path, manifest, content):
    kube, name = applied, manifest["metadata"]["name"]
    here = verdict(locally(manifest, content, tmp_path))
    # Stalled comes with the pod's death, and the stage's own condition when the Job has counted it.
    until(f"{name} has the same verdict", lambda: verdict(kube.get("onnxmodel", name)["status"]) == here, seconds=180)


def locally(manifest, content, folder):
    (folder / "model.onnx").write_bytes(content)
    (folder / "onnxmodel.yaml").write_text(yaml.safe_dump(manifest))
    words = ["run", folder / "onnxmodel.yaml", "--model", folder / "model.onnx", "--out", folder / "out"]
    command = [sys.executable, "-m", "onnxmodel_cli", *map(str, words)]
    subprocess.run(command, capture_output=True, check=False, timeout=180)
    return yaml.safe_load((folder / "out" / "status.yaml").read_text())


def without_names(failure):
    """The hint without the names of the Job and of its namespace, which its commands have."""
    hint = failure.get("hint", "").replace(failure.get("job", "NONE"), "JOB")
    return re.sub(r"kubectl -n \S+", "kubectl", hint)


def verdict(status):
    """What does not depend on where it was found: neither times nor places."""
    failure = status.get("lastFailure", {})
    return {
        "phase": status.get("phase"),
        "conditions": {item["type"]: item["status"] for item in status.get("conditions", [])},
        "model": {key: value for key, value in status.get("model", {}).items() if key != "uri"},
        "findings": status.get("findings", []),
        "variants": [(item["name"], item.get("sha256"), item.get("parity")) for item in status.get("variants", [])],
        "failure": [failure.get(key) for key in ("stage", "reason", "message", "field")],
        "hint": without_names(failure),
        "stages": [item["name"] for item in status.get("stages", [])],
    }
