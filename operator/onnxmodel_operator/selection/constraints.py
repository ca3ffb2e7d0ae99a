"""Check a candidate's numbers against the constraints of the spec."""

from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.selection.numbers import Incumbent, Numbers
from onnxmodel_operator.selection.score import more_percent
from onnxmodel_operator.selection.wording import compared
from onnxmodel_runtime.contract.text import plain


def missed_constraints(spec: Benchmark, numbers: Numbers) -> dict[str, str]:
    """Describe each missed constraint, with its limit and the measured number, by the constraint's name."""
    limits, missed = spec.constraints, {}
    if limits.p99_milliseconds is not None and numbers.p99 > limits.p99_milliseconds:
        missed["p99"] = (
            f"p99 is {plain(numbers.p99, 6)} ms, the limit (p99Milliseconds) is {plain(limits.p99_milliseconds, 6)}"
        )
    if limits.throughput_per_second is not None and numbers.throughput < limits.throughput_per_second:
        missed["throughput"] = (
            f"throughput is {plain(numbers.throughput, 6)} per second, the minimum (throughputPerSecond) is "
            f"{plain(limits.throughput_per_second, 6)}"
        )
    return missed


def regressed(spec: Benchmark, numbers: Numbers, serving: Incumbent | None) -> tuple[str, ...]:
    """Describe how the candidate misses maxRegressionPercent. Empty where it does not, or nothing can be compared."""
    limit = spec.constraints.max_regression_percent
    if limit is None or serving is None:
        return ()
    more = more_percent(spec, numbers, serving.numbers)
    if (more if spec.objective == "Latency" else -more) <= limit:
        return ()
    words = compared(spec, numbers, serving.numbers, f"that of the current revision {serving.revision}")
    return (f"{words}; the limit (maxRegressionPercent) is {plain(limit, 6)}",)
