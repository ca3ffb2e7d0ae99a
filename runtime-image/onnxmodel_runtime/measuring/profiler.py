"""Profile a few runs with ONNX Runtime's own profiler, and sum the time by operator and provider.

A profiled session is slower, so it is one of its own, opened after everything was measured.
"""

import json
import resource
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnxmodel_runtime.contract.benchmark import Candidate
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import clip
from onnxmodel_runtime.models.inputs import Arrays
from onnxmodel_runtime.models.session import open_session, provider_name
from onnxmodel_runtime.stats import significant

_RUNS = 5
_MAX_EVENTS = 200_000  # ONNX Runtime stops at a million; a node of a loop makes one each time
_MAX_BYTES = 256 << 20  # of the profile's file: /tmp of a Job is small, and names in it are as long as the model likes
_KEPT = 40


@dataclass(frozen=True, slots=True)
class Operator:
    """All nodes of one operator type on one provider: milliseconds and calls in one run of the model."""

    name: str
    provider: str
    milliseconds: float
    calls: float


def profile(candidate: Candidate, providers: Providers, rows: Arrays, nodes: int) -> tuple[Operator, ...]:
    """Return the operators, slowest first. nodes: of the graph, to bound the profile.

    A node that runs its own graph (If, Loop, Scan) includes the time of that graph. On a GPU the time ends when a
    node's work is handed over, which says little.
    """
    runs = max(1, min(_RUNS, _MAX_EVENTS // max(1, nodes)))
    with tempfile.TemporaryDirectory() as directory, _small_files():
        path = Path(candidate.path)
        session = open_session(path, providers, candidate.graph_level, profile_to=Path(directory) / "profile").session
        for _ in range(1 + runs):  # the first one allocates
            session.run(None, rows)
        with open(session.end_profiling(), encoding="utf-8", errors="replace") as lines:
            return operators(lines)


def operators(lines: Iterable[str]) -> tuple[Operator, ...]:
    """Sum a profile, which has one event a line. The first run is left out, and so are lines that node names break."""
    spent: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    runs = 0
    for line in lines:
        try:
            event = json.loads(line.strip().rstrip(","))
            if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                entry = spent[clip(event["args"]["op_name"], 80), provider_name(event["args"]["provider"])]
                entry[0] += event["dur"] / 1000
                entry[1] += 1
            elif event["name"] == "model_run":
                runs += 1
                if runs == 1:
                    spent.clear()
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    per = max(1, runs - 1)
    found = [
        Operator(*key, significant(milliseconds / per), significant(calls / per))
        for key, (milliseconds, calls) in spent.items()
    ]
    found.sort(key=lambda operator: (-operator.milliseconds, operator.name, operator.provider))
    rest = found[_KEPT:]
    if rest:
        spent_on_them = sum(operator.milliseconds for operator in rest)
        found[_KEPT:] = [Operator(f"{len(rest)} others", "", spent_on_them, sum(operator.calls for operator in rest))]
    return tuple(found)


@contextmanager
def _small_files() -> Iterator[None]:
    """Python ignores SIGXFSZ: what is written beyond the limit is lost, and nothing else happens."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = _MAX_BYTES if soft == resource.RLIM_INFINITY else min(soft, _MAX_BYTES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
