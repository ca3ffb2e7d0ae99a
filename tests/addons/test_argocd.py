"""Argo CD with the customizations of docs/gitops: the operator by its chart, then Secrets, a model, and what uses it."""

from pathlib import Path

import pytest
import yaml

from dev.addons import argocd, git_server
from dev.kube import condition, found, until
from dev.platform import OPERATOR, SYSTEM
from tests import models
from tests.e2e.support import MLP, model, namespace

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "gitops" / "argocd"


@pytest.fixture(scope="module")
def kube(platform):
    objects = {"model": models.mlp(), "other": models.mlp(seed=8)}
    platform.upload({f"mlp/{name}.onnx": made.SerializeToString() for name, made in objects.items()})
    platform.install_operator()  # for the namespace, and to be sure that nothing of it is there
    platform.uninstall_operator()
    with namespace(platform) as within:
        yield within
    platform.uninstall_operator()  # helm does not take over what it did not install


@pytest.fixture(scope="module")
def argo(platform, kube):
    with argocd.running(platform.kube, DOCS / "argocd-cm.yaml", DOCS / "argocd-cm-applications.yaml") as running:
        yield running


@pytest.fixture(scope="module")
def platform_app(platform, kube, argo, repository):
    """The Application of Applications, synced for the first time."""
    chart = ROOT / "charts" / OPERATOR
    files = {f"chart/{path.relative_to(chart)}": path.read_text() for path in chart.rglob("*") if path.is_file()}
    helm = {"helm": {"releaseName": OPERATOR, "valuesObject": platform.values()}}
    operator = argocd.application("operator", git_server.URL, "chart", SYSTEM, source=helm)
    keys = {"apiVersion": "v1", "kind": "Secret", "data": kube.get("secret", "s3-credentials")["data"]}
    client = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"url": f"http://mlp.{kube.namespace}.svc:8000"}}
    for name, wave, manifest in (("operator", -5, operator), ("keys", -1, keys), ("client", 5, client)):
        files[f"platform/{name}.yaml"] = in_wave(wave, name, manifest)
    files["platform/mlp.yaml"] = the_model()
    repository.commit(files)
    argo.kube.apply(argocd.application("platform", git_server.URL, "platform", kube.namespace))
    return argo


def in_wave(wave, name, manifest):
    metadata = manifest.setdefault("metadata", {})
    metadata["name"] = name
    metadata["annotations"] = {"argocd.argoproj.io/sync-wave": str(wave), **metadata.get("annotations", {})}
    return yaml.safe_dump(manifest)


def the_model(**spec):
    wanted = model("mlp", MLP, source={"secretRef": {"name": "keys"}, **spec.pop("source", {})}, **spec)
    wanted["metadata"]["annotations"] = {"argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true"}
    return in_wave(0, "mlp", wanted)


def state(argo):
    """Sync status and health of the platform's Application."""
    status = argo.kube.get("application", "platform").get("status", {})
    return status.get("sync", {}).get("status"), status.get("health", {}).get("status")


def created(kube, kind, name):
    return kube.get(kind, name)["metadata"]["creationTimestamp"]


def test_the_waves_come_one_after_the_other(platform, kube, platform_app):
    argo = platform_app
    until("Healthy", lambda: state(argo) == ("Synced", "Healthy"), seconds=600)
    ready = until("Ready", found(kube, "mlp", true="Ready"), seconds=5)
    operator = platform.kube.within(SYSTEM).get("deployment", OPERATOR)
    times = [
        condition(operator, "Available")["lastTransitionTime"],
        created(kube, "secret", "keys"),
        created(kube, "onnxmodel", "mlp"),
        condition(ready, "Ready")["lastTransitionTime"],
        created(kube, "configmap", "client"),
    ]
    print(*times)
    assert times == sorted(times)
