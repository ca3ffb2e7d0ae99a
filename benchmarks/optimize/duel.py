"""Our choice against the best of the others, once more and in pairs: three percent is less than what a shared machine adds.

Every round runs each for a moment, one right after the other, so that both find the machine alike; the verdict is the
median over rounds of the ratio within a round. What an hour of noise does to two long measurements, it does to neither.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxmodel_runtime.contract import Providers
from onnxmodel_runtime.inputs import Arrays
from onnxmodel_runtime.session import open_session

ROUNDS = 200
SECONDS = 10.0  # of all rounds; at least _LEAST of them
_LEAST = 9
_SLICE = 0.02


def duel(files: Mapping[str, tuple[Path, str]], inputs: Arrays) -> tuple[dict[str, float], dict[str, float]]:
    """files: name -> (model, graph level), ours first. Returns milliseconds of a call, and our time by each one's."""
    sessions = {name: open_session(path, Providers(), level).session for name, (path, level) in files.items()}
    for session in sessions.values():
        _slice(session, inputs)
    taken: dict[str, list[float]] = {name: [] for name in files}
    started = time.perf_counter()
    for turn in range(ROUNDS):
        if turn >= _LEAST and time.perf_counter() - started > SECONDS:
            break
        for name in list(sessions)[:: 1 if turn % 2 else -1]:
            taken[name].append(_slice(sessions[name], inputs))
    ours = taken[next(iter(files))]
    ratios = {
        name: statistics.median(mine / other for mine, other in zip(ours, others, strict=True))
        for name, others in taken.items()
    }
    return {name: statistics.median(times) * 1000 for name, times in taken.items()}, ratios


def _slice(session: Any, inputs: Arrays) -> float:
    """Seconds of a typical call, over a moment."""
    times: list[float] = []
    while sum(times) < _SLICE:
        before = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - before)
    return statistics.median(times)
