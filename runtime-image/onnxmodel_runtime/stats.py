"""The few numbers that a benchmark reports."""

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank: a latency that was really measured. ordered: ascending. With few samples p99 is the maximum."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def significant(value: float, digits: int = 4) -> float:
    """Rounded to significant digits: noise does not compress, and a termination message is small."""
    return float(f"{value:.{digits}g}")
