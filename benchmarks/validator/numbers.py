"""Summarize a run: counts, times, and groups of models that were refused for the same reason."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.validator.judge import Judged

VERDICTS = ("passed", "refused", "failed", "crashed", "hung")
# How ONNX Runtime, the checker and our own messages name the operator that something is about.
_OPERATOR = re.compile(
    r"running (\w+) node|kernel for (\w+)|the operator (\w+) |op_type: ?(\w+)|In Node, \(\"[^\"]*\", (\w+),|"
    r"onnxruntime::(?:DeepCpu)?(\w+?)(?:Op|Base|<T>)?::|operator (\w+)\b"
)


@dataclass(frozen=True)
class Group:
    """Models that were refused with the same finding, by operator (or by datatype, or "")."""

    reason: str
    operators: dict[str, list[Judged]]

    @property
    def count(self) -> int:
        """The number of models."""
        return sum(len(models) for models in self.operators.values())


def counts(results: Iterable[Judged]) -> dict[str, Counter[str]]:
    """kind of test -> verdict -> how many."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for case, verdict in results:
        table[case.kind][verdict.kind] += 1
    return table


def times(results: Sequence[Judged]) -> dict[str, float]:
    """Seconds per model: median, p99, and the longest."""
    seconds = sorted(verdict.seconds for _, verdict in results)
    p99 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    return {"median": statistics.median(seconds), "p99": p99, "longest": seconds[-1]}


def groups(results: Iterable[Judged]) -> list[Group]:
    """Group the models that did not pass, the largest group first."""
    found: dict[str, dict[str, list[Judged]]] = defaultdict(lambda: defaultdict(list))
    for case, verdict in results:
        if verdict.kind != "passed":
            found[verdict.reason][subject(verdict.message)].append((case, verdict))
    made = [Group(reason, dict(sorted(operators.items()))) for reason, operators in found.items()]
    return sorted(made, key=lambda group: (-group.count, group.reason))


def subject(message: str) -> str:
    """The operator or the datatype that a refusal is about."""
    if opset := re.search(r"uses opset (\d+)", message):
        return f"opset {opset.group(1)}"
    if datatype := re.search(r"is ([A-Z]+\w*), which", message):
        return datatype.group(1)
    found = _OPERATOR.search(message)
    return next((name for name in found.groups() if name), "") if found else ""
