"""Compare candidates by the objective: a difference counts only where it is more than noise."""

from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.selection.numbers import Numbers
from onnxmodel_runtime.contract.optimize import Variant

TIE_PERCENT = 2.0
"""Percentage below which a difference never counts. Nor does one that is smaller than the variation of the figures."""


def score(spec: Benchmark, numbers: Numbers) -> float:
    """Return the figure of the objective, as a number of which lower is better."""
    return numbers.p50 if spec.objective == "Latency" else 1 / max(numbers.throughput, 1e-9)


def percent_apart(spec: Benchmark, mine: Numbers, other: Numbers) -> float:
    """Return the difference in percent above which two candidates count as different."""
    spreads = (n.p50_spread if spec.objective == "Latency" else n.throughput_spread for n in (mine, other))
    return max(TIE_PERCENT, sum(spreads))


def is_clearly_better(spec: Benchmark, mine: Numbers, other: Numbers) -> bool:
    """Return whether mine is better by more than noise. Never both ways, and never in a circle."""
    return score(spec, mine) * (1 + percent_apart(spec, mine, other) / 100) < score(spec, other)


def inexactness(variant: Variant) -> float:
    """Return how far the variant's outputs are from the original's: 0 for the original itself."""
    return variant.parity.max_absolute if variant.parity else 0.0


def more_percent(spec: Benchmark, mine: Numbers, other: Numbers) -> float:
    """Return by how many percent the figure of the objective exceeds the other's."""
    if spec.objective == "Latency":
        return (mine.p50 / other.p50 - 1) * 100
    return (mine.throughput / max(other.throughput, 1e-9) - 1) * 100
