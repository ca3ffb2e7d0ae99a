"""Results of a run: windows by subject, protocol and concurrency, one of each in every round."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

ALONE = "ONNX Runtime alone"
"""The subject that is no server: runs in a loop, in one process. It has neither protocol nor concurrency."""


_T = TypeVar("_T")


@dataclass(frozen=True)
class Figures:
    """Measurements of a window; times in seconds."""

    throughput: float
    p50: float
    p99: float
    cpu_per_1000: float


@dataclass(frozen=True)
class Server:
    """Resources of a server; memory in MB."""

    ready_seconds: float
    idle_memory: float
    loaded_memory: float


@dataclass
class Run:
    """A model. load_seconds: of its session, alone. windows: in each list, one for each round, in the rounds' order."""

    name: str
    what: str
    load_seconds: float
    windows: dict[tuple[str, str, int], list[Figures]] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)

    def add(self, subject: str, protocol: str, concurrency: int, figures: Figures) -> None:
        """Append a window of the round in progress."""
        self.windows.setdefault((subject, protocol, concurrency), []).append(figures)

    def alone(self) -> list[Figures]:
        """All windows of ONNX Runtime alone, next to whichever protocol and concurrency."""
        return [figures for key, rounds in self.windows.items() if key[0] == ALONE for figures in rounds]

    def ratios(self, figure: str, subject: str, other: str, protocol: str, concurrency: int) -> list[float]:
        """A figure of the subject by that of the other, round by round; [] when one of them was not measured."""
        ours, theirs = (self.windows.get((name, protocol, concurrency), []) for name in (subject, other))
        pairs = zip(ours, theirs, strict=bool(ours and theirs))
        return [_ratio(getattr(one, figure), getattr(another, figure)) for one, another in pairs]


def middle(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return Figures(*(median(getattr(figures, name) for figures in rounds) for name in Figures.__dataclass_fields__))


def turns(subjects: Sequence[_T], rounds: int) -> Iterator[Sequence[_T]]:
    """The order of each round: every other one backwards, so that what drifts favours none."""
    for number in range(rounds):
        yield subjects if number % 2 == 0 else subjects[::-1]


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.inf
