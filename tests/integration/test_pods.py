"""Pods as a platform wants them: the API server takes them under the restricted Pod Security Standard."""

import uuid

import pytest

from dev.kube import found, until
from onnxmodel_operator import names
from tests.integration.support import GOOD, model

POD = {
    "labels": {"team": "search"},
    "annotations": {"example.com/owner": "search"},
    "serviceAccountName": "servers",
    "imagePullSecrets": [{"name": "registry"}],
    "topologySpreadConstraints": [
        {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2, "nodeTaintsPolicy": "Honor"}
    ],
}
SOURCE = {**GOOD["source"], "serviceAccountName": "reader", "env": {"AWS_REGION": "eu-west-1"}}


@pytest.fixture
def priority(control_plane):
    """A PriorityClass, which no namespace has."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    control_plane.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 7}
    )
    yield name
    control_plane.delete("priorityclass", name, wait=False)


def account(name):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def test_every_pod_has_what_the_model_says_of_it_and_a_missing_account_is_said(kube, operator, kubelet, priority):
    kube.run("label", "namespace", kube.namespace, "pod-security.kubernetes.io/enforce=restricted")
    serving = {"replicas": 2, "pod": {**POD, "priorityClassName": priority}}
    kube.apply(account("servers"), model({"source": SOURCE, "serving": serving}))
    shown = until("no account", found(kube, "magika", reason="NoPod"), seconds=60)
    assert 'serviceaccount "reader" not found' in shown["status"]["message"]
    assert "Create the ServiceAccount in the namespace" in shown["status"]["lastFailure"]["hint"]
    kube.apply(account("reader"))
    until("a pod", lambda: kube.list("pods", f"{names.LABEL_STAGE}=validate"), seconds=60)
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    pods = kube.list("pods", f"{names.LABEL_MODEL}=magika")
    accounts = {names.LABEL_STAGE in pod["metadata"]["labels"]: set() for pod in pods}
    assert set(accounts) == {True, False}, "of Jobs and of servers"
    for pod in pods:
        spec, labels = pod["spec"], pod["metadata"]["labels"]
        fetches = labels.get(names.LABEL_STAGE) == "validate"
        assert labels["team"] == "search"
        assert pod["metadata"]["annotations"]["example.com/owner"] == "search"
        assert spec["serviceAccountName"] == ("reader" if fetches else "servers")
        assert (spec["priorityClassName"], spec["priority"]) == (priority, 7)
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert not any(volume["name"].startswith("kube-api-access") for volume in spec["volumes"])
        assert ("topologySpreadConstraints" in spec) is (names.LABEL_REVISION in labels)
