"""Compute the work of a revision's servers between two times, from the counts that each of its pods reported.

A percentile comes from a histogram's buckets and is no finer than they are. Where a server has no histogram (Triton),
there is none, and the mean is all that is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

MOST_SAMPLES = 64
"""Samples of a pod that are kept. The older half gets thinner as new ones arrive: old windows begin less exactly."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Cumulative counts of a histogram: how many requests took at most each of the bounds, in seconds, and all of them."""

    bounds: tuple[float, ...]
    counts: Sequence[int]
    all: int

    def milliseconds(self, percent: float) -> float | None:
        """Return a percentile, interpolated within its bucket. Beyond the last bound it is that bound."""
        rank, below, low = self.all * percent / 100, 0, 0.0
        if not self.all or not self.bounds:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank and count > below:
                return 1000 * (low + (bound - low) * (rank - below) / (count - below))
            below, low = count, bound
        return 1000 * self.bounds[-1]


@dataclass(frozen=True, slots=True)
class Compared:
    """Answers of a server that were compared with a candidate's. largest: difference between two numbers.

    failed: the candidate gave no answer. dropped: it was not asked.
    """

    agreed: int = 0
    differed: int = 0
    failed: int = 0
    dropped: int = 0
    largest: float = 0.0

    @property
    def all(self) -> int:
        """The number of compared answers."""
        return self.agreed + self.differed


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts since a server's start, or of a window. Durations are sums in seconds.

    failures: for which the server is to blame: its queue was full, or the model failed. canceled: by the client, which
    may have waited too long. refused: wrong requests. seconds: of successes. executions: runs of the model, of so many
    rows in all. computing: sum of the runs' durations, each counted once for each request in it.
    run_seconds: the same, each counted once; None where the server does not report it. compared: by the key of the order.
    """

    successes: int = 0
    failures: int = 0
    canceled: int = 0
    refused: int = 0
    seconds: float = 0.0
    executions: int = 0
    rows: int = 0
    computing: float = 0.0
    run_seconds: float | None = None
    latencies: Latencies | None = None
    compared: Mapping[str, Compared] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """Counts of one pod at one time."""

    time: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class Window:
    """The work of a revision in a span of time. requests: successes and failures, without what clients got wrong or gave up.

    p50, p99 and mean: milliseconds in the server of successful requests, queueing included. None: not known.
    """

    seconds: float
    requests: int
    failures: int
    p50: float | None = None
    p99: float | None = None
    mean: float | None = None
    canceled: int = 0
    refused: int = 0
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class Live:
    """The samples of one model: by revision and pod, oldest first. Replaced, never changed."""

    pods: Mapping[str, Mapping[str, Sequence[Reading]]] = field(default_factory=dict)

    def window(self, revision: str, since: datetime, now: datetime) -> Window | None:
        """Return what the revision's pods did between the first and the last sample of each in this time.

        None if no pod has two samples in it. A pod whose counts went down has restarted: it counts from zero again.
        """
        kept = [
            [sample for sample in samples if since <= sample.time <= now]
            for samples in self.pods.get(revision, {}).values()
        ]
        spans = [samples for samples in kept if len(samples) > 1]
        if not spans:
            return None
        began, ended = min(span[0].time for span in spans), max(span[-1].time for span in spans)
        counts = _sum(_step(*pair) for span in spans for pair in pairwise(span))
        return of(counts, (ended - began).total_seconds())


def of(counts: Counts, seconds: float) -> Window:
    """Return the window with these counts."""
    latencies, successes = counts.latencies, counts.successes
    return Window(
        seconds=seconds,
        requests=successes + counts.failures,
        failures=counts.failures,
        p50=latencies.milliseconds(50) if latencies else None,
        p99=latencies.milliseconds(99) if latencies else None,
        mean=1000 * counts.seconds / successes if successes else None,
        canceled=counts.canceled,
        refused=counts.refused,
        counts=counts,
    )


def thinned(samples: Sequence[Reading]) -> Sequence[Reading]:
    """Return the samples without every second one of the older half if there are too many."""
    if len(samples) <= MOST_SAMPLES:
        return samples
    half = len(samples) // 2
    return (*samples[:half:2], *samples[half:])


def _step(before: Reading, after: Reading) -> Counts:
    """The counts between two samples of one pod."""
    old, new = before.counts, after.counts
    shrunk = any(float(getattr(new, name)) < float(getattr(old, name)) for name in _NUMBERS)
    latencies = _less(new.latencies, old.latencies)
    if shrunk or (new.latencies and old.latencies and latencies is None):
        return new
    numbers = {name: getattr(new, name) - getattr(old, name) for name in _NUMBERS}
    known = new.run_seconds is not None and old.run_seconds is not None and new.run_seconds >= old.run_seconds
    run_seconds = (new.run_seconds or 0.0) - (old.run_seconds or 0.0) if known else None
    compared = {name: _since(old.compared.get(name), counts) for name, counts in new.compared.items()}
    return Counts(**numbers, run_seconds=run_seconds, latencies=latencies, compared=compared)


def _since(old: Compared | None, new: Compared) -> Compared:
    """The answers compared between two samples. A server that forgot the order counts anew."""
    if old is None or any(getattr(new, name) < getattr(old, name) for name in _RESULTS):
        return new
    return Compared(**{name: getattr(new, name) - getattr(old, name) for name in _RESULTS}, largest=new.largest)


def _less(new: Latencies | None, old: Latencies | None) -> Latencies | None:
    """The difference of two histograms of one server. None if there is none."""
    if new is None or old is None or new.bounds != old.bounds or new.all < old.all:
        return None
    counts = tuple(after - before for after, before in zip(new.counts, old.counts, strict=True))
    return Latencies(new.bounds, counts, new.all - old.all) if min(counts, default=0) >= 0 else None


def _sum(parts: Iterable[Counts]) -> Counts:
    """The sum. What one part does not know, the sum does not know either; bounds are those that all parts have."""
    every = list(parts)
    numbers = {name: sum(getattr(part, name) for part in every) for name in _NUMBERS}
    runs = [part.run_seconds for part in every if part.run_seconds is not None]
    histograms = [part.latencies for part in every if part.latencies]
    orders = dict.fromkeys(name for part in every for name in part.compared)
    return Counts(
        **numbers,
        run_seconds=sum(runs) if len(runs) == len(every) else None,
        latencies=_merged(histograms) if len(histograms) == len(every) else None,
        compared={name: _added(every, name) for name in orders},
    )


def _added(parts: Iterable[Counts], order: str) -> Compared:
    found = [part.compared[order] for part in parts if order in part.compared]
    numbers = {name: sum(getattr(part, name) for part in found) for name in _RESULTS}
    return Compared(**numbers, largest=max(part.largest for part in found))


def _merged(histograms: Sequence[Latencies]) -> Latencies:
    bounds = tuple(sorted(set.intersection(*(set(part.bounds) for part in histograms))))
    tables = [dict(zip(part.bounds, part.counts, strict=True)) for part in histograms]
    counts = tuple(sum(table[bound] for table in tables) for bound in bounds)
    return Latencies(bounds, counts, sum(part.all for part in histograms))


_RESULTS = ("agreed", "differed", "failed", "dropped")
_NUMBERS = ("successes", "failures", "canceled", "refused", "seconds", "executions", "rows", "computing")
