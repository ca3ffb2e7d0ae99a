"""Our choice against the best of the others, once more and in pairs: three percent is less than what a shared machine adds.

Every round runs each for a moment, one right after the other, so that all find the machine alike. What else runs can only
make a call slower: the lower quartile over all rounds is what a file takes when it is left alone, and these are compared.
Our choice is there twice: how far its two sessions are apart is how much of a ratio is noise.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.models.inputs import Arrays
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.stats import percentile

ROUNDS = 200
SECONDS = 20.0  # of all rounds; at least _LEAST of them
_LEAST = 9
_SLICE = 0.02
_QUIET = 25  # percentile
AGAIN = "again"  # our choice in a session of its own


def duel(
    ours: str, files: Mapping[str, tuple[Path, str]], inputs: Mapping[str, Arrays], rows: Mapping[str, int]
) -> dict[str, float]:
    """files: name -> (model, graph level). inputs, rows: of a call of each. Returns milliseconds per row, of AGAIN too."""
    both = {**files, AGAIN: files[ours]}
    inputs, rows = {**inputs, AGAIN: inputs[ours]}, {**rows, AGAIN: rows[ours]}
    sessions = {name: open_session(path, Providers(), level).session for name, (path, level) in both.items()}
    for name, session in sessions.items():
        _slice(session, inputs[name])
    taken: dict[str, list[float]] = {name: [] for name in both}
    started = time.perf_counter()
    for turn in range(ROUNDS):
        if turn >= _LEAST and time.perf_counter() - started > SECONDS:
            break
        for name in list(sessions)[:: 1 if turn % 2 else -1]:
            taken[name].append(_slice(sessions[name], inputs[name]))
    return {name: percentile(sorted(times), _QUIET) * 1000 / rows[name] for name, times in taken.items()}


def _slice(session: Any, inputs: Arrays) -> float:
    """Seconds of the fastest call within a moment."""
    times: list[float] = []
    while sum(times) < _SLICE:
        before = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - before)
    return min(times)
