"""A canary divided by a real Gateway, under a load of HTTP and gRPC from outside of the cluster that loses nothing."""

import json
import time
import urllib.request

import pytest

from dev.addons import envoy_gateway
from dev.kube import condition, found, until
from onnxmodel_operator import names
from onnxmodel_operator.live.parse import parse
from tests.addons.through import Clients
from tests.e2e.support import model, namespace

DOMAIN = "models.example.com"
ROUTES = {"parentRefs": [{"name": "models", "namespace": "infra"}], "domain": DOMAIN}
STEPS = [{"weight": 20, "pause": "Manual"}, {"weight": 50, "pause": "Manual"}]
CANARY = {"strategy": "Canary", "steps": STEPS, "gates": {"mode": "Warn"}}
ENOUGH = 500  # requests to measure a share by: four standard deviations of 20 percent are 7 percentage points


@pytest.fixture(scope="module")
def kube(platform, gateway):
    envoy_gateway.gateway(platform.namespace("infra"), "models")
    platform.install_operator(f"settings.routes={json.dumps(ROUTES)}")
    with namespace(platform) as within:
        yield within


def requests(kube, revision):
    """Requests that the servers of a revision have answered."""
    total = 0
    for pod in kube.list("pods", f"{names.LABEL_REVISION}={revision},{names.LABEL_SERVER}=true"):
        if address := pod["status"].get("podIP"):
            with urllib.request.urlopen(f"http://{address}:8002/metrics", timeout=10) as answer:
                counts = parse(answer.read(), "magika")
                total += round(counts.successes + counts.failures)
    return total


def percent(kube, clients, old, new):
    """The share of a revision, of the next requests of the clients."""
    sent, before = sum(clients.answered.values()), (requests(kube, old), requests(kube, new))
    until("enough requests", lambda: sum(clients.answered.values()) >= sent + ENOUGH, seconds=180)
    more = [requests(kube, revision) - was for revision, was in zip((old, new), before, strict=True)]
    assert sum(more) >= ENOUGH
    return 100 * more[1] / sum(more)


def change(kube, delay):
    kube.patch("onnxmodel", "magika", {"spec": {"serving": {"batching": {"maxQueueDelayMicroseconds": delay}}}})


def at_step(kube, number, weight):
    """The status once the routes have the weight of a step."""

    def reached():
        shown = kube.get("onnxmodel", "magika")
        status, rollout = shown["status"], shown["status"].get("rollout", {})
        weights = [weight for _, weight in backends(kube, "grpcroute")]
        new = shown["metadata"]["generation"] == status["observedGeneration"] and status.get("traffic")
        return status if new and rollout.get("step") == number and weights == [100 - weight, weight] else None

    return until(f"step {number}", reached, seconds=300)


def backends(kube, kind):
    (rule,) = kube.get(kind, "magika")["spec"]["rules"]
    return [(ref["name"], ref["weight"]) for ref in rule["backendRefs"]]


def order(kube, name):
    kube.run("annotate", "--overwrite", "onnxmodel/magika", f"{name}={time.time()}")


def test_a_canary_through_a_gateway_loses_no_request(kube):
    serving = {"replicas": 2, "batching": {"maxQueueDelayMicroseconds": 50}}
    kube.apply(model("magika", "s3://models/magika/1/model.onnx", serving=serving, rollout=CANARY))
    ready = until("Ready", found(kube, "magika", true="Ready"), seconds=600)
    until("accepted", found(kube, "magika", true="RouteAccepted"), seconds=60)
    old = ready["status"]["active"]["revision"]
    made = {kind: kube.get(kind, "magika")["metadata"]["uid"] for kind in ("httproute", "grpcroute")}
    host = f"magika.{kube.namespace}"
    with Clients("magika", f"{host}.{DOMAIN}", f"{host}.grpc.{DOMAIN}") as clients:
        until(
            "both protocols answer", lambda: min(clients.answered[kind] for kind in ("http", "grpc")) > 10, seconds=60
        )
        clients.failures.clear()  # from before Envoy knew the routes

        change(kube, 100)
        status = at_step(kube, 1, 20)
        refused = status["rollout"]["revision"]
        assert status["rollout"]["backend"] == "Route"
        pods = {d["metadata"]["labels"][names.LABEL_REVISION]: d["spec"]["replicas"] for d in kube.list("deployments")}
        assert pods == {old: 2, refused: 1}
        assert 12 < percent(kube, clients, old, refused) < 28
        order(kube, names.ABORT)
        stalled = until("aborted", found(kube, "magika", true="Stalled"), seconds=60)
        assert condition(stalled, "Stalled")["reason"] == "RolloutAborted"
        assert backends(kube, "httproute") == [("magika", 100)]

        change(kube, 200)
        new = at_step(kube, 1, 20)["rollout"]["revision"]
        assert 12 < percent(kube, clients, old, new) < 28
        order(kube, names.PROMOTE)
        at_step(kube, 2, 50)
        assert 40 < percent(kube, clients, old, new) < 60
        shares = {share["revision"]: share for share in kube.get("onnxmodel", "magika")["status"]["traffic"]}
        assert (shares[new]["wanted"], 35 < shares[new].get("measured", 50) < 65) == (50, True), shares
        order(kube, names.PROMOTE)
        done = until("Ready", found(kube, "magika", true="Ready"), seconds=300)
        sent = sum(clients.answered.values())
        until("clients meet the new one", lambda: sum(clients.answered.values()) > sent + 100, seconds=60)
    print(dict(clients.answered), "answered,", len(clients.failures), "failed")
    assert done["status"]["active"]["revision"] == new
    assert {kind: kube.get(kind, "magika")["metadata"]["uid"] for kind in made} == made
    assert min(clients.answered.values()) > 100
    assert clients.failures == []


def test_a_route_that_the_gateway_does_not_accept_is_seen(platform, kube):
    """And what serves goes on serving: a model's Ready does not end with it."""
    infra = platform.kube.within("infra")
    own = {"allowedRoutes": {"namespaces": {"from": "Same"}}}
    envoy_gateway.gateway(infra, "models", **own)
    refused = until(
        "it is seen",
        lambda: (m := kube.get("onnxmodel", "magika"))["status"]["reason"] == "RouteNotAccepted" and m,
        seconds=60,
    )
    said = condition(refused, "RouteAccepted")
    assert (said["status"], "NotAllowedByListeners" in said["message"]) == ("False", True), said
    assert condition(refused, "Ready")["status"] == condition(refused, "Available")["status"] == "True"
    envoy_gateway.gateway(infra, "models")
    until("accepted again", found(kube, "magika", true="RouteAccepted", reason="Ready"), seconds=60)
