"""When a measurement may end: the stop rule, as a function of what was measured so far.

As Triton's Model Navigator and perf_analyzer do it: a candidate is stable when its last three windows agree. Here all
candidates must also have met the same machine: one that was stable early is asked once more when the last one ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from onnxmodel_runtime.stats import percentile

STABLE = 3  # windows that must agree


@dataclass(frozen=True)
class Window:
    """What one candidate did in one turn. answers: all of them, also those that are not in `latencies` (seconds, ascending)."""

    turn: int
    seconds: float
    answers: int
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    @cached_property
    def p50(self) -> float:
        """In seconds."""
        return percentile(self.latencies, 50)


def stable(taken: Sequence[Window], percent: float) -> bool:
    """Whether rate and p50 of the last three windows are within `percent` of their mean."""
    last = taken[-STABLE:]
    return len(last) == STABLE and all(
        _agree(values, percent) for values in ([window.rate for window in last], [window.p50 for window in last])
    )


def counted(taken: Sequence[Window], percent: float) -> Sequence[Window]:
    """What the numbers are made of: the windows that agree; all of them when none do, for no three are better."""
    return taken[-STABLE:] if stable(taken, percent) else taken


def due(taken: Sequence[Sequence[Window]], percent: float, limit: int) -> list[int]:
    """Which candidates are measured in the next turn, by index; nobody when the point is done.

    First those that are not stable, as long as they have windows left. When there are none, those whose last window is
    older than the newest stable ones: what they show was measured on a machine that may have changed since.
    """
    left = [index for index, windows in enumerate(taken) if len(windows) < limit]
    unstable = [index for index in left if not stable(taken[index], percent)]
    if unstable or not left:
        return unstable
    newest = max(windows[-1].turn for windows in taken)
    return [index for index in left if taken[index][-1].turn <= newest - STABLE]


def _agree(values: Sequence[float], percent: float) -> bool:
    mean = sum(values) / len(values)
    return all(abs(value - mean) <= mean * percent / 100 for value in values)
