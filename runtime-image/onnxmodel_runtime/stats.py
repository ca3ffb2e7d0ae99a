"""Statistics of a benchmark."""

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile by nearest rank: a measured latency.

    ordered: ascending. With few samples p99 is the maximum.
    """
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def significant(value: float, digits: int = 4) -> float:
    """Round to significant digits: noise does not compress, and a termination message is small."""
    return float(f"{value:.{digits}g}")
