"""A real Prometheus scrapes a real operator and a real server, fills the dashboards, and fires the chart's alerts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dev.addons import prometheus
from dev.chart import dashboards
from dev.kube import found, until
from dev.platform import OPERATOR, SYSTEM
from tests.addons.scaled import asked, counts
from tests.e2e.support import model, namespace

UNSEEN = {
    "Oldest waiting model": "no model waits for long",
    "Requests that fail": "no request fails",
    "GPU utilization of servers": "there is no GPU",
    "GPU memory of servers": "there is no GPU",
    "Slowest models, compared with their proof": "a model must have been busy for some minutes",
}


@pytest.fixture(scope="module")
def kube(platform, scraped):
    platform.install_operator()
    with namespace(platform) as within:
        yield within


@pytest.fixture(scope="module")
def ready(kube):
    kube.apply(model("magika", "s3://models/magika/1/model.onnx"))
    return until("Ready", found(kube, "magika", true="Ready"), seconds=600)


def fires(alert: str, **labels: str) -> dict[str, str]:
    """Wait until the alert fires. Returns its labels."""
    matchers = "".join(f',{name}="{value}"' for name, value in labels.items())
    query = f'ALERTS{{alertname="{alert}",alertstate="firing"{matchers}}}'
    (sample,) = until(f"{alert} fires", lambda: prometheus.query(query), seconds=60)
    return dict(sample["metric"])


def ends(alert: str) -> None:
    until(f"{alert} ends", lambda: not prometheus.query(f'ALERTS{{alertname="{alert}"}}'), seconds=60)


@contextmanager
def stopped(platform: Any) -> Iterator[None]:
    """The operator scaled to nothing."""
    system = platform.kube.within(SYSTEM)
    system.patch("deployment", OPERATOR, {"spec": {"replicas": 0}})
    try:
        yield
    finally:
        system.patch("deployment", OPERATOR, {"spec": {"replicas": 1}})
        system.run("rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")


def test_the_dashboards_show_what_happens(ready, kube, platform):
    shown: dict[str, list[dict[str, Any]]] = {}
    panels = {
        panel.title: [_of_all(query) for query, _ in panel.queries]
        for panel in (*dashboards.OPERATOR, *dashboards.MODELS)
    }
    wanted = panels.keys() - UNSEEN.keys()

    def all_seen() -> bool:
        for title in wanted - shown.keys():
            answers = [prometheus.query(query) for query in panels[title]]
            if all(answers):
                shown[title] = [sample for answer in answers for sample in answer]
        return wanted == shown.keys()

    with asked(kube, platform) as printed:
        try:
            until("every panel has something to show", all_seen, seconds=120)
        except AssertionError:
            pytest.fail(f"nothing to show: {sorted(wanted - shown.keys())}")
    assert counts(printed)[1] == 0, printed[0]
    served = ready["status"]["active"]["served"]
    live, proven = (float(sample["value"][1]) for sample in shown["Executions, next to what was proven"])
    print(f"executions {live * 1000:.2f} ms, proven {proven * 1000:.2f} ms")
    assert proven * 1000 == pytest.approx(served["p50Milliseconds"], rel=0.01)
    assert 0 < live < 100 * proven
    (share,) = (float(sample["value"][1]) for sample in shown["Load, as a share of what was proven"])
    assert 0 < share < 2
    of_model = {"namespace": kube.namespace, "model": "magika"}
    assert all(of_model.items() <= sample["metric"].items() for sample in shown["Rows"])


def _of_all(query: str) -> str:
    """As Grafana asks for all models; the window of a rate is short, as these scrapes are."""
    for variable, value in (("$__rate_interval", "20s"), ("$namespace", ".*"), ("$model", ".*")):
        query = query.replace(variable, value)
    return query


def test_a_model_that_is_stalled_fires_an_alert(kube):
    kube.apply(model("nowhere", "s3://models/nowhere/1/model.onnx"))
    until("Stalled", found(kube, "nowhere", true="Stalled"), seconds=300)
    assert fires("OnnxModelFailed")["severity"] == "warning"
    kube.delete("onnxmodel", "nowhere")
    ends("OnnxModelFailed")


def test_an_operator_that_is_gone_fires_an_alert(kube, platform):
    with stopped(platform):
        assert fires("OnnxModelOperatorDown")["severity"] == "critical"
    ends("OnnxModelOperatorDown")


def test_nothing_else_is_wrong(ready):
    firing = {sample["metric"]["alertname"] for sample in prometheus.query('ALERTS{alertstate="firing"}')}
    assert firing <= {"OnnxModelOperatorMissedChanges", "OnnxModelQueueing"}, firing
