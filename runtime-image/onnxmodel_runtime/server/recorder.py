"""The record of the server's work, and its two views: statistics (Triton's extension) and metrics (Prometheus).

Only the event loop's thread writes and reads it.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.server.errors import Ended, Reason
from onnxmodel_runtime.server.protocol.request import VERSION

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Sum:
    """The number of events, and their total duration in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += ns


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Fine enough to see a p99 that is a fifth higher: those of SECONDS are among them, and each is at most a quarter higher than
# the one before.
_STEPS = (1.0, 1.2, 1.5, 1.8, 2.1, 2.5, 3.0, 3.6, 4.3, 5.0, 6.0, 7.2, 8.5)
_FINE = tuple(float(f"{step}e{power}") for power in range(-4, 1) for step in _STEPS)
LATENCIES = (*_FINE, SECONDS[-1])
ROWS = tuple(float(1 << power) for power in range(13))  # to 4096, the largest batch that a spec may ask for


class Histogram:
    """The number of values at or below each bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        """Return the samples in Prometheus' text format."""
        total = 0
        lines = []
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
        return [*lines, f"{name}_sum{{{labels}}} {_number(self._sum)}", f"{name}_count{{{labels}}} {total}"]


@dataclass(slots=True)  # one for each request: frozen, it would take three times as long to make
class Compute:
    """Nanoseconds of one execution: joining the requests' tensors, running the model, taking the answers apart."""

    input: int
    infer: int
    output: int


@dataclass(slots=True)
class Computes:
    """Sums over executions, or over the requests in them."""

    input: Sum = field(default_factory=Sum)
    infer: Sum = field(default_factory=Sum)
    output: Sum = field(default_factory=Sum)

    def add(self, compute: Compute) -> None:
        """Count one more."""
        self.input.add(compute.input)
        self.infer.add(compute.infer)
        self.output.add(compute.output)


class Recorder:
    """Counts requests and executions of one model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._success, self._fail, self._queue = Sum(), Sum(), Sum()
        self._requests = Computes()
        self._batches: defaultdict[int, Computes] = defaultdict(Computes)
        self._failures = dict.fromkeys(Reason, 0)
        self._inferences = 0
        self._executions = 0
        self._last = 0
        self._use: ProviderUse | None = None
        self._load_seconds = 0.0
        self._request_seconds, self._queue_seconds = Histogram(LATENCIES), Histogram(SECONDS)
        self._execution_seconds = Histogram(SECONDS)
        self._batch_rows = Histogram(ROWS)
        self._ended = dict.fromkeys(Ended, 0)
        self.waiting: Callable[[], int] = lambda: 0
        """Tells how many requests wait: the scheduler's."""

    @property
    def pending(self) -> int:
        """Requests that wait for an instance."""
        return self.waiting()

    def loaded(self, use: ProviderUse, seconds: float) -> None:
        """Record the loaded model: the provider that runs it, and the durations of loading and proving."""
        self._use, self._load_seconds = use, seconds

    def execution(self, rows: int, compute: Compute) -> None:
        """Record a run of the model for this many rows."""
        self._executions += 1
        self._batches[rows].add(compute)
        self._batch_rows.add(rows)
        self._execution_seconds.add((compute.input + compute.infer + compute.output) / 1e9)

    def success(self, rows: int, total: int, queue: int, compute: Compute) -> None:
        """Record a successful request. The times are its own; those of a shared run count in full."""
        self._success.add(total)
        self._queue.add(queue)
        self._requests.add(compute)
        self._inferences += rows
        self._request_seconds.add(total / 1e9)
        self._queue_seconds.add(queue / 1e9)
        self._last = time.time_ns() // 1_000_000

    def failure(self, reason: Reason, total: int) -> None:
        """Record a failed request."""
        self._fail.add(total)
        self._failures[reason] += 1

    def ended(self, why: Ended) -> None:
        """Record that the watchdog ended a request."""
        self._ended[why] += 1

    def statistics(self) -> dict[str, Any]:
        """Return an entry of `model_stats`."""
        none = {"count": 0, "ns": 0}
        return {
            "name": self._model,
            "version": VERSION,
            "last_inference": self._last,
            "inference_count": self._inferences,
            "execution_count": self._executions,
            "inference_stats": {
                "success": _duration(self._success),
                "fail": _duration(self._fail),
                "queue": _duration(self._queue),
                **_computes(self._requests),
                "cache_hit": none,
                "cache_miss": none,
            },
            "batch_stats": [{"batch_size": rows, **_computes(self._batches[rows])} for rows in sorted(self._batches)],
            "memory_usage": [],
        }

    def metrics(self) -> str:
        """Return Prometheus' text format under Triton's names: dashboards and autoscalers need not know the runtime."""
        labels = f'model="{_escape(self._model)}",version="{VERSION}"'
        lines: list[str] = []

        def family(name: str, kind: str, text: str, samples: Mapping[str, float]) -> None:
            lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
            lines.extend(f"{name}{{{extra}}} {_number(value)}" for extra, value in samples.items())

        def counter(name: str, text: str, value: int) -> None:
            family(f"nv_inference_{name}", "counter", text, {labels: value})

        def histogram(name: str, text: str, values: Histogram) -> None:
            family(name, "histogram", text, {})
            lines.extend(values.lines(name, labels))

        reasons = {f'{labels},reason="{reason}"': count for reason, count in self._failures.items()}
        counter("request_success", "Number of successful inference requests", self._success.count)
        family("nv_inference_request_failure", "counter", "Number of failed inference requests", reasons)
        ended = {f'{labels},reason="{why}"': count for why, count in self._ended.items()}
        name = "onnxmodel_requests_ended_by_watchdog_total"
        family(name, "counter", "Requests that would not have ended by themselves", ended)
        counter("count", "Number of inferences performed (rows)", self._inferences)
        counter("exec_count", "Number of model executions performed", self._executions)
        # As in Triton the durations are those of successful requests.
        for name, what, total in (
            ("request", "request", self._success.ns),
            ("queue", "queuing", self._queue.ns),
            ("compute_input", "compute input", self._requests.input.ns),
            ("compute_infer", "compute inference", self._requests.infer.ns),
            ("compute_output", "inference compute output", self._requests.output.ns),
        ):
            counter(f"{name}_duration_us", f"Cumulative {what} duration in microseconds", total // 1000)
        gauges: list[tuple[str, str, Mapping[str, float]]] = [
            ("nv_inference_pending_request_count", "Instantaneous number of pending requests", {labels: self.pending})
        ]
        if self._use is not None:
            nodes = {f'{labels},provider="{_escape(name)}"': count for name, count in self._use.nodes.items()}
            share = {f'{labels},provider="{_escape(self._use.name)}"': self._use.share_percent / 100}
            gauges += [
                ("nv_model_load_duration_secs", "Model load time in seconds", {labels: self._load_seconds}),
                ("onnxmodel_provider_nodes", "Nodes of the model's graph that an execution provider runs", nodes),
                ("onnxmodel_provider_share_ratio", "Share of the nodes that the serving provider runs", share),
            ]
        for name, text, samples in gauges:
            family(name, "gauge", text, samples)
        # Triton has no histogram of requests that get one answer each: these have names of our own.
        histogram(
            "onnxmodel_request_duration_seconds", "Time in the server of successful requests", self._request_seconds
        )
        histogram("onnxmodel_queue_duration_seconds", "Time in the queue of successful requests", self._queue_seconds)
        # Triton's durations count an execution once for each request in it.
        histogram("onnxmodel_execution_duration_seconds", "Time of a model execution", self._execution_seconds)
        histogram("onnxmodel_batch_rows", "Rows of a model execution", self._batch_rows)
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _duration(value: Sum) -> dict[str, int]:
    return {"count": value.count, "ns": value.ns}


def _computes(value: Computes) -> dict[str, dict[str, int]]:
    return {
        "compute_input": _duration(value.input),
        "compute_infer": _duration(value.infer),
        "compute_output": _duration(value.output),
    }


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
