"""A drained node: Kubernetes' own eviction lets the pods of a model go one by one."""

import json

import pytest

from dev.kube import KubectlError, found, until
from onnxmodel_operator import names
from tests.integration.support import GOOD, model


def evict(kube, pod):
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{kube.namespace}/pods/{name}/eviction"
    kube.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def servers(kube, *, ready):
    pods = kube.list("pods", names.LABEL_REVISION)
    told = [
        (pod, any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ())))
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    ]
    return [pod for pod, is_ready in told if is_ready is ready]


def test_pods_that_serve_are_evicted_one_by_one_and_others_at_any_time(kube, operator, kubelet):
    kube.apply(model({**GOOD, "serving": {"replicas": 2}}))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    budget = until("two may become one", lambda: _allowing(kube, 1))
    assert budget["metadata"]["ownerReferences"][0]["kind"] == "OnnxModel"
    first, second = servers(kube, ready=True)
    evict(kube, first)
    (new,) = until("its successor", lambda: servers(kube, ready=False))
    with pytest.raises(KubectlError, match="would violate the pod's disruption budget"):
        evict(kube, second)
    evict(kube, new)
    kube.patch("onnxmodel", "magika", {"spec": {"serving": {"replicas": 1}}})
    until("no budget for one", lambda: not kube.list("poddisruptionbudgets") or None)


def _allowing(kube, number):
    found = kube.list("poddisruptionbudgets", f"{names.LABEL_MODEL}=magika")
    return next((item for item in found if item.get("status", {}).get("disruptionsAllowed") == number), None)
