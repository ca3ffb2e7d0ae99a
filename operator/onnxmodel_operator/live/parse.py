"""Parse what a server's /metrics answers, with either runtime: Prometheus' text format into counts.

The server parses untrusted models, so its answer is untrusted. Only the lines of known metrics are read, and anything odd
about those makes the whole answer unreadable.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache

from onnxmodel_operator.live.windows import Compared, Counts, Latencies
from onnxmodel_runtime.contract.compare import DIFFERENCE, METRIC, MOST_ORDERS, RESULTS

MOST_BYTES = 1 << 20
_MOST_LINES = 10_000
_MOST_SAMPLES, _MOST_BOUNDS = 1000, 128
_LONGEST = 2000
_LARGEST = float(1 << 53)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:, ?)?')
_HISTOGRAM, _RUNS = "onnxmodel_request_duration_seconds", "onnxmodel_execution_duration_seconds"
_FIELDS = {
    "nv_inference_request_success": "successes",
    "nv_inference_request_duration_us": "seconds",
    "nv_inference_exec_count": "executions",
    "nv_inference_count": "rows",
    "nv_inference_compute_input_duration_us": "computing",
    "nv_inference_compute_infer_duration_us": "computing",
    "nv_inference_compute_output_duration_us": "computing",
    f"{_RUNS}_sum": "run_seconds",
}
_LARGEST_DIFFERENCE = "largest"
_LAST = ',le="'
_FAILURE = "nv_inference_request_failure"
# What is not a client's fault is the server's, whatever a later release calls it.
_BY_REASON = {"CANCELED": "canceled", "OTHER": "refused"}
_BUCKET = f"{_HISTOGRAM}_bucket"
_NAMES = (*_FIELDS, _FAILURE, _BUCKET, METRIC, DIFFERENCE)


class UnreadableError(ValueError):
    """An answer that cannot be read."""


def parse(answer: bytes, model: str) -> Counts:
    """Return the counts of one model. Raises UnreadableError."""
    numbers = dict.fromkeys({*_FIELDS.values(), *_BY_REASON.values(), "failures"}, 0.0)
    told, buckets, compared = set(), dict[str, float](), dict[str, dict[str, float]]()
    for name, labels, value in _samples(answer):
        if labels.get("model") != model:
            continue
        if name == _BUCKET:
            buckets[labels.get("le", "")] = buckets.get(labels.get("le", ""), 0.0) + value
            continue
        if name in (METRIC, DIFFERENCE):
            known = compared.setdefault(labels.get("order", ""), {})
            known[labels.get("result", "") if name == METRIC else _LARGEST_DIFFERENCE] = value
            continue
        field = _BY_REASON.get(labels.get("reason", ""), "failures") if name == _FAILURE else _FIELDS[name]
        numbers[field] += value / 1e6 if name.endswith("_us") else value
        told.add(field)
    if "successes" not in told:
        raise UnreadableError(f"no metric of the model {model}")
    return Counts(
        successes=int(numbers["successes"]),
        failures=int(numbers["failures"]),
        canceled=int(numbers["canceled"]),
        refused=int(numbers["refused"]),
        seconds=numbers["seconds"],
        executions=int(numbers["executions"]),
        rows=int(numbers["rows"]),
        computing=numbers["computing"],
        run_seconds=numbers["run_seconds"] if "run_seconds" in told else None,
        latencies=_latencies(buckets) if buckets else None,
        compared=_compared(compared),
    )


def _samples(answer: bytes) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Name, labels and value of each sample of a known metric."""
    if len(answer) > MOST_BYTES or answer.count(b"\n") > _MOST_LINES:
        raise UnreadableError("the answer is too large")
    try:
        lines = answer.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UnreadableError(str(error)) from error
    known = 0
    for line in lines:
        name, opened, rest = line.partition("{")
        if not opened or name not in _NAMES:
            continue
        known += 1
        inside, closed, value = rest.rpartition("}")
        if not closed or len(rest) > _LONGEST or known > _MOST_SAMPLES:
            raise UnreadableError(f"{name}: too many samples, or one that does not end")
        others, last, bound = inside.rpartition(_LAST)
        if last and bound[-1:] == '"' and '"' not in bound[:-1] and "\\" not in bound:
            yield name, {**_labels(name, others), "le": bound[:-1]}, _number(name, value)
        else:
            yield name, _labels(name, inside), _number(name, value)


@lru_cache(maxsize=4096)
def _labels(name: str, text: str) -> Mapping[str, str]:
    """The labels of a sample. Each character is looked at once: a search would take the square of a hostile length.

    Those of all buckets of a histogram are the same, but for the bound.
    """
    labels, position = dict[str, str](), 0
    while position < len(text):
        found = _LABEL.match(text, position)
        if not found:
            raise UnreadableError(f"{name}: not a label")
        labels[found[1]] = found[2]
        position = found.end()
    return labels


def _number(name: str, text: str) -> float:
    try:
        value = float(text.split()[0])
    except (ValueError, IndexError) as error:
        raise UnreadableError(f"{name}: not a number") from error
    if not 0 <= value < _LARGEST:
        raise UnreadableError(f"{name}: not a count")  # nor is NaN
    return value


def _compared(found: Mapping[str, Mapping[str, float]]) -> Mapping[str, Compared]:
    if len(found) > MOST_ORDERS:
        raise UnreadableError(f"{METRIC}: too many orders")
    return {
        order: Compared(
            **{result: int(counts.get(result, 0)) for result in RESULTS}, largest=counts.get(_LARGEST_DIFFERENCE, 0.0)
        )
        for order, counts in found.items()
    }


def _latencies(buckets: dict[str, float]) -> Latencies:
    """The histogram with these counts by upper bound."""
    if len(buckets) > _MOST_BOUNDS or "+Inf" not in buckets:
        raise UnreadableError(f"{_HISTOGRAM}: not a histogram")
    known = {_bound(bound): int(count) for bound, count in buckets.items() if bound != "+Inf"}
    bounds, total = _shared(tuple(sorted(known))), int(buckets["+Inf"])
    counts = [known[bound] for bound in bounds]
    if [*counts, total] != sorted([*counts, total]):
        raise UnreadableError(f"{_HISTOGRAM}: counts do not grow")
    return Latencies(bounds, array("q", counts), total)  # many are kept: a fifth of a tuple's memory


@lru_cache(maxsize=1024)
def _bound(text: str) -> float:
    return _number(_HISTOGRAM, text)


@lru_cache(maxsize=16)
def _shared(bounds: tuple[float, ...]) -> tuple[float, ...]:
    return bounds
