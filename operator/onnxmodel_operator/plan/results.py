"""Checks of a stage's result before anything relies on it.

The result comes from a pod that parses untrusted models, perhaps from an image of another version. Decisions and status
must be safe from any content of it.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.contract.codec import field_names
from onnxmodel_runtime.contract.outcome import decode
from onnxmodel_runtime.contract.stages import STAGES, Request, Stage

_SHA256 = re.compile(r"[0-9a-f]{64}")
LARGEST = 2**63 - 1  # what the API server can store
_SIZES, _SIZE = 64, 2**20  # as spec.validation.sizes has them


def problem(stage: Stage, request: Request, message: str, believe: Callable[[Any, Any], str | None]) -> str | None:
    """Return what is wrong with a stage's outcome, or None.

    message: one that can be decoded. believe: of the stage.
    """
    outcome = decode(message)
    if outcome.command != stage or type(outcome.result) is not STAGES[stage].result:
        return f"it belongs to the stage {outcome.command!r}"
    if not 0 <= outcome.seconds < math.inf:
        return "its duration is not a number"
    return believe(request, outcome.result) or _stored(message)


def odd_sizes(sizes: Mapping[str, int]) -> str | None:
    """Return what is wrong with the sizes of dynamic axes, or None."""
    sound = len(sizes) <= _SIZES and all(1 <= size <= _SIZE for size in sizes.values())
    return None if sound else f"it has more than {_SIZES} sizes, or one that is not from 1 to {_SIZE}"


def odd_numbers(points: Iterable[Point]) -> str | None:
    """Return what is wrong with measurements, or None.

    A grid that is too large for a termination message comes without p90.
    """
    sound = all(
        0 <= p.p90 < math.inf and all(0 < number < math.inf for number in (p.p50, p.p95, p.p99, p.throughput))
        for p in points
    )
    return None if sound else "a measurement is not a positive number"


def is_sha256(digest: str) -> bool:
    """Return whether the digest is a SHA-256 in lower-case hexadecimal."""
    return bool(_SHA256.fullmatch(digest))


@lru_cache(maxsize=1024)
def _stored(message: str) -> str | None:
    """A number that no status can hold: the API server would refuse every status with it."""
    return None if _fits(decode(message).result) else "one of its numbers is out of range"


def _fits(value: Any) -> bool:
    """Return whether all numbers are finite and small enough to store, at any depth."""
    kind: Any = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(abs(value) <= LARGEST)
    if kind is dict:
        return all(map(_fits, value.values()))
    if kind is tuple:
        return all(map(_fits, value))
    return all(_fits(getattr(value, name)) for name in field_names(kind))
