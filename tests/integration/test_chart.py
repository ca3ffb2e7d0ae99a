"""The chart on a real API server: each object is of its kind, without a typo, and is accepted."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from dev.addons import gateway_api, prometheus_operator
from dev.chart import conform
from dev.chart.schema import CHART
from dev.cluster.golang import program
from dev.cluster.shell import CommandError
from dev.kube import until

EVERYTHING = CHART / "ci" / "everything-values.yaml"
VALUES = {"defaults": (), "everything": ("--values", str(EVERYTHING))}


def rendered(*words: str, namespace: str = "onnx-operator-system") -> str:
    command = [str(program("helm")), "template", "onnxmodel-operator", str(CHART), f"--namespace={namespace}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def cluster(control_plane):
    """With the kinds of the add-ons that the chart has objects of."""
    paths = [*prometheus_operator.crds(), *gateway_api.crds()]
    for path in paths:
        control_plane.run("apply", "--server-side", "-f", str(path))
    for kind in (*prometheus_operator.KINDS, *gateway_api.KINDS):
        until(f"{kind} are served", lambda kind=kind: control_plane.run("get", kind) is not None)
    yield control_plane
    for path in paths:
        control_plane.run("delete", "-f", str(path))


@pytest.fixture(scope="module")
def schemas(cluster, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("schemas")

    def described():
        openapi = json.loads(cluster.run("get", "--raw", "/openapi/v2"))
        return openapi if any("PrometheusRule" in name for name in openapi["definitions"]) else None

    conform.write_schemas(folder, until("the API server describes all kinds", described, seconds=60))
    return folder


@pytest.mark.parametrize("values", VALUES)
def test_every_object_is_of_its_kind_without_a_typo(schemas, values):
    manifests = rendered(*VALUES[values])
    objects = [one for one in yaml.safe_load_all(manifests) if one]
    counted = conform.summary(schemas, manifests)
    assert counted == {"valid": len(objects) - 1, "invalid": 0, "errors": 0, "skipped": 1}, "the CRD is skipped"


def test_a_typo_is_found(schemas):
    with pytest.raises(CommandError, match="podSelectors"):
        conform.summary(schemas, rendered(*VALUES["everything"]).replace("podSelector:", "podSelectors:"))


@pytest.mark.parametrize("values", VALUES)
def test_the_api_server_accepts_every_object(cluster, kube, values):
    manifests = rendered("--skip-tests", *VALUES[values], namespace=kube.namespace)
    told = kube.run("apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-", stdin=manifests)
    assert len(told.splitlines()) == len([one for one in yaml.safe_load_all(manifests) if one])


def test_helm_lint_is_content():
    for words in VALUES.values():
        subprocess.run([program("helm"), "lint", "--strict", CHART, *words], capture_output=True, check=True)
