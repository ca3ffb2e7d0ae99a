"""Say in one sentence why a variant is chosen or not."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.selection.numbers import Numbers
from onnxmodel_operator.selection.score import (
    TIE_PERCENT,
    inexactness,
    is_clearly_better,
    more_percent,
    percent_apart,
    score,
)
from onnxmodel_runtime.contract.optimize import Variant

PROVEN_ON_MADE_INPUTS = "; checked with generated inputs only: provide spec.validation.golden"


@dataclass(frozen=True, slots=True)
class Contest:
    """Input of the reasons: the candidates' numbers, the constraints that each misses, and the winner.

    variants: all requested ones, by name; numbers and missed: of those that were measured. left_out: by name, why the
    benchmark could not measure a candidate.
    """

    spec: Benchmark
    variants: Mapping[str, Variant]
    winner: str
    numbers: Mapping[str, Numbers]
    missed: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]

    def rivals(self) -> dict[str, Numbers]:
        """Return the candidates of the choice: those that meet the constraints, or all where the winner misses one."""
        return {name: n for name, n in self.numbers.items() if self.missed[self.winner] or not self.missed[name]}


def reason_of(contest: Contest, variant: Variant) -> str:
    """Return why the variant serves or does not."""
    if variant.name not in contest.numbers:
        return _why_not_measured(contest, variant)
    if variant.name == contest.winner:
        return _why_it_won(contest)
    return _why_it_lost(contest, variant)


def _why_not_measured(contest: Contest, variant: Variant) -> str:
    if variant.skipped:
        return f"not built: {variant.skipped}"
    parity = variant.parity
    assert parity is not None
    if parity.passed:
        why = contest.left_out.get(variant.name, "see the Job's log for the reason")
        return f"left out of the benchmark: {why}"
    if parity.note:
        return f"not checked: {parity.note}"
    return (
        f"outside the tolerance: output {parity.output} differs by {parity.max_absolute:g} absolute, "
        f"{parity.max_relative:g} relative, cosine {parity.cosine:g}"
    )


def _why_it_lost(contest: Contest, variant: Variant) -> str:
    spec, winner, missed = contest.spec, contest.winner, contest.missed
    if missed[variant.name] and not missed[winner]:
        return "; ".join(missed[variant.name])
    mine, rivals = contest.numbers[variant.name], contest.rivals()
    better = [name for name in rivals if is_clearly_better(spec, rivals[name], mine)]
    if better:
        which = winner if winner in better else min(better, key=lambda name: score(spec, rivals[name]))
        return f"its {compared(spec, mine, rivals[which], which)}"
    equal = inexactness(variant) == inexactness(contest.variants[winner])
    rank = "equally accurate and comes first" if equal else "more accurate"
    return f"{_close(spec, mine, rivals[winner], winner)}; {winner} is {rank}"


def _why_it_won(contest: Contest) -> str:
    spec, winner, rivals = contest.spec, contest.winner, contest.rivals()
    mine = rivals.pop(winner)
    if not rivals:
        return f"it is the only {'candidate' if len(contest.numbers) == 1 else 'one that meets the constraints'}"
    rival = min(rivals, key=lambda name: score(spec, rivals[name]))
    if is_clearly_better(spec, mine, rivals[rival]):
        return f"its {compared(spec, mine, rivals[rival], rival)}"
    equal = inexactness(contest.variants[rival]) == inexactness(contest.variants[winner])
    exact = "both are equally accurate, and it comes first" if equal else "it is more accurate"
    return f"{_close(spec, mine, rivals[rival], rival)}; {exact}"


def compared(spec: Benchmark, mine: Numbers, other: Numbers, whose: str) -> str:
    """State by how much the figure of the objective is higher or lower than the other's."""
    more = more_percent(spec, mine, other)
    return f"{_figure(spec)} is {abs(more):.0f} percent {'higher' if more > 0 else 'lower'} than {whose}"


def _close(spec: Benchmark, mine: Numbers, other: Numbers, whose: str) -> str:
    """Say of two candidates that the figures cannot tell them apart."""
    if abs(score(spec, mine) / score(spec, other) - 1) * 100 <= TIE_PERCENT:
        return f"its {_figure(spec)} is within {TIE_PERCENT:g} percent of {whose}"
    apart = percent_apart(spec, mine, other)
    return (
        f"its {compared(spec, mine, other, whose)}, which is within the noise: the figures vary by {apart:.0f} percent"
    )


def _figure(spec: Benchmark) -> str:
    return "p50" if spec.objective == "Latency" else "throughput"
