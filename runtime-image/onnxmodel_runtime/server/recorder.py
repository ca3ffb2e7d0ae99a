"""The one record of what the server did, and its two views: statistics (Triton's extension) and metrics (Prometheus).

Only the event loop's thread writes and reads it.
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from onnxmodel_runtime.server.errors import Reason
from onnxmodel_runtime.server.protocol.request import VERSION

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Sum:
    """How often, and for how many nanoseconds altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += ns


@dataclass(frozen=True, slots=True)
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
        self.pending = 0

    def execution(self, rows: int, compute: Compute) -> None:
        """The model ran once, for this many rows."""
        self._executions += 1
        self._batches[rows].add(compute)

    def success(self, rows: int, total: int, queue: int, compute: Compute) -> None:
        """A request was answered; the times are its own, those of a shared execution in full."""
        self._success.add(total)
        self._queue.add(queue)
        self._requests.add(compute)
        self._inferences += rows
        self._last = time.time_ns() // 1_000_000

    def failure(self, reason: Reason, total: int) -> None:
        """A request was not answered."""
        self._fail.add(total)
        self._failures[reason] += 1

    def statistics(self) -> dict[str, Any]:
        """An entry of `model_stats`."""
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
        """Prometheus' text format, under Triton's names, so that dashboards and autoscalers need not know the runtime."""
        labels = f'model="{_escape(self._model)}",version="{VERSION}"'
        lines: list[str] = []

        def family(name: str, kind: str, text: str, samples: dict[str, int]) -> None:
            lines.extend((f"# HELP nv_inference_{name} {text}", f"# TYPE nv_inference_{name} {kind}"))
            lines.extend(f"nv_inference_{name}{{{extra}}} {value}" for extra, value in samples.items())

        def counter(name: str, text: str, value: int) -> None:
            family(name, "counter", text, {labels: value})

        reasons = {f'{labels},reason="{reason}"': count for reason, count in self._failures.items()}
        counter("request_success", "Number of successful inference requests", self._success.count)
        family("request_failure", "counter", "Number of failed inference requests", reasons)
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
        pending = {labels: self.pending}
        family("pending_request_count", "gauge", "Instantaneous number of pending requests", pending)
        return "\n".join(lines) + "\n"


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
