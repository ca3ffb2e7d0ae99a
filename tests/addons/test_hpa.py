"""A model scaled by Kubernetes' own HorizontalPodAutoscaler on what prometheus-adapter makes of the servers' metrics."""

import pytest

from dev.addons import prometheus, prometheus_adapter
from dev.kube import condition, found, until
from tests.addons.scaled import asked, counts, documented, replicas
from tests.e2e.support import model, namespace

WIDEST = 3


@pytest.fixture(scope="module")
def kube(platform, scraped):
    platform.install_operator('settings.autoscaling={"backend": "HPA"}')
    with namespace(platform) as within:
        yield within


@pytest.fixture(scope="module")
def ready(kube):
    """A model that is Ready with one replica, before anything answers its autoscaler."""
    autoscaling = {"minReplicas": 1, "maxReplicas": WIDEST, "targetCapacityPercent": 2, "scaleDownAfterSeconds": 15}
    kube.apply(model("magika", "s3://models/magika/1/model.onnx", serving={"autoscaling": autoscaling}))
    return until("Ready", found(kube, "magika", true="Ready"), seconds=600)


def adapter(platform):
    """It runs with the configuration of the documentation."""
    return prometheus_adapter.running(platform.kube, prometheus.URL, documented("externalRules"))


def autoscaler(kube):
    (shown,) = kube.list("horizontalpodautoscalers")
    return shown


def load_of_each(kube):
    """The value of the external metric that the autoscaler shows, for each replica; "" before it has one."""
    metrics = autoscaler(kube)["status"].get("currentMetrics") or [{}]
    return metrics[0].get("external", {}).get("current", {}).get("averageValue", "")


def says(kube, status):
    """Wait for the condition ScalingReady."""

    def said():
        shown = condition(kube.get("onnxmodel", "magika"), "ScalingReady")
        return shown if shown and shown["status"] == status else None

    return until(f"ScalingReady {status}", said, seconds=120)


def test_the_load_sets_the_replicas_and_what_is_away_is_said(ready, kube, platform):
    with adapter(platform) as running:
        says(kube, "True")
        with asked(kube, platform) as printed:
            shown = replicas(kube, WIDEST)
            assert (shown["status"]["autoscaling"]["backend"], shown["status"]["autoscaling"]["metric"]) == (
                "HPA",
                "RowsPerSecond",
            )
            assert until("the metric has a value", lambda: load_of_each(kube) not in ("", "0"), seconds=60)
            print(kube.run("get", "hpa"))
            running.stop()
            away = says(kube, "False")
            print(away["reason"], away["message"])
            assert away["reason"] == "FailedGetExternalMetric"
            assert "magika-autoscaler does not scale: " in away["message"]
            assert kube.get("onnxmodel", "magika")["spec"]["serving"]["replicas"] == WIDEST, "no answer is no load"
            with adapter(platform):
                says(kube, "True")
                patch = {"spec": {"serving": {"autoscaling": {"targetCapacityPercent": 100}}}}
                kube.patch("onnxmodel", "magika", patch)
                replicas(kube, 1)
                print(kube.run("get", "hpa"))
    answered, failed = counts(printed)
    assert answered > 100
    assert failed == 0, printed[0]
