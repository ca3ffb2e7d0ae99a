"""A model scaled by KEDA on what Prometheus scrapes from its servers, and a canary that Prometheus judges."""

import json
import re
import time

import pytest

from dev.addons import keda, prometheus
from dev.kube import condition, found, until
from onnxmodel_operator import names
from tests.addons.scaled import SECONDS, asked, counts, replicas
from tests.e2e.support import model, namespace

AUTOSCALING = {
    "backend": "KEDA",
    "pollingIntervalSeconds": 5,
    "activationQuery": 'gateway_active_requests{namespace="$namespace",model="$model"}',
}
WIDEST = 3


@pytest.fixture(scope="module")
def kube(platform, scraped):
    with keda.running(platform.kube):
        address = {"address": prometheus.URL, "window": "20s"}
        platform.install_operator(
            f"settings.autoscaling={json.dumps(AUTOSCALING)}", f"settings.prometheus={json.dumps(address)}"
        )
        with namespace(platform) as within:
            yield within
            within.delete("onnxmodels", "--all")  # while KEDA can still let go of what it made


@pytest.fixture(scope="module")
def awake(kube, scraped):
    """A model that is Ready with one replica, and for which there are requests."""
    scraped.demand(kube.namespace, "magika", 1)
    autoscaling = {"minReplicas": 0, "maxReplicas": WIDEST, "targetCapacityPercent": 2, "scaleDownAfterSeconds": 15}
    kube.apply(model("magika", "s3://models/magika/1/model.onnx", serving={"autoscaling": autoscaling}))
    until("Ready", found(kube, "magika", true="Ready"), seconds=600)
    return until("it is scaled", found(kube, "magika", true="ScalingReady"), seconds=120)


def test_no_request_is_lost_while_the_load_sets_the_replicas(awake, kube, platform):
    jobs = {job["metadata"]["uid"] for job in kube.list("jobs", f"{names.LABEL_MODEL}=magika")}
    with asked(kube, platform) as printed:
        shown = replicas(kube, WIDEST)
        status = shown["status"]["autoscaling"]
        assert (status["backend"], status["metric"]) == ("KEDA", "RowsPerSecond")
        assert status["target"] == pytest.approx(0.02 * shown["status"]["active"]["capacity"], abs=0.001)
        kube.patch("onnxmodel", "magika", {"spec": {"serving": {"autoscaling": {"targetCapacityPercent": 100}}}})
        fewer = replicas(kube, 1)
        assert condition(fewer, "ScalingReady")["status"] == "True"
    answered, failed = counts(printed)
    assert answered > 100
    assert failed == 0, printed[0]
    its = {job["metadata"]["uid"] for job in kube.list("jobs", f"{names.LABEL_MODEL}=magika")}
    assert its <= jobs, "replicas prove nothing again"


def test_it_sleeps_and_wakes_without_a_stage_and_says_how_long_that_took(awake, kube, scraped):
    jobs = {job["metadata"]["uid"] for job in kube.list("jobs", f"{names.LABEL_MODEL}=magika")}
    scraped.demand(kube.namespace, "magika", 0)
    sleeps = found(kube, "magika", true="Ready", untrue="Available", reason="ScaledToZero")
    asleep = until("it sleeps, and its pods are gone", sleeps, seconds=SECONDS)
    until("no pod", lambda: not kube.list("pods", f"{names.LABEL_MODEL}=magika,{names.LABEL_REVISION}"), seconds=60)
    scraped.demand(kube.namespace, "magika", 1)
    began = time.monotonic()
    shown = replicas(kube, 1)
    seconds = shown["status"]["autoscaling"]["coldStartSeconds"]
    print(f"cold start {seconds} s; {time.monotonic() - began:.0f} s after the first request")
    assert 0 < seconds <= time.monotonic() - began
    assert shown["status"]["active"]["revision"] == asleep["status"]["active"]["revision"]
    its = {job["metadata"]["uid"] for job in kube.list("jobs", f"{names.LABEL_MODEL}=magika")}
    assert its <= jobs


def test_a_canary_is_judged_by_a_query(awake, kube, platform):
    """By a number that only Prometheus has, of the new revision; the traffic goes back."""
    gates = {
        "minRequests": 20,
        "maxP99RegressionPercent": 10_000,
        "prometheus": {"query": 'sum(nv_inference_count{onnx_operator_dev_revision="$revision"})', "max": 30},
    }
    rollout = {"strategy": "Canary", "steps": [{"weight": 50, "pause": "Manual"}], "gates": gates}
    serving = {"batching": {"maxQueueDelayMicroseconds": 100}}
    kube.patch("onnxmodel", "magika", {"spec": {"serving": serving, "rollout": rollout}})
    until("half each", lambda: kube.get("onnxmodel", "magika")["status"].get("traffic"), seconds=SECONDS)
    with asked(kube, platform) as printed:
        refused = until("refused", found(kube, "magika", true="Stalled", reason="GateFailed"), seconds=180)
    assert re.search(r"the query of rollout.gates.prometheus gives \d+: max is 30", refused["status"]["message"])
    assert counts(printed)[1] == 0, printed[0]
