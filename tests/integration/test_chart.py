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
from dev.kube import Kube, until
from tests.integration.support import GOOD, model

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


def test_an_operator_of_some_namespaces_has_rights_in_them_alone(cluster, kube, start, tmp_path):
    """By the chart's own account and Roles: what it asks for elsewhere, the API server would refuse."""
    another = f"{kube.namespace}-b"
    kube.run("create", "namespace", another)
    try:
        chosen = (f"--set=watchNamespaces={{{kube.namespace},{another}-c}}", "--set=rbac.aggregate=false")
        kube.run("create", "namespace", f"{another}-c")
        roles = rendered(*chosen, "--show-only=templates/rbac.yaml", namespace=kube.namespace)
        assert "ClusterRole" not in roles
        kube.within("").run("apply", "-f", "-", stdin=roles)
        kube.run("apply", "-f", "-", stdin=rendered("--show-only=templates/serviceaccount.yaml"))
        operator = start(
            f"--namespaces={kube.namespace},{another}-c", through=as_account(kube, "onnxmodel-operator", tmp_path)
        )
        for where in (another, kube.namespace, f"{another}-c"):
            kube.within(where).apply(model(GOOD))
        for where in (kube.namespace, f"{another}-c"):
            until("a Job", lambda where=where: kube.within(where).list("jobs"), seconds=60)
            until("a status", lambda where=where: kube.within(where).get("onnxmodel", "magika")["status"].get("phase"))
        assert kube.within(another).get("onnxmodel", "magika")["status"] == {"observedGeneration": -1}
        assert not kube.within(another).list("jobs")
        assert "forbidden" not in operator.text()
    finally:
        kube.run("delete", "namespace", another, f"{another}-c", "--wait=false")


def as_account(kube, account: str, folder: Path) -> Kube:
    """The cluster as a ServiceAccount of the namespace sees it."""
    config = json.loads(kube.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kube.run("create", "token", account).strip()}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return Kube(kube.kubectl, path, kube.namespace)


def test_helm_lint_is_content():
    for words in VALUES.values():
        subprocess.run([program("helm"), "lint", "--strict", CHART, *words], capture_output=True, check=True)
