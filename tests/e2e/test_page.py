"""The page of all models as a pod, as the chart makes it, under the restricted Pod Security Standard."""

import json
import subprocess

import pytest

from dev.cluster.golang import program
from dev.kube import KubectlError, until
from dev.platform import ROOT
from tests.e2e.support import model

CHART = ROOT / "charts" / "onnxmodel-operator"


@pytest.fixture
def deployed(kube, platform):
    """Deploy the page with a setting of page.auth. Returns the path of its Service by the API server's proxy."""
    image, tag = platform.images["operator"].rsplit(":", 1)
    applied = []

    def deploy(auth):
        release = f"page-{auth.lower()}"
        values = {"image": {"repository": image, "tag": tag}, "page": {"enabled": True, "auth": auth}}
        command = [program("helm"), "template", release, CHART, "--namespace", kube.namespace, "--values=-"]
        command += ["--show-only=templates/page.yaml"]
        made = subprocess.run(
            [*map(str, command)], input=json.dumps(values), capture_output=True, text=True, check=True
        ).stdout
        applied.append(made)
        kube.run("apply", "-f", "-", stdin=made)
        name = f"{release}-onnxmodel-operator-page"
        kube.run("rollout", "status", f"deployment/{name}", "--timeout=120s", timeout=150)
        return f"/api/v1/namespaces/{kube.namespace}/services/http:{name}:http/proxy"

    yield deploy
    for made in applied:
        kube.run("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=made)


def test_the_page_with_an_account_shows_models_in_a_pod(kube, deployed):
    kube.apply(model("seen", suspend=True))
    path = deployed("ServiceAccount")

    def rows():
        return [row["name"] for row in json.loads(kube.run("get", "--raw", f"{path}/api/models"))["rows"]]

    until("the model is in the list", lambda: "seen" in rows())
    told = json.loads(kube.run("get", "--raw", f"{path}/api/models/{kube.namespace}/seen"))
    assert told["model"]["row"]["health"] == "Suspended"
    assert told["events_problem"] == ""
    assert '<script type="module" src="main.js">' in kube.run("get", "--raw", f"{path}/")


def test_the_page_for_users_has_no_credential_in_its_pod(kube, deployed):
    path = deployed("User")
    files = kube.run(
        "exec",
        "deployment/page-user-onnxmodel-operator-page",
        "--",
        "ls",
        "/var/run/secrets/kubernetes.io/serviceaccount",
    )
    assert files.split() == ["ca.crt"]
    with pytest.raises(KubectlError, match=r"(?i)unauthorized|must be logged in"):
        kube.run("get", "--raw", f"{path}/api/models")
