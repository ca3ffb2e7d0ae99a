"""The chart's alerts and dashboards: they fire when they should, and ask for what there is."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dev.chart import dashboards
from dev.chart.schema import CHART
from dev.cluster import packages
from onnxmodel_operator import metrics
from onnxmodel_operator.plan.values import Phase
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.server.errors import Ended, Reason
from onnxmodel_runtime.server.recorder import Compute, Recorder

RULES = CHART / "rules" / "onnxmodel.yaml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
TABLE = Path(__file__).parent / "rules_test.yaml"
RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
PANELS = [*dashboards.OPERATOR, *dashboards.MODELS]
FROM_DCGM = {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"}
"""Of NVIDIA's DCGM exporter, by its default-counters.csv: nothing of ours measures GPUs."""
OF_A_TARGET = {"namespace", "pod", "onnx_operator_dev_revision", "gpu"}
"""Labels that the scrape adds (docs/scaling.md), and DCGM's."""


def promtool(*words: str | Path) -> None:
    packages.ensure({"promtool": "prometheus"})
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def exposed() -> dict[str, dict[str, set[str]]]:
    """Names of samples, each with its labels and their values, as a server and the operator write them."""
    recorder = Recorder("m")
    recorder.loaded(ProviderUse("CUDA", 75.0, {"CUDA": 3}), 1.5)
    recorder.execution(1, Compute(1, 1, 1))
    recorder.success(1, 1, 1, Compute(1, 1, 1))
    found: dict[str, dict[str, set[str]]] = {}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", recorder.metrics(), re.MULTILINE):
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            found.setdefault(name, {}).setdefault(label, set()).add(value)
    models = metrics.Models(lambda: dict.fromkeys(Phase, 1), lambda: {"n": 1.0}, lambda: 1, lambda: True)
    one = metrics.Speeds(lambda: {("n", "m"): 1.0}), metrics.Proofs(lambda: {("n", "m"): (1.0, 1.0)})
    for family in (family for collector in (models, *one) for family in collector.collect()):
        for sample in family.samples:
            for label, value in sample.labels.items():
                found.setdefault(sample.name, {}).setdefault(label, set()).add(value)
            found.setdefault(sample.name, {})
    for metric in metrics.REGISTRY._collector_to_names:
        (family,) = metric.describe() if hasattr(metric, "describe") else metric.collect()
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        for end in ends:
            names = (*metric._labelnames, *(("le",) if end == "_bucket" else ()))  # type: ignore[attr-defined]
            found.setdefault(family.name + end, {label: set() for label in names})
    return found


EXPOSED = exposed()
QUERIES = [*(rule["expr"] for rule in ALERTS), *dashboards.queries()]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_is_exposed(query):
    names = set(re.findall(r"\b(?:onnxmodel|nv|DCGM|up)(?:_\w+)?\b", re.sub(r'"[^"]*"', '""', query)))
    assert names
    known = EXPOSED.keys() | FROM_DCGM | {"up"}
    assert names <= known, names - known
    for name, matchers in re.findall(r"\b(\w+)\{([^}]*)\}", query):
        for label in re.findall(r"(\w+)(?==|!)", matchers):
            assert name in FROM_DCGM | {"up"} or label in EXPOSED[name].keys() | OF_A_TARGET, f"{name}: {label}"
    labels = {label for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(", ")}
    assert labels <= OF_A_TARGET.union(*(EXPOSED.get(name, {}) for name in names)), labels


def test_the_values_of_labels_in_alerts_are_written():
    asked = {pair for rule in ALERTS for pair in re.findall(r'(phase|reason|outcome)=~?"([^"]+)"', rule["expr"])}
    assert asked == {("phase", "Failed"), ("outcome", "retry"), ("reason", "REJECTED|BACKEND")}
    assert EXPOSED["nv_inference_request_failure"]["reason"] == set(Reason) >= {"REJECTED", "BACKEND"}
    assert "EXPIRED" in EXPOSED["onnxmodel_requests_ended_by_watchdog_total"]["reason"] == set(Ended)
    assert "Failed" in set(Phase)


def test_alerts_fire_when_they_should():
    promtool("test", "rules", TABLE)


def test_every_alert_is_tried_where_it_fires_and_where_it_does_not():
    tried = [(one["alertname"], bool(one["exp_alerts"]))
             for test in yaml.safe_load(TABLE.read_text())["tests"] for one in test["alert_rule_test"]]  # fmt: skip
    assert set(tried) == {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_page_and_words(rule):
    page = RUNBOOKS / f"{rule['alert']}.md"
    assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{page.name}")
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert {"summary", "description"} <= rule["annotations"].keys()
    text = page.read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Meaning", "Diagnosis", "What to do"]
    assert f"Severity: {rule['labels']['severity']}." in text


def test_there_is_no_page_of_an_alert_that_there_is_not():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {rule["alert"] for rule in ALERTS} | {"README"}
    listed = re.findall(r"^\| \[(\w+)\]", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert listed == [rule["alert"] for rule in ALERTS]


def test_the_queries_of_dashboards_are_promql(tmp_path):
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(dashboards.queries())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", path)


def test_the_dashboards_are_of_these_panels():
    for name, text in dashboards.files().items():
        assert (CHART / "dashboards" / name).read_text() == text, "run .venv/bin/python -m dev.docs"
        panels = json.loads(text)["panels"]
        places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in panels]
        taken = [(column, row) for x, y, w, h in places for column in range(x, x + w) for row in range(y, y + h)]
        assert len(taken) == len(set(taken)), "panels overlap"
        assert max(column for column, _ in taken) < 24


def test_titles_of_panels_are_their_own():
    titles = [panel.title for panel in PANELS]
    assert len(titles) == len(set(titles))


def test_alerts_that_panels_name_exist():
    named = {name for panel in PANELS for name in re.findall(r"\bOnnxModel\w+", panel.description)}
    assert named
    assert named <= {rule["alert"] for rule in ALERTS}
