"""`python -m benchmarks.dataplane`: our ONNX Runtime server next to in-process ONNX Runtime and other servers."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.dataplane.bars import verdicts
from benchmarks.dataplane.client import Load
from benchmarks.dataplane.limit import alone
from benchmarks.dataplane.machine import Ticks, shares
from benchmarks.dataplane.models import TARGETS, case
from benchmarks.dataplane.report import Method, line, lines, noise, page
from benchmarks.dataplane.results import ALONE, Figures, Run, Server, turns
from benchmarks.dataplane.subjects import SUBJECTS, Running, Subject, running

_LEAST_RUNS = 100
"""A window takes as many inferences, one after the other: fewer are not counted to a hundredth."""


def main() -> int:
    """Print the tables. Exit code 1 when a bar is missed."""
    names = tuple(subject.name for subject in SUBJECTS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataplane", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=TARGETS, default=tuple(TARGETS))
    parser.add_argument("--subjects", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--protocols", nargs="+", choices=("http", "grpc"), default=("http", "grpc"))
    parser.add_argument("--concurrency", nargs="+", type=int, default=(1, 8, 32))
    parser.add_argument("--rounds", type=int, default=5, help="windows of each row (5)")
    parser.add_argument("--seconds", type=float, default=1.0, help=f"of a window, if {_LEAST_RUNS} inferences fit (1)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page in Markdown")
    options = parser.parse_args()
    subjects = [subject for subject in SUBJECTS if subject.name in options.subjects]
    for subject in subjects:
        if subject.missing:
            parser.error(f"{subject.name}: {subject.missing}, or leave it out (--subjects)")
    began = Ticks.now()
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        load = Load(Path(scratch))
        for name in options.models:
            present = [subject for subject in subjects if name in subject.cases]
            where = [(protocol, concurrency) for protocol in options.protocols for concurrency in options.concurrency]
            seconds = max(options.seconds, _LEAST_RUNS * TARGETS[name])
            runs.append(_run(name, Path(scratch), load, present, where, options.rounds, seconds))
    method = Method(options.rounds, options.seconds, _LEAST_RUNS, shares(began, Ticks.now()))
    for run in runs:
        print("\n".join(["", *lines(run)]))
    judged = verdicts(runs)
    print("\n".join(["", *(verdict.text for verdict in judged), "", *noise(runs, method)]))
    if options.write:
        options.write.write_text(page(runs, judged, method))
    return 0 if all(verdict.held for verdict in judged) else 1


def _run(
    name: str,
    work: Path,
    load: Load,
    subjects: Sequence[Subject],
    where: Sequence[tuple[str, int]],
    rounds: int,
    seconds: float,
) -> Run:
    """All subjects stay up while each in its turn has a window. One that has none is idle: none takes 1 % of a core."""
    made, warm = case(name, work), seconds / 3
    with contextlib.ExitStack() as stack:
        limit = stack.enter_context(alone(made))
        servers = [stack.enter_context(running(subject, made, work)) for subject in subjects]
        run = Run(name, made.what, limit.load_seconds)
        measured: list[tuple[str, Callable[[str, int], Figures]]] = [(ALONE, lambda *_: limit.run(warm, seconds))]
        for server in servers:

            def window(protocol: str, concurrency: int, server: Running = server) -> Figures:
                return load.run(made, server, protocol, concurrency, warm, seconds)

            measured.append((server.subject.name, window))
        for protocol, concurrency in where:
            for turn in turns(measured, rounds):
                for subject, measure in turn:
                    run.add(subject, protocol, concurrency, measure(protocol, concurrency))
            for subject, _ in measured:
                print(f"{name}: {line(run, subject, protocol, concurrency)}", flush=True)
        for server in servers:
            run.servers[server.subject.name] = Server(server.ready_seconds, server.idle_memory, server.memory())
    return run


if __name__ == "__main__":
    sys.exit(main())
