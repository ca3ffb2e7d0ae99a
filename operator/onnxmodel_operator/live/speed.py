"""Compare the live executions of a model with what was proven of its revision before it took traffic.

A client's latency depends on how many others there are, and queueing is a matter of replicas. So it is the executions that
are compared: the mean duration of those in the servers, with what one of as many rows can have taken at most in the load
test, where clients measured it from outside.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from onnxmodel_operator.live.windows import Live, Window

SPAN_SECONDS = 60.0
"""Long enough for three readings of each pod, of which it shares the last with the next span."""
_SHARED_SECONDS = 5.0
_SPANS = 3
_LEAST_REQUESTS = 30
_BEYOND = 2.0
"""Larger batches than this multiple of the measured one may cost more for each row."""
_FORGOTTEN_SECONDS = 600.0
_CLEARLY = 0.75
"""A revision counts as fast again below this share of the limit, so that nothing flips back and forth at it."""


@dataclass(frozen=True, slots=True)
class Proven:
    """The figures of one replica of a revision in its load test.

    milliseconds: median of what one client got, at the smallest batch. rows_per_second: at the best point, with all
    instances at work, and requests of so many rows (batch).
    """

    revision: str
    milliseconds: float
    rows_per_second: float
    batch: int
    instances: int = 1

    def at_most(self, rows: float) -> float:
        """Return the milliseconds that an execution of so many rows can have taken in the load test.

        One client alone waits for at least one execution. Under the highest load each instance takes its share of the
        throughput; a further row costs no more than it does then.
        """
        each = 1000 / self.rows_per_second if self.rows_per_second else 0.0
        return max(self.milliseconds + max(0.0, rows - 1) * each, rows * each * self.instances)


@dataclass(frozen=True, slots=True)
class Speed:
    """The mean duration of live executions, and what was proven for as many rows, in milliseconds."""

    milliseconds: float
    proven: float
    rows: float

    @property
    def ratio(self) -> float:
        """The live figure as a multiple of the proven one."""
        return self.milliseconds / self.proven


def speed(window: Window | None, proven: Proven) -> Speed | None:
    """Return how fast the executions of a window were. None where too few are known, or nothing was proven of as many rows.

    Triton counts the time of an execution once for each request in it: nothing is known where requests share one.
    """
    if window is None or window.requests < _LEAST_REQUESTS or not proven.milliseconds:
        return None
    counts = window.counts
    if not counts.executions or not counts.successes:
        return None
    rows, seconds = counts.rows / counts.executions, counts.run_seconds
    if seconds is None and counts.successes <= counts.executions:
        seconds = counts.computing
    if seconds is None or rows > _BEYOND * proven.batch:
        return None
    return Speed(1000 * seconds / counts.executions, proven.at_most(rows), rows)


def latest(live: Live, proven: Proven) -> Speed | None:
    """Return the speed in the newest span."""
    end = _end(live, proven.revision)
    return _between(live, proven, end, SPAN_SECONDS, 0) if end else None


def is_slow(live: Live, proven: Proven, factor: float, was: bool) -> bool:
    """Return whether a revision is slower than proven by the factor. was: the last answer, which stays while in doubt.

    It takes several spans in a row to become slow, as many to become fast again, or so long without traffic that nobody
    would notice. The newest reading is the present, so that all who ask get one answer.
    """
    end = _end(live, proven.revision)
    if end is None:
        return was
    ratios = [_ratio(_between(live, proven, end, (n + 1) * SPAN_SECONDS, n * SPAN_SECONDS)) for n in range(_SPANS)]
    if not was:
        return all(ratio is not None and ratio > factor for ratio in ratios)
    fast = all(ratio is not None and ratio < _CLEARLY * factor for ratio in ratios)
    return not (fast or _is_forgotten(live, proven.revision, end))


def _between(live: Live, proven: Proven, end: datetime, first: float, last: float) -> Speed | None:
    since, until = end - timedelta(seconds=first + _SHARED_SECONDS), end - timedelta(seconds=last)
    return speed(live.window(proven.revision, since, until), proven)


def _ratio(found: Speed | None) -> float | None:
    return found.ratio if found else None


def _is_forgotten(live: Live, revision: str, end: datetime) -> bool:
    """Return whether the revision had hardly any requests for long."""
    window = live.window(revision, end - timedelta(seconds=_FORGOTTEN_SECONDS), end)
    return (
        window is not None and window.seconds > _FORGOTTEN_SECONDS - SPAN_SECONDS and window.requests < _LEAST_REQUESTS
    )


def _end(live: Live, revision: str) -> datetime | None:
    pods = live.pods.get(revision, {}).values()
    return max((samples[-1].time for samples in pods if samples), default=None)
