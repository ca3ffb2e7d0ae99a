"""Autoscalers on a real API server, with Kubernetes' own controller; the test answers as KEDA would."""

import json

import pytest

from dev.addons import keda
from dev.kube import condition, found, until
from onnxmodel_operator.api.status import Condition
from tests.integration.support import GOOD, SETTINGS, model

KEDA = """
autoscaling:
  backend: KEDA
  activationQuery: 'requests{namespace="$namespace",model="$model"}'
prometheus: {address: "http://prometheus.monitoring:9090"}
"""
HPA = """
autoscaling: {backend: HPA}
"""
NAME = "magika-autoscaler"
KIND = "scaledobject"


@pytest.fixture
def crds(control_plane):
    """Have the kind of KEDA from when it is called."""

    def install():
        for path in keda.crds():
            control_plane.run("apply", "--server-side", "-f", str(path))

    yield install
    control_plane.delete("crd", "scaledobjects.keda.sh")


def scaling(kube):
    return condition(kube.get("onnxmodel", "magika"), "ScalingReady")


def says(kube, reason):
    return until(f"ScalingReady says {reason}", lambda: (scaling(kube) or {}).get("reason") == reason, seconds=60)


def scale(kube, replicas):
    """As an autoscaler does it."""
    kube.run("scale", "onnxmodel/magika", f"--replicas={replicas}")


def running(kube):
    (deployment,) = kube.list("deployments")
    return deployment["spec"]["replicas"]


def status_of(kube):
    return kube.get("onnxmodel", "magika")["status"]


def test_a_scaled_object_comes_with_its_kind_and_replicas_are_followed(kube, start, kubelet, crds):
    operator = start(settings=SETTINGS + KEDA)
    asked = model({**GOOD, "serving": {"autoscaling": {"minReplicas": 0, "maxReplicas": 4}}})
    as_git = ("apply", "--server-side", "--field-manager=argocd", "-f", "-")
    kube.run(*as_git, stdin=json.dumps(asked))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    assert scaling(kube)["reason"] == "BackendMissing"

    crds()
    made = until("the ScaledObject is made", lambda: kube.get(KIND, NAME), seconds=60)
    says(kube, "Pending")
    served = status_of(kube)["active"]["served"]["throughputPerSecond"]
    assert float(made["spec"]["triggers"][0]["metadata"]["threshold"]) == pytest.approx(0.8 * served)
    assert made["metadata"]["generation"] == 1, "as the API server completes it, so it was applied"
    told = [{"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": ""}]
    kube.patch(KIND, NAME, {"status": {"conditions": told}}, subresource="status")
    says(kube, "Scaling")

    scale(kube, 3)
    until("it has three", lambda: running(kube) == 3)
    kubelet.available("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    kube.get("poddisruptionbudget", "magika-servers")
    kube.run(*as_git, stdin=json.dumps(asked))
    assert kube.get("onnxmodel", "magika")["spec"]["serving"]["replicas"] == 3, "Git does not own them"
    changed = json.loads(json.dumps(asked))
    changed["spec"]["serving"]["autoscaling"]["maxReplicas"] = 5
    kube.run(*as_git, stdin=json.dumps(changed))
    until("its bounds follow", lambda: kube.get(KIND, NAME)["spec"]["maxReplicaCount"] == 5)
    assert kube.get("onnxmodel", "magika")["spec"]["serving"]["replicas"] == running(kube) == 3
    managers = json.loads(kube.run("get", "onnxmodel", "magika", "--show-managed-fields", "-o", "json"))
    owners = {
        entry["manager"]
        for entry in managers["metadata"]["managedFields"]
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}).get("f:serving", {})
    }
    assert "argocd" not in owners

    jobs = {job["metadata"]["uid"] for job in kube.list("jobs")}
    scale(kube, 0)
    until("it sleeps", found(kube, "magika", true="Ready", reason="ScaledToZero"))
    until("nothing runs", lambda: not running(kube) and not is_available(kube))
    assert status_of(kube)["serving"]["ready"] == "0/0"
    scale(kube, 1)
    until("it wakes", lambda: running(kube) == 1)
    kubelet.available("magika")
    until("Ready", found(kube, "magika", true="Ready", reason="Ready"))
    assert status_of(kube)["autoscaling"]["coldStartSeconds"] > 0
    assert {job["metadata"]["uid"] for job in kube.list("jobs")} == jobs, "no stage ran"

    kube.delete("crd", "scaledobjects.keda.sh")
    says(kube, "BackendMissing")
    assert running(kube) == 1
    assert "internal error" not in operator.text()


def is_available(kube):
    return condition(kube.get("onnxmodel", "magika"), "Available")["status"] == "True"


def test_an_autoscaler_of_kubernetes_says_that_it_has_no_metrics(kube, start, kubelet):
    operator = start(settings=SETTINGS + HPA)
    kube.apply(model({**GOOD, "serving": {"autoscaling": {"maxReplicas": 4}}}))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    made = until("it is made", lambda: kube.get("hpa", NAME))
    external = made["spec"]["metrics"][0]["external"]
    assert external["metric"]["name"] == "onnxmodel_rows_per_second"
    says(kube, "FailedGetExternalMetric")
    said = Condition.model_validate(scaling(kube))
    assert said.status == "False"
    assert "does not scale: " in said.message
    assert is_available(kube)
    kube.patch("onnxmodel", "magika", {"spec": {"serving": {"autoscaling": None}}})
    until("it is gone", lambda: not kube.list("hpa"))
    until("nothing is said of it", lambda: scaling(kube) is None)
    assert "internal error" not in operator.text()
