"""Routes on a real API server with the real kinds of Gateway API; the test answers as a Gateway would."""

import json

import pytest

from dev.addons import gateway_api
from dev.kube import condition, found, until
from onnxmodel_operator import names
from tests.integration.support import GOOD, SETTINGS, model

ROUTES = """
routes: {parentRefs: [{name: models, namespace: infra}], domain: models.example.com}
"""
CANARY = {"strategy": "Canary", "steps": [{"weight": 10, "pause": "Manual"}], "gates": {"mode": "Warn"}}
KINDS = ("httproute", "grpcroute")
OTHER = {"group": "", "kind": "Service", "name": "fallback", "port": 80, "weight": 3}


@pytest.fixture
def crds(control_plane):
    """Have the kinds of Gateway API from when it is called."""

    def install():
        for path in gateway_api.crds():
            control_plane.run("apply", "--server-side", "-f", str(path))

    yield install
    control_plane.delete("crd", *(f"{kind}.gateway.networking.k8s.io" for kind in gateway_api.KINDS))


def accept(kube, status="True"):
    """Say what a Gateway says of every route."""
    for kind in KINDS:
        generation = kube.get(kind, "magika")["metadata"]["generation"]
        said = [
            {
                "type": name,
                "status": status,
                "reason": "Accepted" if status == "True" else "NotAllowedByListeners",
                "message": "",
                "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for name in ("Accepted", "ResolvedRefs")
        ]
        reference = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "models", "namespace": "infra"}
        parents = [{"parentRef": reference, "controllerName": "example.com/gateway", "conditions": said}]
        kube.patch(kind, "magika", {"status": {"parents": parents}}, subresource="status")


def backends(kube, kind="httproute"):
    (rule,) = kube.get(kind, "magika")["spec"]["rules"]
    return [(ref["name"], ref["weight"]) for ref in rule["backendRefs"]]


def accepted(kube):
    return condition(kube.get("onnxmodel", "magika"), "RouteAccepted")


def test_a_canary_by_routes(kube, start, kubelet, crds):
    operator = start(settings=SETTINGS + ROUTES)
    kube.apply(model({**GOOD, "serving": {"replicas": 3}, "rollout": CANARY}))
    kubelet.live("magika")
    until("Ready", found(kube, "magika", true="Ready"))
    assert "the cluster has no kind" in accepted(kube)["message"]
    assert kube.get("onnxmodel", "magika")["status"]["reason"] == "RouteNotAccepted"

    crds()
    until("the routes are made", lambda: backends(kube) and backends(kube, "grpcroute"), seconds=60)
    assert backends(kube) == backends(kube, "grpcroute") == [("magika", 100)]
    assert accepted(kube)["reason"] == "RoutePending"
    accept(kube, "False")
    until("refused", lambda: accepted(kube)["status"] == "False")
    accept(kube)
    until("accepted", lambda: accepted(kube)["status"] == "True")
    kinds = ("httproute", "grpcroute")
    made = [kube.get(kind, "magika") for kind in kinds]
    assert [item["metadata"]["generation"] for item in made] == [1, 1], (
        "as the API server completes them, so they were applied"
    )

    rules = made[0]["spec"]["rules"]
    rules[0]["backendRefs"].append(OTHER)
    kube.patch("httproute", "magika", [{"op": "replace", "path": "/spec/rules", "value": rules}], how="json")
    kube.delete("jobs", "--all")
    kube.patch("onnxmodel", "magika", {"spec": {"serving": {"accessLog": True}}})
    kubelet.available("magika")
    kubelet.succeed("magika", "loadtest")

    def shared():
        return len(backends(kube, "grpcroute")) == 2 and kube.get("onnxmodel", "magika")["status"]

    status = until("the canary has its share", shared)
    service = names.canary_service("magika", status["rollout"]["revision"])
    assert backends(kube) == [("magika", 90), (service, 10), ("fallback", 3)], "what others add stays"
    assert backends(kube, "grpcroute") == [("magika", 90), (service, 10)]
    assert status["rollout"]["backend"] == "Route"
    selector = {
        name: kube.get("service", name)["spec"]["selector"][names.LABEL_REVISION] for name in ("magika", service)
    }
    assert selector == {"magika": status["active"]["revision"], service: status["rollout"]["revision"]}

    kube.run("annotate", "onnxmodel/magika", f"{names.ABORT}=1")
    until("aborted", found(kube, "magika", true="Stalled"))
    until("all traffic is back", lambda: backends(kube) == [("magika", 100), ("fallback", 3)])
    before = [kube.get(kind, "magika")["metadata"]["resourceVersion"] for kind in kinds]
    kube.run("annotate", "onnxmodel/magika", "example.com/touched=1")
    kube.patch("onnxmodel", "magika", {"spec": {"serving": {"replicas": 2}}})
    until("scaled", lambda: any(d["spec"]["replicas"] == 2 for d in kube.list("deployments")))
    assert [kube.get(kind, "magika")["metadata"]["resourceVersion"] for kind in kinds] == before, (
        "nothing is written twice"
    )
    assert "Traceback" not in operator.text(), json.dumps(operator.text()[-2000:])
