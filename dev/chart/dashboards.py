"""The chart's Grafana dashboards, made from a table of panels: what a person sees of the operator, and of models."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_ROWS = 8
_ACROSS = 24
_MODEL = 'namespace=~"$namespace",model=~"$model"'
_EACH = "by (namespace, model)"
_NAMED = "{{namespace}}/{{model}}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph. queries: (PromQL, legend). unit: as Grafana calls it. width: of 24. kind: of Grafana's panels."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    width: int = 12
    kind: str = "timeseries"
    description: str = ""


def _rate(metric: str, more: str = "") -> str:
    return f"sum {_EACH} (rate({metric}{{{_MODEL}{more}}}[$__rate_interval]))"


def _quantile(share: float, histogram: str) -> str:
    buckets = f"rate({histogram}_bucket{{{_MODEL}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (namespace, model, le) ({buckets}))"


OPERATOR = (
    Panel("Leading replicas", [("sum(onnxmodel_operator_leading)", "")], width=4, kind="stat"),
    Panel("Models by phase", [("sum by (phase) (onnxmodel_operator_models)", "{{phase}}")], width=10),
    Panel("Waiting models", [("sum(onnxmodel_operator_queue_depth)", "waiting")], width=10),
    Panel(
        "Oldest waiting model",
        [("max by (namespace) (onnxmodel_operator_queue_age_seconds)", "{{namespace}}")],
        "s",
        description="Alert OnnxModelOperatorQueueOld fires above 5 minutes.",
    ),
    Panel(
        "Reconciles",
        [("sum by (outcome) (rate(onnxmodel_operator_reconciles_total[$__rate_interval]))", "{{outcome}}")],
        "ops",
    ),
    Panel(
        "Duration of a reconcile",
        [
            (
                f"histogram_quantile({share}, "
                "sum by (le) (rate(onnxmodel_operator_reconcile_seconds_bucket[$__rate_interval])))",
                name,
            )
            for share, name in ((0.5, "p50"), (0.99, "p99"))
        ],
        "s",
    ),
    Panel(
        "Lag of the event loop, p99",
        [
            (
                "histogram_quantile(0.99, "
                "sum by (le) (rate(onnxmodel_operator_loop_stall_seconds_bucket[$__rate_interval])))",
                "lag",
            )
        ],
        "s",
    ),
    Panel(
        "Writes",
        [("sum by (verb, kind) (rate(onnxmodel_operator_writes_total[$__rate_interval]))", "{{verb}} {{kind}}")],
        "ops",
        description="An operator of an idle cluster writes nothing.",
    ),
    Panel(
        "Watch events",
        [("sum by (kind) (rate(onnxmodel_operator_events_total[$__rate_interval]))", "{{kind}}")],
        "ops",
    ),
    Panel(
        "Silence of watches",
        [("max by (kind) (onnxmodel_operator_watch_silent_seconds)", "{{kind}}")],
        "s",
        description="A live watch shows a sign of life each minute.",
    ),
    Panel(
        "Changes that a list repaired",
        [("sum by (kind) (increase(onnxmodel_operator_watch_repairs_total[1h]))", "{{kind}}")],
        description="The operator's log names the models.",
    ),
    Panel(
        "Last change that a watch told of",
        [("min by (kind) (onnxmodel_operator_watch_event_age_seconds)", "{{kind}}")],
        "s",
        description="Old ones are normal where nothing changes.",
    ),
    Panel(
        "Duration of stages, p90",
        [
            (
                "histogram_quantile(0.9, sum by (stage, end, le) "
                "(rate(onnxmodel_operator_stage_seconds_bucket[$__rate_interval])))",
                "{{stage}} {{end}}",
            )
        ],
        "s",
    ),
    Panel(
        "Readings of servers",
        [("sum by (outcome) (rate(onnxmodel_operator_readings_total[$__rate_interval]))", "{{outcome}}")],
        "ops",
    ),
    Panel(
        "Slowest models, compared with their proof",
        [("topk(10, max by (namespace, name) (onnxmodel_operator_slowdown_ratio))", "{{namespace}}/{{name}}")],
        description="Alert OnnxModelSlowerThanProven fires above 2.",
    ),
)

_PROVEN = f"max {_EACH} (onnxmodel_operator_proven_rows_per_second{{{_MODEL}}})"
_SERVERS = f"count {_EACH} (nv_inference_pending_request_count{{{_MODEL}}})"

MODELS = (
    Panel("Requests that succeed", [(_rate("nv_inference_request_success"), _NAMED)], "reqps"),
    Panel(
        "Requests that fail",
        [
            (
                f"sum by (namespace, model, reason) "
                f"(rate(nv_inference_request_failure{{{_MODEL}}}[$__rate_interval]))",
                f"{_NAMED} {{{{reason}}}}",
            )
        ],
        "reqps",
    ),
    Panel(
        "Latency in the server",
        [
            (_quantile(0.5, "onnxmodel_request_duration_seconds"), f"{_NAMED} p50"),
            (_quantile(0.99, "onnxmodel_request_duration_seconds"), f"{_NAMED} p99"),
        ],
        "s",
        description="Of successful requests, the queue included. Servers of ONNX Runtime; Triton has no histogram.",
    ),
    Panel(
        "Mean latency, both runtimes",
        [(f"{_rate('nv_inference_request_duration_us')} / {_rate('nv_inference_request_success')} / 1e6", _NAMED)],
        "s",
    ),
    Panel(
        "Executions, next to what was proven",
        [
            (_quantile(0.5, "onnxmodel_execution_duration_seconds"), f"{_NAMED} live p50"),
            (f"max {_EACH} (onnxmodel_operator_proven_p50_seconds{{{_MODEL}}})", f"{_NAMED} proven"),
        ],
        "s",
        description="Proven: the median that one client got in the load test at the smallest batch, network included.",
    ),
    Panel(
        "Load, as a share of what was proven",
        [(f"{_rate('nv_inference_count')} / ({_PROVEN} * {_SERVERS})", _NAMED)],
        "percentunit",
        description="Rows per second by the best point of the load test, times the servers that are scraped.",
    ),
    Panel("Waiting requests", [(f"sum {_EACH} (nv_inference_pending_request_count{{{_MODEL}}})", _NAMED)]),
    Panel(
        "Share of the time that requests queue",
        [(f"{_rate('nv_inference_queue_duration_us')} / {_rate('nv_inference_request_duration_us')}", _NAMED)],
        "percentunit",
        description="Alert OnnxModelQueueing fires above a half.",
    ),
    Panel("Rows", [(_rate("nv_inference_count"), _NAMED)], "rps"),
    Panel(
        "Batch size",
        [
            (f"{_rate('nv_inference_count')} / {_rate('nv_inference_exec_count')}", f"{_NAMED} mean"),
            (_quantile(0.99, "onnxmodel_batch_rows"), f"{_NAMED} p99"),
        ],
    ),
    Panel(
        "Share of the nodes that the serving provider runs",
        [(f"min by (namespace, model, provider) (onnxmodel_provider_share_ratio{{{_MODEL}}})", f"{_NAMED} {{{{provider}}}}")],
        "percentunit",
    ),
    Panel("Load time", [(f"max {_EACH} (nv_model_load_duration_secs{{{_MODEL}}})", _NAMED)], "s"),
    Panel(
        "GPU utilization of servers",
        [
            (
                'max by (namespace, pod, gpu) (DCGM_FI_DEV_GPU_UTIL{namespace=~"$namespace",pod=~"$model-.*"}) / 100',
                "{{namespace}}/{{pod}} GPU {{gpu}}",
            )
        ],
        "percentunit",
        description="From NVIDIA's DCGM exporter, which names the pod that has the GPU.",
    ),
    Panel(
        "GPU memory of servers",
        [
            (
                'max by (namespace, pod, gpu) (DCGM_FI_DEV_FB_USED{namespace=~"$namespace",pod=~"$model-.*"}) * 1048576',
                "{{namespace}}/{{pod}} GPU {{gpu}}",
            )
        ],
        "bytes",
        description="From NVIDIA's DCGM exporter.",
    ),
)  # fmt: skip


def files() -> dict[str, str]:
    """Return the content of each file of the chart's folder dashboards."""
    variables = (_variable("namespace", "nv_inference_count"), _variable("model", "nv_inference_count", "namespace"))
    operator = _dashboard("onnxmodel-operator", "OnnxModel operator", OPERATOR)
    models = _dashboard("onnxmodel-models", "OnnxModels", MODELS, *variables)
    return {"operator.json": _text(operator), "models.json": _text(models)}


def queries() -> list[str]:
    """Return every query, as Grafana asks it of all models."""
    asked = [query for panel in (*OPERATOR, *MODELS) for query, _ in panel.queries]
    for variable, value in (("$__rate_interval", "1m"), ("$namespace", ".*"), ("$model", ".*")):
        asked = [query.replace(variable, value) for query in asked]
    return asked


def _text(dashboard: dict[str, Any]) -> str:
    return json.dumps(dashboard, indent=1) + "\n"


def _dashboard(uid: str, title: str, panels: Sequence[Panel], *variables: dict[str, Any]) -> dict[str, Any]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    return {
        "uid": uid,
        "title": title,
        "description": "Generated by `python -m dev.docs`.",
        "tags": ["onnxmodel"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "panels": list(_placed(panels)),
    }


def _variable(name: str, metric: str, within: str = "") -> dict[str, Any]:
    chosen = f'{{{within}=~"${within}"}}' if within else ""
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}{chosen}, {name})", "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _placed(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    """Yield the panels from left to right, and from top to bottom."""
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > _ACROSS:
            x, y = 0, y + _ROWS
        yield {
            "id": number,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.description,
            "datasource": _SOURCE,
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": _ROWS},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(65 + place), "datasource": _SOURCE, "expr": query, "legendFormat": legend or "__auto"}
                for place, (query, legend) in enumerate(panel.queries)
            ],
        }
        x += panel.width
