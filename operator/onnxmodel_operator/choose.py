"""Which candidate serves: the benchmark's numbers, the objective and the constraints in, one sentence out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.api.status import Measured
from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Point
from onnxmodel_runtime.contract.loadtest import Load
from onnxmodel_runtime.contract.optimize import ORIGINAL, OptimizeResult, Variant
from onnxmodel_runtime.contract.text import in_words, plain

INEXACT = ("fp16", "int8-dynamic", "int8-static")
"""Variants that compute with fewer bits: how they differ from the original depends on the inputs."""
_MADE = "; proven on made inputs only: give spec.validation.golden"
TIE_PERCENT = 2.0
"""A smaller difference does not count, nor does one that is smaller than what the figures vary by."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A candidate's numbers: latencies (ms) at the smallest batch size and concurrency, the best throughput and where.

    noisy: one of the two was not stable when its time was over. p50_spread, throughput_spread: by how many percent they vary.
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
    """The numbers as status tells them. It does not tell by how much they vary."""
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
class Serving:
    """What the revision that serves now was measured at. where: grid and hardware; figures of elsewhere are not compared."""

    revision: str
    numbers: Numbers
    where: str


def where(measured: BenchmarkResult) -> str:
    """The grid, the sizes of dynamic axes and the hardware, in one line that is equal for figures that may be compared."""
    batches = sorted({point.batch_size for point in measured.points})
    callers = sorted({point.concurrency for point in measured.points})
    machine = measured.environment
    sizes = f"{in_words(measured.sizes)[:100]}; " if measured.sizes else ""
    hardware = f"{machine.accelerator or machine.processor}, {machine.cores:g} cores"
    return f"batch {','.join(map(str, batches))}; concurrency {','.join(map(str, callers))}; {sizes}{hardware}"[:253]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one variant. missed: the constraints that it does not hold, in words."""

    variant: Variant
    numbers: Numbers | None
    missed: tuple[str, ...]
    selected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner (a Verdict with numbers), all verdicts in the order of the variants, and the choice in one sentence.

    served: the winner's numbers as a client of its server measured them; None until one did.
    """

    winner: Verdict
    baseline: Numbers
    verdicts: tuple[Verdict, ...]
    speedup: float
    sentence: str
    framework: str | None = None
    framework_speedup: float | None = None
    against: Serving | None = None
    served: Numbers | None = None


def choose(
    spec: Benchmark,
    optimized: OptimizeResult,
    measured: BenchmarkResult,
    serving: Serving | None = None,
    *,
    joining: bool = False,
) -> Choice:
    """The best candidate that passed parity. Constraints come first: one that meets them beats one that does not.

    A candidate is out when another is clearly better. Of those that are left, noise would choose; so a fixed order does: the
    most exact, and of equally exact ones the first in the list of variants, which begins with the original.

    serving: None when nothing serves, or nothing that can be compared with. joining: whether requests may wait for each other;
    a candidate whose requests must not be joined then counts with its smallest batch alone.
    """
    there = {point.variant for point in measured.points}
    points = _attained(measured.points, optimized) if joining else measured.points
    numbers = {v.name: _numbers(points, v.name) for v in optimized.variants if candidate(v) and v.name in there}
    comparable = serving if serving and serving.where == where(measured) else None
    missed = {
        name: (*_missed(spec, value).values(), *_regressed(spec, value, comparable)) for name, value in numbers.items()
    }
    pool = [name for name in numbers if not missed[name]] or list(numbers)
    left = [name for name in pool if not any(_clearly(spec, numbers[other], numbers[name]) for other in pool)]
    variants = {v.name: v for v in optimized.variants}
    order = list(variants)
    winner = min(left, key=lambda name: (_inexactness(variants[name]), order.index(name)))
    verdicts = tuple(
        Verdict(
            v,
            numbers.get(v.name),
            missed.get(v.name, ()),
            v.name == winner,
            _reason(spec, v, variants, winner, numbers, missed, measured.left_out.get(v.name, "the Job's log says why"))
            + (_MADE if optimized.made_inputs and v.name in INEXACT and candidate(v) else ""),
        )
        for v in optimized.variants
    )
    baseline = numbers[ORIGINAL]
    speedup = _score(spec, baseline) / _score(spec, numbers[winner])
    chosen = next(v for v in verdicts if v.selected)
    sentence = f"{winner} serves: {chosen.reason}"
    if serving and not comparable and spec.constraints.max_regression_percent is not None:
        sentence += f"; not compared with revision {serving.revision}, which was measured elsewhere ({serving.where})"
    if optimized.lowered:
        sentence += f"; {optimized.lowered}"
    if joining and variants[winner].unjoined:
        sentence += f"; requests to it are not joined: {variants[winner].unjoined}"
    if any(numbers[name].noisy for name in numbers):
        sentence += "; some figures are noisy"
    framework = spec.baseline.framework if spec.baseline else None
    return Choice(
        chosen, baseline, verdicts, speedup, sentence, framework, _framework_speedup(spec, measured, winner), serving
    )


def _attained(points: tuple[Point, ...], optimized: OptimizeResult) -> tuple[Point, ...]:
    """Without the larger batches of candidates whose requests are never joined: no client that sends one row gets them."""
    alone = {variant.name for variant in optimized.variants if variant.unjoined}
    least = {name: min((p.batch_size for p in points if p.variant == name), default=1) for name in alone}
    return tuple(p for p in points if p.variant not in alone or p.batch_size == least[p.variant])


def _framework_speedup(spec: Benchmark, measured: BenchmarkResult, winner: str) -> float | None:
    """Against what was measured elsewhere, at its batch size and one caller; None where the grid does not have that."""
    if spec.baseline is None:
        return None
    at = (winner, spec.baseline.batch_size, 1)
    same = [p.p50 for p in measured.points if (p.variant, p.batch_size, p.concurrency) == at]
    return round(spec.baseline.p50_milliseconds / same[0], 3) if same else None


def loads(numbers: Numbers, points: Iterable[Point], variant: str) -> tuple[Load, ...]:
    """Where a variant's numbers were measured, the latencies' place first: there its server is measured again."""
    single = _single([point for point in points if point.variant == variant])
    asked = (Load(single.batch_size, single.concurrency), Load(numbers.batch_size, numbers.concurrency))
    return tuple(dict.fromkeys(asked))


def as_served(spec: Benchmark, choice: Choice, points: Iterable[Point]) -> Choice:
    """The choice with what a client measured of the winner, which may miss a constraint that it held without a server."""
    winner = choice.winner
    assert winner.numbers is not None
    served, already = _numbers(points, winner.variant.name), _missed(spec, winner.numbers)
    missed = (f"as served, {words}" for limit, words in _missed(spec, served).items() if limit not in already)
    winner = replace(winner, missed=(*winner.missed, *missed))
    verdicts = tuple(winner if verdict.selected else verdict for verdict in choice.verdicts)
    return replace(choice, winner=winner, verdicts=verdicts, served=served)


def candidate(variant: Variant) -> bool:
    """Whether it may serve: it is there, and answers as the original does."""
    return bool(variant.path) and (variant.name == ORIGINAL or bool(variant.parity and variant.parity.passed))


def _numbers(points: Iterable[Point], variant: str) -> Numbers:
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
    """Where latencies are told: the smallest batch size, and the fewest callers."""
    return min(points, key=lambda point: (point.batch_size, point.concurrency))


def _score(spec: Benchmark, numbers: Numbers) -> float:
    """Lower is better."""
    return numbers.p50 if spec.objective == "Latency" else 1 / max(numbers.throughput, 1e-9)


def _apart(spec: Benchmark, mine: Numbers, other: Numbers) -> float:
    """How many percent of difference two candidates must have before it counts."""
    spreads = (n.p50_spread if spec.objective == "Latency" else n.throughput_spread for n in (mine, other))
    return max(TIE_PERCENT, sum(spreads))


def _clearly(spec: Benchmark, mine: Numbers, other: Numbers) -> bool:
    """Whether mine is better by more than noise. Never both ways, and never in a circle."""
    return _score(spec, mine) * (1 + _apart(spec, mine, other) / 100) < _score(spec, other)


def _inexactness(variant: Variant) -> float:
    return variant.parity.max_absolute if variant.parity else 0.0


def _missed(spec: Benchmark, numbers: Numbers) -> dict[str, str]:
    """By the constraint's name."""
    limits, missed = spec.constraints, {}
    if limits.p99_milliseconds is not None and numbers.p99 > limits.p99_milliseconds:
        missed["p99"] = f"p99 is {plain(numbers.p99, 6)} ms, p99Milliseconds allows {plain(limits.p99_milliseconds, 6)}"
    if limits.throughput_per_second is not None and numbers.throughput < limits.throughput_per_second:
        missed["throughput"] = (
            f"throughput is {plain(numbers.throughput, 6)} per second, throughputPerSecond asks for "
            f"{plain(limits.throughput_per_second, 6)}"
        )
    return missed


def _regressed(spec: Benchmark, numbers: Numbers, serving: Serving | None) -> tuple[str, ...]:
    limit = spec.constraints.max_regression_percent
    if limit is None or serving is None:
        return ()
    more = _more_percent(spec, numbers, serving.numbers)
    if (more if spec.objective == "Latency" else -more) <= limit:
        return ()
    words = _compared(spec, numbers, serving.numbers, f"that of revision {serving.revision}, which serves")
    return (f"{words}; maxRegressionPercent allows {plain(limit, 6)}",)


def _more_percent(spec: Benchmark, mine: Numbers, other: Numbers) -> float:
    """By how much the figure of the objective is more than the other's. Less is better for Latency alone."""
    if spec.objective == "Latency":
        return (mine.p50 / other.p50 - 1) * 100
    return (mine.throughput / max(other.throughput, 1e-9) - 1) * 100


def _what(spec: Benchmark) -> str:
    return "p50" if spec.objective == "Latency" else "throughput"


def _compared(spec: Benchmark, mine: Numbers, other: Numbers, whose: str) -> str:
    more = _more_percent(spec, mine, other)
    return f"{_what(spec)} is {abs(more):.0f} percent {'higher' if more > 0 else 'lower'} than {whose}"


def _reason(
    spec: Benchmark,
    variant: Variant,
    variants: dict[str, Variant],
    winner: str,
    numbers: dict[str, Numbers],
    missed: dict[str, tuple[str, ...]],
    left_out: str,
) -> str:
    if variant.skipped:
        return f"not made: {variant.skipped}"
    if variant.name not in numbers:
        parity = variant.parity
        assert parity is not None
        if parity.passed:
            return f"left out of the benchmark: {left_out}"
        if parity.note:
            return f"not proven: {parity.note}"
        return (
            f"not exact enough: output {parity.output} differs by {parity.max_absolute:g} absolute, "
            f"{parity.max_relative:g} relative, cosine {parity.cosine:g}"
        )
    mine, best = numbers[variant.name], numbers[winner]
    exactness = {name: _inexactness(variants[name]) for name in numbers}
    if missed[variant.name] and not missed[winner]:
        return "; ".join(missed[variant.name])
    if variant.name != winner:
        pool = [name for name in numbers if missed[winner] or not missed[name]]
        better = [name for name in pool if _clearly(spec, numbers[name], mine)]
        if better:
            which = winner if winner in better else min(better, key=lambda name: _score(spec, numbers[name]))
            return f"its {_compared(spec, mine, numbers[which], which)}"
        equal = exactness[variant.name] == exactness[winner]
        return (
            f"{_close(spec, mine, best, winner)}; {winner} is {'as exact and comes first' if equal else 'more exact'}"
        )
    others = {name: n for name, n in numbers.items() if name != winner and (missed[winner] or not missed[name])}
    if not others:
        return f"it is the only {'candidate' if len(numbers) == 1 else 'one that meets the constraints'}"
    rival = min(others, key=lambda name: _score(spec, others[name]))
    if _clearly(spec, mine, others[rival]):
        return f"its {_compared(spec, mine, others[rival], rival)}"
    equal = exactness[rival] == exactness[winner]
    exact = "both are as exact, and it comes first" if equal else "it is the more exact"
    return f"{_close(spec, mine, others[rival], rival)}; {exact}"


def _close(spec: Benchmark, mine: Numbers, other: Numbers, whose: str) -> str:
    """Two that the figures cannot tell apart, in words."""
    if abs(_score(spec, mine) / _score(spec, other) - 1) * 100 <= TIE_PERCENT:
        return f"its {_what(spec)} is within {TIE_PERCENT:g} percent of {whose}"
    apart = _apart(spec, mine, other)
    return f"its {_compared(spec, mine, other, whose)}, too little to tell: the figures vary by {apart:.0f} percent"
