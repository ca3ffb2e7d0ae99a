"""`python -m benchmarks.dataplane`: our ONNX Runtime server next to in-process ONNX Runtime and other servers."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.dataplane.load import Load
from benchmarks.dataplane.models import TARGETS, Case, case
from benchmarks.dataplane.report import Row, Run, lines, page, verdicts
from benchmarks.dataplane.subjects import ROOT, SUBJECTS, running


def main() -> int:
    """Print the tables. Exit code 1 when a bar is missed."""
    names = tuple(subject.name for subject in SUBJECTS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataplane", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=TARGETS, default=tuple(TARGETS))
    parser.add_argument("--subjects", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--protocols", nargs="+", choices=("http", "grpc"), default=("http", "grpc"))
    parser.add_argument("--concurrency", nargs="+", type=int, default=(1, 8, 32))
    parser.add_argument("--seconds", type=float, default=4.0, help="of a window (4)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page in Markdown")
    options = parser.parse_args()
    subjects = [subject for subject in SUBJECTS if subject.name in options.subjects]
    for subject in subjects:
        if subject.missing:
            parser.error(f"{subject.name}: {subject.missing}, or leave it out (--subjects)")
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        load = Load(work)
        for name in options.models:
            made = case(name, work)
            run = Run(name, made.what, limits=[_limit(made, options.seconds)])
            for subject in subjects:
                if name not in subject.cases:
                    continue
                with running(subject, made, work) as server:
                    for protocol in options.protocols:
                        for concurrency in options.concurrency:
                            figures = load.run(made, protocol, server, concurrency, options.seconds)
                            run.rows.append(Row(subject.name, protocol, concurrency, figures))
                            print(f"{name}: {lines(run)[-1]}", flush=True)
                    run.servers[subject.name] = (server.ready_seconds, server.idle_memory, server.memory())
                run.limits.append(_limit(made, options.seconds))
            runs.append(run)
    for run in runs:
        print("\n".join(["", *lines(run)]))
    judged = verdicts(runs)
    print("\n".join(["", *(verdict.text for verdict in judged)]))
    if options.write:
        options.write.write_text(page(runs, judged, options.seconds))
    return 0 if all(verdict.held for verdict in judged) else 1


def _limit(made: Case, seconds: float) -> float:
    command = [sys.executable, "-m", "benchmarks.dataplane.limit", str(made.path), str(seconds)]
    return float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
