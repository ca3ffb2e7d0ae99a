"""`python -m benchmarks.fronts`: what a request costs at this project's server, and at other fronts that do much less.

All run at once; the client turns to one after the other, round by round, and a front is compared with ours of the same
round: what else the machine does meets both.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tritonclient.grpc import service_pb2

from benchmarks.dataplane.client import Load
from benchmarks.dataplane.models import Case, case
from benchmarks.dataplane.subjects import OURS, ROOT, SUBJECTS, Subject, running
from benchmarks.processes import own

ENVIRONMENT = ROOT / "build" / "fronts"
"""Folder in which `make build/fronts` puts the other fronts."""
_HERE = Path(__file__).parent
_TENSOR = 64  # bytes


@dataclass(frozen=True)
class Front:
    """command: that starts it, with {http} and {grpc} for ports. one_port: its HTTP port takes both protocols."""

    name: str
    command: str
    protocols: tuple[str, ...]
    one_port: bool = False

    def start(self, case: Case, directory: Path, http: int, grpc: int) -> tuple[list[str], dict[str, str]]:
        """As a subject of benchmarks.dataplane is started."""
        program, *arguments = self.command.format(http=http, grpc=grpc).split()
        heads = {"FRONT_HTTP": _head(case, "http").hex(), "FRONT_GRPC": _head(case, "grpc").hex()}
        environment = {"PYTHONPATH": str(_HERE), "FRONT_MODEL": str(case.path), **heads}
        environment["PATH"] = f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}"
        return [str(ENVIRONMENT / "bin" / program), *arguments], environment


UVICORN = "--port {http} --loop uvloop --http httptools --lifespan off --no-access-log --log-level warning"
FRONTS = (
    Front("uvicorn", f"uvicorn peer:app {UVICORN}", ("http",)),
    Front("granian", "granian peer:app --interface asginl --port {http} --loop uvloop --log-level warning", ("http",)),
    Front("pyvoy", "pyvoy peer:app --port {http} --no-lifespan --loop uvloop", ("http", "grpc"), one_port=True),
    Front("grpc.aio", "python -m peer aio {http} {grpc}", ("grpc",)),
    Front("grpcio-threads", "python -m peer threads {http} {grpc}", ("grpc",)),
)


def main() -> int:
    """Print the table."""
    names = tuple(front.name for front in FRONTS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fronts", description=__doc__)
    parser.add_argument("--fronts", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--concurrency", nargs="+", type=int, default=(8, 32))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a window (1.5)")
    options = parser.parse_args()
    if not ENVIRONMENT.exists():
        parser.error(f"{ENVIRONMENT} is missing: make build/fronts")
    chosen = {front.name: front for front in FRONTS if front.name in options.fronts}
    points = [(protocol, count) for protocol in ("http", "grpc") for count in options.concurrency]
    figures: dict[tuple[str, str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        work = Path(scratch)
        load, made = Load(work), case("overhead", work)
        subjects = [next(subject for subject in SUBJECTS if subject.name == OURS)]
        subjects += [Subject(front.name, front.command, front.start) for front in chosen.values()]
        started = {subject.name: servers.enter_context(running(subject, made, work)) for subject in subjects}
        # Not what libraries take: the figure would depend on who else has them loaded.
        memory = {name: sum(map(own, server.pids)) / 2**20 for name, server in started.items()}
        for name, server in started.items():
            if name in chosen and chosen[name].one_port:
                server.ports["grpc"] = server.ports["http"]
        for turn in range(options.rounds):
            for protocol, count in points:
                asked = [name for name in started if name == OURS or protocol in chosen[name].protocols]
                for name in random.Random(turn).sample(asked, len(asked)):
                    seen = load.run(made, started[name], protocol, count, options.seconds / 3, options.seconds)
                    figures.setdefault((name, protocol, count), []).append(seen.cpu_per_1000)
            print(f"round {turn + 1} of {options.rounds}", file=sys.stderr, flush=True)
        print("\n".join(_lines(memory, figures, points)))
    return _connections()


def _connections() -> int:
    """Print what HTTP/2 costs without sockets, ours next to python-h2."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "runtime-image")}
    command = [str(ENVIRONMENT / "bin" / "python"), str(_HERE / "connections.py")]
    return subprocess.run(command, env=environment).returncode


def _lines(
    memory: dict[str, float], figures: dict[tuple[str, str, int], list[float]], points: list[tuple[str, int]]
) -> list[str]:
    heads = " | ".join(f"{protocol}, {count}" for protocol, count in points)
    lines = [f"| front | {heads} | MiB |", "|---|" + "---:|" * (len(points) + 1)]
    own = [f"{median(figures[OURS, *point]):.3f} s" for point in points]
    lines.append(f"| ours, the whole server: CPU per 1,000 | {' | '.join(own)} | {memory[OURS]:.0f} |")
    for name in list(memory)[1:]:
        cells = []
        for point in points:
            pairs = zip(figures.get((name, *point), ()), figures[OURS, *point], strict=False)
            ratios = sorted(theirs / ours for theirs, ours in pairs)
            cells.append(f"{median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})" if ratios else "")
        lines.append(f"| {name}, times ours | {' | '.join(cells)} | {memory[name]:.0f} |")
    return lines


def _head(made: Case, protocol: str) -> bytes:
    """Return the bytes in front of the tensor in a response."""
    if protocol == "http":
        parameters = {"binary_data_size": _TENSOR}
        output = {"name": "y", "shape": [*made.y.shape], "datatype": "FP32", "parameters": parameters}
        return json.dumps({"model_name": made.name, "id": "1", "outputs": [output]}).encode()
    message = service_pb2.ModelInferResponse(model_name=made.name, id="1")
    message.outputs.add(name="y", datatype="FP32", shape=made.y.shape)
    message.raw_output_contents.append(made.y.tobytes())
    serialized: bytes = message.SerializeToString()
    return serialized[:-_TENSOR]


if __name__ == "__main__":
    sys.exit(main())
