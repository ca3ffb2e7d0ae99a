"""What the chart renders, and the CRD, are as they were recorded."""

import difflib
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from dev.chart import dashboards
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
    "metrics": {
        "serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"g": "h"}},
        "podMonitor": {"enabled": True, "interval": "15s", "labels": {"g": "h"}},
        "prometheusRule": {"enabled": True, "labels": {"g": "h"}, "runbookUrl": "https://runbooks.example.com/"},
    },
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
ISOLATED = {**BARE, "networkPolicy": {"enabled": True}}
ISOLATED_MORE = {
    **BARE,
    "settings": {"liveTraffic": {"read": False}, "prometheus": {"address": "https://prometheus.example.com:9090/a"}},
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "apiServer": {"ports": [6443], "cidrs": ["10.0.0.1/32"]},
    },
}
PAGE = {**BARE, "page": {"enabled": True}}
PAGE_OWN = {
    **ISOLATED_MORE,
    "page": {"enabled": True, "auth": "ServiceAccount", "hosts": ["models.example.com"], "from": [{"podSelector": {}}]},
}
SOME = {**BARE, "watchNamespaces": ["team-a", "team-b"]}
CHANGES = {
    "some-namespaces": (BARE, SOME),
    "page": (BARE, PAGE),
    "page-with-an-account": (ISOLATED_MORE, PAGE_OWN),
    "isolated": (BARE, ISOLATED),
    "isolated-more": (ISOLATED, ISOLATED_MORE),
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


ARTIFACTS = "settings/artifacts"


def stored(store, given):
    return {"settings": {"artifacts": {"store": store, store: given}}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"settings": {"jobs": {"backofLimit": 3}}}, "settings/jobs': additional properties 'backofLimit' not allowed"),
        ({"setting": {}}, "': additional properties 'setting' not allowed"),
        ({"replicas": 0}, "replicas': minimum: got 0, want 1"),
        ({"image": {"tag": 1.0}}, "image/tag': got number, want string"),
        ({"settings": {"upgrades": {"window": {"start": 2}}}}, "settings/upgrades/window/start': got number, want string"),
        ({"settings": {"autoscaling": {"backend": "KEDA"}}}, "settings': missing property 'prometheus'"),
        ({"settings": {"artifacts": {"store": "s3"}}}, f"{ARTIFACTS}': missing property 's3'"),
        ({"settings": {"artifacts": {"s3": BUCKET}}}, f"{ARTIFACTS}/s3': got object, want null"),
        (stored("s3", "artifacts"), f"{ARTIFACTS}/s3': got string, want object"),
        (stored("s3", {**KEYLESS, "webIdentity": "arn:a"}), f"{ARTIFACTS}/s3/webIdentity': got string, want object"),
        (stored("s3", {**KEYLESS, "webIdentity": {"audience": "a"}}), "webIdentity': missing property 'roleArn'"),
        (stored("s3", {**KEYLESS, "webIdentity": {"roleArn": 7}}), "webIdentity/roleArn': got number, want string"),
        (stored("s3", {**KEYLESS, "webIdentity": {**ROLE, "caConfigMapRef": "a"}}), "caConfigMapRef': got string, want"),
        (stored("s3", {**BUCKET, "secretRef": "artifact-store"}), f"{ARTIFACTS}/s3/secretRef': got string, want object"),
        (stored("s3", {"bucket": "artifacts"}), f"{ARTIFACTS}/s3': missing property 'secretRef'"),
        (stored("s3", {**BUCKET, **KEYLESS}), f"{ARTIFACTS}/s3': 'oneOf' failed, subschemas 0, 1 matched"),
        (stored("oci", {**REGISTRY, "secretRef": {"nam": "a"}}), f"{ARTIFACTS}/oci/secretRef': missing property 'name'"),
        (stored("oci", ["registry"]), f"{ARTIFACTS}/oci': got array, want object"),
        ({"settings": {"pools": {"a": {"executionProviders": ["CUDA"]}}}}, "pools/a': missing property 'gpuResource'"),
        (
            {**EVERYTHING, "runtimeImages": {"gpu": ""}},
            "settings/pools/gpu/executionProviders/0': value must be one of 'CPU', 'OpenVINO'",
        ),
        ({"sweep": {"enabled": True}}, f"{ARTIFACTS}': missing property 'store'"),
        ({**SWEEP, "watchNamespaces": ["team-a"]}, "sweep/enabled': value must be false"),
        ({"watchNamespaces": ["Team_A"]}, "watchNamespaces/0': 'Team_A' does not match pattern"),
        ({"sweep": {"enabled": True}, "settings": {"artifacts": {"store": "volume"}}}, "store': value must be one of 's3'"),
        *(({"sweep": {"graceSeconds": grace}}, "sweep/graceSeconds': ") for grace in ("1e", "1d", "86400", -1, "")),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_path(values, said):
    done = helm({**BARE, **values})
    assert done.returncode
    assert said in done.stderr, done.stderr


@pytest.mark.parametrize(("grace", "seconds"), [(0, "0"), (1.5, "1.5"), (5_000_000, "5000000")])
def test_a_time_of_grace_is_a_number(grace, seconds):
    told = rendered({**SWEEP, "sweep": {"enabled": True, "graceSeconds": grace}})
    assert f'\\"seconds\\":{seconds}}}' in told


@pytest.mark.parametrize(
    "values", [{"settings": {"routes": None}}, {"settings": {"artifacts": None}}, {"global": {"a": 1}}]
)
def test_what_an_overlay_takes_back_and_a_parent_chart_adds_is_accepted(values):
    rendered({**BARE, **values})


def test_the_dashboards_arrive_whole():
    told = yaml.safe_load_all(
        rendered({**BARE, "metrics": {"dashboards": {"enabled": True, "annotations": {"a": "b"}}}})
    )
    found = [one for one in told if "grafana_dashboard" in one["metadata"]["labels"]]
    shown = {name: json.loads(text) for one in found for name, text in one["data"].items()}
    assert shown == {name: json.loads(text) for name, text in dashboards.files().items()}
    assert [one["metadata"]["annotations"] for one in found] == [{"a": "b"}] * len(shown)


def test_the_crd_is_as_recorded():
    """By its digest: the committed file itself shows what changed."""
    crd = (ROOT / "crds" / "onnxmodels.yaml").read_bytes()
    text.compare("crd.txt", f"crds/onnxmodels.yaml {hashlib.sha256(crd).hexdigest()}\n")
