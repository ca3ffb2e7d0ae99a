"""Reduce a benchmark's points to the numbers of each candidate."""

from collections.abc import Iterable
from dataclasses import dataclass

from onnxmodel_operator.api.status import Measured
from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Point
from onnxmodel_runtime.contract.loadtest import Load
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.text import in_words


@dataclass(frozen=True, slots=True)
class Numbers:
    """A candidate's numbers: latencies (ms) at the smallest batch size and concurrency, the best throughput and its
    place.

    noisy: one of the two did not become stable in time. p50_spread, throughput_spread: the variation in percent.
    """

    p50: float
    p95: float
    p99: float
    throughput: float
    batch_size: int
    concurrency: int
    p90: float = 0.0
    noisy: bool = False
    p50_spread: float = 0.0
    throughput_spread: float = 0.0


def remembered(measured: Measured) -> Numbers:
    """Return the numbers that status records, which lack their variation."""
    return Numbers(
        p50=measured.p50_milliseconds,
        p95=measured.p95_milliseconds,
        p99=measured.p99_milliseconds,
        throughput=measured.throughput_per_second,
        batch_size=measured.batch_size,
        concurrency=measured.concurrency,
        p90=measured.p90_milliseconds or 0.0,
    )


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The measured numbers of the revision that serves now. where: grid and hardware; only equal ones are compared."""

    revision: str
    numbers: Numbers
    where: str


def where(measured: BenchmarkResult) -> str:
    """Describe the grid, the sizes of dynamic axes and the hardware in one line.

    Figures are comparable if it is equal.
    """
    batches = sorted({point.batch_size for point in measured.points})
    callers = sorted({point.concurrency for point in measured.points})
    machine = measured.environment
    sizes = f"{in_words(measured.sizes)[:100]}; " if measured.sizes else ""
    hardware = f"{machine.accelerator or machine.processor}, {machine.cores:g} cores"
    return f"batch {','.join(map(str, batches))}; concurrency {','.join(map(str, callers))}; {sizes}{hardware}"[:253]


def numbers_of(points: Iterable[Point], variant: str) -> Numbers:
    """Return the numbers of a variant that has points."""
    mine = [point for point in points if point.variant == variant]
    single = _single(mine)
    best = max(mine, key=lambda point: point.throughput)
    return Numbers(
        single.p50,
        single.p95,
        single.p99,
        best.throughput,
        best.batch_size,
        best.concurrency,
        single.p90,
        single.noisy or best.noisy,
        single.spread,
        best.spread,
    )


def _single(points: Iterable[Point]) -> Point:
    """The point that latencies are reported of: the smallest batch size, and the lowest concurrency."""
    return min(points, key=lambda point: (point.batch_size, point.concurrency))


def attained(points: tuple[Point, ...], optimized: OptimizeResult) -> tuple[Point, ...]:
    """Drop larger batches of candidates whose requests are never batched: no client that sends one row attains them."""
    alone = {variant.name for variant in optimized.variants if variant.unjoined}
    least = {name: min((p.batch_size for p in points if p.variant == name), default=1) for name in alone}
    return tuple(p for p in points if p.variant not in alone or p.batch_size == least[p.variant])


def loads(numbers: Numbers, points: Iterable[Point], variant: str, within: float | None = None) -> tuple[Load, ...]:
    """Return the loads for the test of a variant's server: those of its latencies and of its throughput.

    within: milliseconds. Where the p99 at the best throughput is above, that of the best throughput below is one more.
    """
    mine = [point for point in points if point.variant == variant]
    single = _single(mine)
    asked = [Load(single.batch_size, single.concurrency), Load(numbers.batch_size, numbers.concurrency)]
    if within is not None:
        fits = [point for point in mine if point.p99 <= within and point.batch_size <= numbers.batch_size]
        best = max(fits, key=lambda point: point.throughput, default=single)
        asked.append(Load(best.batch_size, best.concurrency))
    return tuple(dict.fromkeys(asked))


def capacity(points: Iterable[Point], within: float | None) -> float | None:
    """Return the best throughput whose p99 is within so many milliseconds. None if there is none."""
    return max((point.throughput for point in points if within is None or point.p99 <= within), default=None)
