"""The operator's own metrics, for Prometheus."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, that nobody asks for
REGISTRY = CollectorRegistry()
RECONCILES = Counter(
    "onnxmodel_operator_reconciles", "Reconciles by result: ok, retry.", ["outcome"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "onnxmodel_operator_reconcile_seconds",
    "Duration of a reconcile, by the phase of the model after it.",
    ["phase"],
    registry=REGISTRY,
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
STALL_SECONDS = Histogram(
    "onnxmodel_operator_loop_stall_seconds",
    "Lag of the event loop, sampled ten times a second.",
    registry=REGISTRY,
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)
LONGEST_STALL_SECONDS = Gauge(
    "onnxmodel_operator_loop_stall_longest_seconds", "Longest lag since the start.", registry=REGISTRY
)
LEADING = Gauge(
    "onnxmodel_operator_leading",
    "1 if this replica may write: it holds the Lease, or there is none.",
    registry=REGISTRY,
)
WRITES = Counter("onnxmodel_operator_writes", "Writes to the API server.", ["verb", "kind"], registry=REGISTRY)
EVENTS = Counter("onnxmodel_operator_events", "Watch events by kind.", ["kind"], registry=REGISTRY)
REPAIRS = Counter(
    "onnxmodel_operator_watch_repairs",
    "Changes found only by a new list after a watch was lost.",
    ["kind"],
    registry=REGISTRY,
)
LISTS = Counter(
    "onnxmodel_operator_watch_lists",
    "Complete lists: at the start, every ten minutes, and after a watch was lost.",
    ["kind"],
    registry=REGISTRY,
)
EVENT_AGE_SECONDS = Gauge(
    "onnxmodel_operator_watch_event_age_seconds",
    "Seconds since a watch last told of a change, or since it began if it never did.",
    ["kind"],
    registry=REGISTRY,
)
SILENT_SECONDS = Gauge(
    "onnxmodel_operator_watch_silent_seconds",
    "Seconds since the API server last showed that the watch is alive.",
    ["kind"],
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "onnxmodel_operator_stage_seconds",
    "Duration of the Jobs of stages by their end, with scheduling and the fetch: Succeeded, Failed.",
    ["stage", "end"],
    registry=REGISTRY,
    buckets=(5, 15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200),
)
READINGS = Counter(
    "onnxmodel_operator_readings", "Readings of servers' own metrics: ok, failed.", ["outcome"], registry=REGISTRY
)


class Speeds(Collector):
    """The live speed of the models that are slowest, compared with their proof."""

    _MOST = 100

    def __init__(self, ratios: Callable[[], Mapping[tuple[str, str], float]]) -> None:
        """ratios: live by proven duration, by namespace and name."""
        self._ratios = ratios

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge. Called at each scrape."""
        family = GaugeMetricFamily(
            "onnxmodel_operator_slowdown_ratio",
            "Duration of live executions by the one that the load test proved, for the "
            f"{self._MOST} models where it is highest.",
            labels=["namespace", "name"],
        )
        for key, ratio in sorted(self._ratios().items(), key=lambda item: -item[1])[: self._MOST]:
            family.add_metric(key, ratio)
        yield family


class Proofs(Collector):
    """Figures of the load tests of the models that serve, next to which their servers' own figures are read."""

    def __init__(self, proven: Callable[[], Mapping[tuple[str, str], tuple[float, float]]]) -> None:
        """proven: seconds of the median request, and rows per second of a replica, by namespace and name."""
        self._proven = proven

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges, by the labels that the servers' metrics have. Called at each scrape."""
        labels = ["namespace", "model"]
        seconds = GaugeMetricFamily(
            "onnxmodel_operator_proven_p50_seconds",
            "Median that one client got in the load test, at the smallest batch.",
            labels=labels,
        )
        rows = GaugeMetricFamily(
            "onnxmodel_operator_proven_rows_per_second",
            "Rows per second of one replica at the best point of the load test.",
            labels=labels,
        )
        for key, (median, throughput) in self._proven().items():
            seconds.add_metric(key, median)
            rows.add_metric(key, throughput)
        yield from (seconds, rows)


class Models(Collector):
    """Gauges of the models, and of those that wait. Empty where another replica may lead: this one's view is old."""

    _MOST = 20

    def __init__(
        self,
        phases: Callable[[], Mapping[str, int]],
        ages: Callable[[], Mapping[Any, float]],
        depth: Callable[[], int],
        leads: Callable[[], bool],
    ) -> None:
        """phases: how many models are in each. ages: by namespace, how long its oldest waiting model waits, in seconds.
        depth: how many wait.
        """
        self._phases, self._ages, self._depth, self._leads = phases, ages, depth, leads

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges. Called at each scrape."""
        if not self._leads():
            return
        models = GaugeMetricFamily("onnxmodel_operator_models", "Models by phase.", labels=["phase"])
        for phase, count in self._phases().items():
            models.add_metric([phase], count)
        yield models
        yield GaugeMetricFamily(
            "onnxmodel_operator_queue_depth", "Models that wait for a reconcile.", value=self._depth()
        )
        ages = GaugeMetricFamily(
            "onnxmodel_operator_queue_age_seconds",
            f"How long the oldest waiting model of a namespace has waited, for the {self._MOST} that have "
            "waited longest.",
            labels=["namespace"],
        )
        for namespace, seconds in sorted(self._ages().items(), key=lambda item: -item[1])[: self._MOST]:
            ages.add_metric([str(namespace)], seconds)
        yield ages
