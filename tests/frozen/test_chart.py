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


def helm(values: object, namespace: str = "onnxmodel-system") -> subprocess.CompletedProcess[str]:
    command = [
        str(golang.program("helm")),
        "template",
        "onnxmodel-operator",
        str(ROOT / "charts" / "onnxmodel-operator"),
    ]
    command += [f"--namespace={namespace}", "--values=-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)


def rendered(values: object, namespace: str = "onnxmodel-system") -> str:
    done = helm(values, namespace)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_chart_renders_as_recorded():
    text.compare("chart/without-the-crd.yaml", rendered(BARE))


@pytest.mark.parametrize("name", CHANGES)
def test_other_values_change_what_they_changed_when_it_was_recorded(name):
    before, after = CHANGES[name]
    lines = rendered(before).splitlines(), rendered(after, "another").splitlines()
    text.compare(f"chart/{name}.diff", "\n".join(difflib.unified_diff(*lines, n=0, lineterm="")) + "\n")


_BUCKET, _REGISTRY = "settings.artifacts.s3", "settings.artifacts.oci"


@pytest.mark.parametrize(
    ("store", "given", "said"),
    [
        ("s3", "artifacts", f"{_BUCKET} must be a mapping"),
        ("s3", {**KEYLESS, "webIdentity": "arn:a"}, f"{_BUCKET}.webIdentity must be a mapping with roleArn"),
        (
            "s3",
            {**KEYLESS, "webIdentity": {"audience": "a"}},
            f"{_BUCKET}.webIdentity.roleArn is required, as a string",
        ),
        ("s3", {**KEYLESS, "webIdentity": {"roleArn": 7}}, f"{_BUCKET}.webIdentity.roleArn is required, as a string"),
        (
            "s3",
            {**KEYLESS, "webIdentity": {**ROLE, "caConfigMapRef": "store-ca"}},
            f"{_BUCKET}.webIdentity.caConfigMapRef must be a mapping with name",
        ),
        ("s3", {**BUCKET, "secretRef": "artifact-store"}, f"{_BUCKET}.secretRef must be a mapping with name"),
        ("s3", {"bucket": "artifacts"}, f"sweep.enabled needs {_BUCKET}.bucket, and {_BUCKET}.secretRef.name or"),
        ("oci", {**REGISTRY, "secretRef": {"nam": "a"}}, f"{_REGISTRY}.secretRef.name is required, as a string"),
        ("oci", ["registry"], f"{_REGISTRY} must be a mapping"),
    ],
)
def test_the_sweep_of_a_store_that_is_written_wrongly_is_refused_in_a_sentence(store, given, said):
    done = helm({**BARE, "sweep": {"enabled": True}, "settings": {"artifacts": {"store": store, store: given}}})
    assert done.returncode
    assert f"): {said}" in done.stderr, done.stderr


@pytest.mark.parametrize("grace", ["1e", "1.2.3", "e", ".", "1d", -1, ""])
def test_a_time_of_grace_that_would_be_read_as_0_is_refused(grace):
    done = helm({**SWEEP, "sweep": {"enabled": True, "graceSeconds": grace}})
    assert done.returncode
    assert "sweep.graceSeconds must be a number of seconds, such as 86400" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("grace", "seconds"), [(0, "0"), (1.5, "1.5"), (5_000_000, "5000000"), ("86400", "86400"), ("1e+3", "1000")]
)
def test_a_time_of_grace_is_a_number(grace, seconds):
    told = rendered({**SWEEP, "sweep": {"enabled": True, "graceSeconds": grace}})
    assert f'\\"seconds\\":{seconds}}}' in told


def test_the_crd_is_as_recorded():
    """By its digest: the committed file itself shows what changed."""
    crd = (ROOT / "crds" / "onnxmodels.yaml").read_bytes()
    text.compare("crd.txt", f"crds/onnxmodels.yaml {hashlib.sha256(crd).hexdigest()}\n")
