"""Whether a stage's result can be worked with.

It comes from a pod that parses untrusted models, perhaps from an image of another version: what decides and what is
written to status must not be surprised by it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Point
from onnxmodel_runtime.contract.codec import field_names
from onnxmodel_runtime.contract.loadtest import LoadTestRequest, LoadTestResult
from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE, BATCH_UNKNOWN
from onnxmodel_runtime.contract.optimize import ORIGINAL, OptimizeResult, Variant
from onnxmodel_runtime.contract.outcome import decode
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.validate import ValidateResult

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 1024  # what a pod's own arguments take of a variant's words
_LARGEST = 2**63 - 1  # what the API server can store
_SIZES, _SIZE = 64, 2**20  # as spec.validation.sizes has them


def problem(stage: Stage, request: Any, message: str) -> str | None:
    """What is wrong with a stage's outcome, or None. message: one that can be decoded."""
    outcome = decode(message)
    result = outcome.result
    if outcome.command != stage or type(result) is not STAGES[stage].result:
        return f"it is of {outcome.command!r}"
    if not 0 <= outcome.seconds < math.inf:
        return "its duration is no number"
    if isinstance(result, ValidateResult | BenchmarkResult) and not _sizes(result.sizes):
        return f"its sizes are more than {_SIZES}, or not from 1 to {_SIZE}"
    match result:
        case ValidateResult():
            return _validated(request, result)
        case OptimizeResult():
            return _optimized(result) or _stored(message)
        case BenchmarkResult():
            return _measured(request, result) or _stored(message)
        case LoadTestResult():
            return _tested(request, result)
        case ProbeResult():
            return _stored(message)
    return None


def _sizes(sizes: Mapping[str, int]) -> bool:
    return len(sizes) <= _SIZES and all(1 <= size <= _SIZE for size in sizes.values())


@lru_cache(maxsize=1024)
def _stored(message: str) -> str | None:
    """A number that no status can hold: the API server would refuse every status with it."""
    return None if _fits(decode(message).result) else "one of its numbers is out of range"


def _fits(value: Any) -> bool:
    """Whether all numbers do, however deep."""
    kind: Any = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(abs(value) <= _LARGEST)
    if kind is dict:
        return all(map(_fits, value.values()))
    if kind is tuple:
        return all(map(_fits, value))
    return all(_fits(getattr(value, name)) for name in field_names(kind))


def _validated(request: Any, result: ValidateResult) -> str | None:
    facts = result.model
    if not _SHA256.fullmatch(facts.sha256):
        return "the model's digest is none"
    if request.sha256 and request.sha256 != facts.sha256:
        return f"the model has the digest {facts.sha256}, source.sha256 is {request.sha256}"
    numbers = [facts.bytes, facts.ir_version, facts.opset, facts.nodes, facts.parameters]
    numbers += [axis for tensor in (*facts.inputs, *facts.outputs) for axis in tensor.shape]
    return (
        None if all(-1 <= number <= _LARGEST for number in numbers) else "a number of the model's facts is out of range"
    )


def _optimized(result: OptimizeResult) -> str | None:
    names = [variant.name for variant in result.variants]
    if len(set(names)) != len(names) or len(names) > 16:
        return "its variants are not told apart by name"
    if result.batch not in (BATCH_UNKNOWN, BATCH_FIRST, BATCH_NONE):
        return f"{result.batch[:20]!r} says nothing of its batch axis"
    original = next((variant for variant in result.variants if variant.name == ORIGINAL), None)
    if original is None or not original.path:
        return "the original is not among its variants"
    return next((wrong for variant in result.variants if (wrong := _variant(variant))), None)


def _variant(variant: Variant) -> str | None:
    if variant.path and not _SHA256.fullmatch(variant.sha256):
        return f"variant {variant.name} has no digest"
    if not variant.path and not variant.skipped:
        return f"variant {variant.name} has neither a file nor a reason"
    if variant.path and variant.name != ORIGINAL and variant.parity is None:
        return f"variant {variant.name} was not compared with the original"
    if variant.unjoined and len(variant.unjoined) > _LONGEST:
        return f"variant {variant.name} says too much of why it is not joined"
    parity = variant.parity
    if parity and not all(map(math.isfinite, (parity.max_absolute, parity.max_relative, parity.cosine))):
        return f"the parity of variant {variant.name} is no number"
    return None


def _measured(request: BenchmarkRequest, result: BenchmarkResult) -> str | None:
    measured = {
        c.name: {(point.batch_size, point.concurrency) for point in result.points if point.variant == c.name}
        for c in request.candidates
    }
    # Not the whole grid: a model without a batch axis runs at its own size alone.
    for name, points in measured.items():
        # A variant that could not be measured is none; the original is what the others are measured against.
        if points != measured[ORIGINAL] and (points or name == ORIGINAL):
            return f"{name} was not measured where the original was"
    if not measured.get(ORIGINAL):
        return "the original was not measured"
    return _numbers(result.points)


def _tested(request: LoadTestRequest, result: LoadTestResult) -> str | None:
    asked = [(request.variant, load.batch_size, load.concurrency) for load in request.loads]
    if [(point.variant, point.batch_size, point.concurrency) for point in result.points] != asked:
        return "it is not of the loads that were asked for"
    return _numbers(result.points)


def _numbers(points: Iterable[Point]) -> str | None:
    """A grid that is too large for a termination message comes without p90."""
    sound = all(
        0 <= p.p90 < math.inf and all(0 < number < math.inf for number in (p.p50, p.p95, p.p99, p.throughput))
        for p in points
    )
    return None if sound else "a measurement is no positive number"
