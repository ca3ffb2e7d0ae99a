"""Choose the candidate that serves, by the benchmark's numbers, the objective and the constraints."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.api.spec.optimization import INEXACT
from onnxmodel_operator.selection.constraints import missed_constraints, regressed
from onnxmodel_operator.selection.numbers import (
    Incumbent,
    Numbers,
    attained,
    capacity,
    loads,
    numbers_of,
    remembered,
    where,
)
from onnxmodel_operator.selection.score import TIE_PERCENT, inexactness, is_clearly_better, score
from onnxmodel_operator.selection.wording import PROVEN_ON_MADE_INPUTS, Contest, reason_of
from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Point
from onnxmodel_runtime.contract.optimize import ORIGINAL, OptimizeResult, Variant

__all__ = [
    "TIE_PERCENT",
    "Choice",
    "Incumbent",
    "Numbers",
    "Verdict",
    "as_served",
    "candidate",
    "capacity",
    "choose",
    "loads",
    "remembered",
    "where",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one variant. missed: the constraints that it does not meet, in words."""

    variant: Variant
    numbers: Numbers | None
    missed: tuple[str, ...]
    selected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner (a Verdict with numbers), the verdicts of all variants in their order, and the choice in one sentence.

    served: the winner's numbers as a client of its server measured them; None before the load test. capacity: rows per second
    within the constraints, measured so; None if nobody asks for it.
    """

    winner: Verdict
    baseline: Numbers
    verdicts: tuple[Verdict, ...]
    speedup: float
    sentence: str
    framework: str | None = None
    framework_speedup: float | None = None
    against: Incumbent | None = None
    served: Numbers | None = None
    capacity: float | None = None


def candidate(variant: Variant) -> bool:
    """Return whether the variant may serve: it exists, and its outputs match the original's."""
    return bool(variant.path) and (variant.name == ORIGINAL or bool(variant.parity and variant.parity.passed))


def choose(
    spec: Benchmark,
    optimized: OptimizeResult,
    measured: BenchmarkResult,
    serving: Incumbent | None = None,
    *,
    joining: bool = False,
) -> Choice:
    """Choose the best candidate that passed parity. One that meets the constraints beats one that does not.

    A candidate is out if another is clearly better. Among the rest the difference is noise, so a fixed order decides:
    the most exact wins, and of equally exact ones the first in the list of variants, which begins with the original.

    serving: None if nothing serves, or if it cannot be compared. joining: whether requests may be batched together;
    then a candidate whose requests must not be batched counts with its smallest batch alone.
    """
    there = {point.variant for point in measured.points}
    points = attained(measured.points, optimized) if joining else measured.points
    numbers = {v.name: numbers_of(points, v.name) for v in optimized.variants if candidate(v) and v.name in there}
    comparable = serving if serving and serving.where == where(measured) else None
    missed = {
        name: (*missed_constraints(spec, value).values(), *regressed(spec, value, comparable))
        for name, value in numbers.items()
    }
    pool = [name for name in numbers if not missed[name]] or list(numbers)
    left = [name for name in pool if not any(is_clearly_better(spec, numbers[other], numbers[name]) for other in pool)]
    variants = {v.name: v for v in optimized.variants}
    order = list(variants)
    winner = min(left, key=lambda name: (inexactness(variants[name]), order.index(name)))
    contest = Contest(spec, variants, winner, numbers, missed, measured.left_out)
    verdicts = tuple(
        Verdict(
            v,
            numbers.get(v.name),
            missed.get(v.name, ()),
            v.name == winner,
            reason_of(contest, v)
            + (PROVEN_ON_MADE_INPUTS if optimized.made_inputs and v.name in INEXACT and candidate(v) else ""),
        )
        for v in optimized.variants
    )
    baseline = numbers[ORIGINAL]
    speedup = score(spec, baseline) / score(spec, numbers[winner])
    chosen = next(v for v in verdicts if v.selected)
    sentence = f"{winner} serves: {chosen.reason}"
    if serving and not comparable and spec.constraints.max_regression_percent is not None:
        sentence += (
            f"; not compared with revision {serving.revision}, which was measured on other hardware ({serving.where})"
        )
    if optimized.lowered:
        sentence += f"; {optimized.lowered}"
    if joining and variants[winner].unjoined:
        sentence += f"; its requests are not batched: {variants[winner].unjoined}"
    if any(numbers[name].noisy for name in numbers):
        sentence += "; some figures are noisy"
    framework = spec.baseline.framework if spec.baseline else None
    return Choice(
        chosen, baseline, verdicts, speedup, sentence, framework, _framework_speedup(spec, measured, winner), serving
    )


def _framework_speedup(spec: Benchmark, measured: BenchmarkResult, winner: str) -> float | None:
    """The speedup over the spec's own baseline, at its batch size and one caller; None if the grid lacks that."""
    if spec.baseline is None:
        return None
    at = (winner, spec.baseline.batch_size, 1)
    same = [p.p50 for p in measured.points if (p.variant, p.batch_size, p.concurrency) == at]
    return round(spec.baseline.p50_milliseconds / same[0], 3) if same else None


def as_served(spec: Benchmark, choice: Choice, points: Iterable[Point]) -> Choice:
    """Add what a client measured of the winner, which may miss a constraint that it met without a server."""
    winner = choice.winner
    assert winner.numbers is not None
    served, already = numbers_of(points, winner.variant.name), missed_constraints(spec, winner.numbers)
    missed = (
        f"as served, {words}" for limit, words in missed_constraints(spec, served).items() if limit not in already
    )
    winner = replace(winner, missed=(*winner.missed, *missed))
    verdicts = tuple(winner if verdict.selected else verdict for verdict in choice.verdicts)
    return replace(choice, winner=winner, verdicts=verdicts, served=served)
