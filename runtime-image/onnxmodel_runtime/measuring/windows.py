"""The stop rule of a measurement, as functions of the windows so far.

As in Triton's Model Navigator and perf_analyzer, a candidate is stable when its last three windows agree. Candidates
are compared with each other, so they go on together until all are, and the same turns count for all of them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.stats import percentile, significant

STABLE = 3  # windows that must agree
PERCENTS = (5, 25, 50, 75, 90, 95, 99, 100)


@dataclass(frozen=True)
class Window:
    """One turn of one candidate. answers: all of them, also those that are not in `latencies` (seconds, ascending)."""

    seconds: float
    answers: int
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    @cached_property
    def p50(self) -> float:
        """Median latency in seconds."""
        return percentile(self.latencies, 50)


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a point's latencies: milliseconds at PERCENTS. windows: their number."""

    variant: str
    batch_size: int
    concurrency: int
    windows: int
    milliseconds: tuple[float, ...]


def stable(taken: Sequence[Window], percent: float) -> bool:
    """Return whether rate and p50 of the last three windows are within `percent` of their mean."""
    last = taken[-STABLE:]
    return len(last) == STABLE and all(
        _agree(values, percent) for values in ([window.rate for window in last], [window.p50 for window in last])
    )


def settled(taken: Sequence[Sequence[Window]], percent: float) -> bool:
    """Return whether all candidates are stable in the same turns."""
    return all(stable(windows, percent) for windows in taken)


def counted(taken: Sequence[Sequence[Window]], percent: float) -> list[Sequence[Window]]:
    """Return the windows that count for each candidate: the last three if all candidates are stable, else all."""
    return [windows[-STABLE:] if settled(taken, percent) else windows for windows in taken]


def spread(used: Sequence[Window], beside: Sequence[Window]) -> int:
    """By how many percent, rounded up, the middle half of the turns lies off their median: the larger of p50 and rate.

    Both as ratios to what the original did in the same turn (beside): what slows both of them down at a time is no reason to
    doubt which one is faster.
    """
    pairs = list(zip(used, beside, strict=True))
    ratios = ([mine.p50 / other.p50 for mine, other in pairs], [mine.rate / other.rate for mine, other in pairs])
    return math.ceil(round(max(map(_off_median, ratios)) * 100, 6))


def _off_median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    low, middle, high = (percentile(ordered, rank) for rank in (25, 50, 75))
    return max(high / middle - 1, 1 - low / middle)


def point(
    variant: str,
    batch_size: int,
    concurrency: int,
    used: Sequence[Window],
    ordered: Sequence[float],
    *,
    noisy: bool,
    spread: int = 0,
) -> Point:
    """Summarize the windows that count. ordered: their latencies."""
    p50, p90, p95, p99 = (significant(percentile(ordered, rank) * 1000) for rank in (50, 90, 95, 99))
    rate = sum(window.answers for window in used) / sum(window.seconds for window in used)
    throughput = significant(batch_size * rate)
    return Point(
        variant,
        batch_size,
        concurrency,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        throughput=throughput,
        samples=len(ordered),
        noisy=noisy,
        spread=spread,
    )


def latencies(used: Iterable[Window]) -> list[float]:
    """Return the latencies of all these windows, ascending."""
    return sorted(latency for window in used for latency in window.latencies)


def _agree(values: Sequence[float], percent: float) -> bool:
    mean = sum(values) / len(values)
    return all(abs(value - mean) <= mean * percent / 100 for value in values)
