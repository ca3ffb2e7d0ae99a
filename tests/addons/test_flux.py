"""Flux with the manifest of docs/gitops: it waits for a model, fails with it at once, and lets Git mend it."""

import time
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from dev.addons import flux, git_server
from dev.kube import condition, found, until
from tests import models
from tests.e2e.support import MLP, OTHER, model, namespace

ROOT = Path(__file__).parents[2]
DOCUMENTED = yaml.safe_load((ROOT / "docs" / "gitops" / "flux" / "kustomization.yaml").read_text())
SECONDS = 15  # from the model's word to Flux's: it looks every few seconds. Without that word it waits for 30 minutes.


@pytest.fixture(scope="module")
def system(platform):
    return platform.kube.within(flux.SYSTEM)


@pytest.fixture(scope="module")
def kube(platform, system, repository):
    platform.install_operator()
    objects = {"model": models.mlp(), "other": models.mlp(seed=8)}
    platform.upload({f"mlp/{name}.onnx": made.SerializeToString() for name, made in objects.items()})
    repository.commit({"operator/onnxmodels.yaml": (ROOT / "crds" / "onnxmodels.yaml").read_text()})
    source = {"url": git_server.URL, "ref": {"branch": git_server.BRANCH}, "interval": "2s"}
    # What the manifest depends on: here the operator comes from its chart, and its kind from Git.
    operator = {**DOCUMENTED["spec"], "path": "./operator", "prune": False, "dependsOn": []}
    with namespace(platform) as within, flux.running(platform.kube):
        system.apply(
            resource("source.toolkit.fluxcd.io/v1", "GitRepository", "platform", source),
            resource("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "onnxmodel-operator", operator),
            DOCUMENTED,
        )
        yield within


def resource(version, kind, name, spec):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def commit(kube, repository, uri=MLP, **spec):
    """Let Git have the model. Returns the commit."""
    wanted = model("mlp", uri, **spec)
    wanted["metadata"]["namespace"] = kube.namespace
    return repository.commit({"models/mlp.yaml": yaml.safe_dump(wanted)})


def told(system, revision, status, reason):
    """Wait until the Kustomization says this of a commit, and return its condition."""

    def look():
        shown = system.get("kustomization", "models")
        ready, attempted = condition(shown, "Ready"), shown.get("status", {}).get("lastAttemptedRevision", "")
        at = ready and attempted.endswith(revision) and (ready["status"], ready["reason"]) == (status, reason)
        return ready if at else None

    return until(f"Flux says {reason}", look, seconds=300)


def later(said, model, kind):
    """Seconds from a condition of the model to Flux's."""
    times = (datetime.fromisoformat(c["lastTransitionTime"]) for c in (said, condition(model, kind)))
    return (next(times) - next(times)).total_seconds()


def test_flux_waits_until_a_model_is_ready_and_fails_with_it_at_once(kube, system, repository):
    revision = commit(kube, repository)
    told(system, revision, "Unknown", "Progressing")
    ready = until("Ready", found(kube, "mlp", true="Ready"), seconds=300)
    said = told(system, revision, "True", "ReconciliationSucceeded")
    assert 0 <= later(said, ready, "Ready") <= SECONDS

    began = time.monotonic()
    revision = commit(kube, repository, OTHER, source={"sha256": "0" * 64})
    said = told(system, revision, "False", "HealthCheckFailed")
    stalled = until("Stalled", found(kube, "mlp", true="Stalled"), seconds=5)
    assert stalled["status"]["reason"] == "DigestMismatch"
    assert f"OnnxModel/{kube.namespace}/mlp status: 'Failed'" in said["message"]
    assert 0 <= later(said, stalled, "Stalled") <= SECONDS
    print(f"Stalled, and failed in Flux, {time.monotonic() - began:.0f} s after the commit")

    revision = commit(kube, repository)
    told(system, revision, "True", "ReconciliationSucceeded")
    assert condition(kube.get("onnxmodel", "mlp"), "Ready")["status"] == "True"


@pytest.mark.parametrize("off", [{"suspend": True}, {"serving": {"replicas": 0}}], ids=str)
def test_a_model_that_is_off_holds_nothing_up(kube, system, repository, off):
    """By the expressions of the manifest: kstatus alone would wait."""
    told(system, commit(kube, repository), "True", "ReconciliationSucceeded")
    revision = commit(kube, repository, **off)
    told(system, revision, "True", "ReconciliationSucceeded")
    assert condition(kube.get("onnxmodel", "mlp"), "Ready")["status"] != "True"


def test_flux_undoes_what_kubectl_changed(kube, system, repository):
    """Also what Git leaves out."""
    told(system, commit(kube, repository), "True", "ReconciliationSucceeded")
    kube.patch("onnxmodel", "mlp", {"spec": {"suspend": True, "benchmark": {"batchSizes": [1, 2]}}})
    told(system, commit(kube, repository), "True", "ReconciliationSucceeded")
    spec = kube.get("onnxmodel", "mlp")["spec"]
    assert (spec["benchmark"]["batchSizes"], spec["suspend"]) == ([1], False)
