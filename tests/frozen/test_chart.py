"""What the chart renders, and the CRD, are as they were recorded."""

import difflib
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from dev.cluster import golang
from tests.frozen import text

ROOT = Path(__file__).parents[2]

BARE = {"crds": {"enabled": False}}
NOTHING = {**BARE, "rbac": {"aggregate": False}, "runtimeImages": {"triton": "", "gpu": ""}}
EVERYTHING = {
    "image": {"digest": "sha256:" + "a" * 64, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "runtimeImages": {"cpu": "r/cpu:1", "gpu": "r/gpu:1", "triton": "r/triton:1", "pullSecrets": ["registry"]},
    "replicas": 2,
    "settings": {
        "pools": {
            "gpu": {
                "nodeSelector": {"gpu": "a100"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                "gpuResource": "nvidia.com/gpu",
                "executionProviders": ["TensorRT", "CUDA", "CPU"],
            }
        },
        "artifacts": {"storageClassName": "shared", "accessMode": "ReadWriteMany"},
        "jobs": {"backoffLimit": 3},
        "policy": {
            "sources": {"schemes": ["s3"], "hosts": ["*.example.com"], "networks": ["10.0.0.0/8"]},
            "require": [{"namespaces": ["prod-*"], "pin": True, "signature": True}],
            "operatorDomains": ["com.example"],
        },
    },
    **BARE,
    "serviceAccount": {"name": "mine", "annotations": {"a": "b"}},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "high",
    "podAnnotations": {"c": "d"},
    "podLabels": {"e": "f"},
    "metrics": {"serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"g": "h"}}},
}
SCALED = {**BARE, "settings": {"autoscaling": {"backend": "HPA"}}}
BUCKET = {"bucket": "artifacts", "endpoint": "http://s3:7070", "secretRef": {"name": "artifact-store"}}
SWEEP = {**BARE, "settings": {"artifacts": {"store": "s3", "s3": BUCKET}}, "sweep": {"enabled": True}}
ROLE = {
    "roleArn": "arn:aws:iam::111122223333:role/$namespace",
    "audience": "s3",
    "caConfigMapRef": {"name": "store-ca"},
}
KEYLESS = {"bucket": "artifacts", "endpoint": "http://s3:7070", "webIdentity": ROLE}
SWEEP_KEYLESS = {**SWEEP, "settings": {"artifacts": {"store": "s3", "s3": KEYLESS}}}
REGISTRY = {"repository": "registry.example.com/artifacts", "secretRef": {"name": "artifact-registry"}}
SWEEP_REGISTRY = {**BARE, "settings": {"artifacts": {"store": "oci", "oci": REGISTRY}}, "sweep": {"enabled": True}}
GATEWAY = {"name": "models", "namespace": "infra"}
ROUTES = {**BARE, "settings": {"routes": {"parentRefs": [GATEWAY], "domain": "models.example.com"}}}
CHANGES = {
    "sweep": (BARE, SWEEP),
    "sweep-without-keys": (SWEEP, SWEEP_KEYLESS),
    "sweep-registry": (SWEEP, SWEEP_REGISTRY),
    "scaled": (BARE, SCALED),
    "with-the-crd": (BARE, {}),
    "crd-not-kept": ({}, {"crds": {"keep": False}}),
    "routes": (BARE, ROUTES),
    "nothing-optional": (BARE, NOTHING),
    "everything": (BARE, EVERYTHING),
}
"""Values, and those that they are compared with: the CRD is long, and is recorded once."""


def rendered(values: object, namespace: str = "onnxmodel-system") -> str:
    command = [
        str(golang.program("helm")),
        "template",
        "onnxmodel-operator",
        str(ROOT / "charts" / "onnxmodel-operator"),
    ]
    command += [f"--namespace={namespace}", "--values=-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True).stdout


def test_the_chart_renders_as_recorded():
    text.compare("chart/without-the-crd.yaml", rendered(BARE))


@pytest.mark.parametrize("name", CHANGES)
def test_other_values_change_what_they_changed_when_it_was_recorded(name):
    before, after = CHANGES[name]
    lines = rendered(before).splitlines(), rendered(after, "another").splitlines()
    text.compare(f"chart/{name}.diff", "\n".join(difflib.unified_diff(*lines, n=0, lineterm="")) + "\n")


def test_the_crd_is_as_recorded():
    """By its digest: the committed file itself shows what changed."""
    crd = (ROOT / "crds" / "onnxmodels.yaml").read_bytes()
    text.compare("crd.txt", f"crds/onnxmodels.yaml {hashlib.sha256(crd).hexdigest()}\n")
