"""`python -m benchmarks.threads`: what ONNX Runtime's spinning threads cost in a container with a CPU limit, and what they bring.

After each run, the threads of a session wait for the next one in a busy loop (spinning) before they sleep. The server is
measured with ONNX Runtime's default, with a millisecond of that, and without it, under CPU limits of 1, 2 and 4 cores by a
cgroup of its own, as a kubelet sets one, with as many threads as whole cores. In turns, several rounds, medians. For each:

- busy: one client asks again at once. Latency; CPU seconds of the server per 1,000 inferences; throttled periods of 100.
- sparse: 20 requests a second. The same.
- idle: CPU milliseconds of the server in the second after one request.
- neighbour: the latency of another process's runs on one thread, 20 a second, while the server has its sparse traffic.

It needs root, for the cgroup. On a machine with fewer cores than the limit, the limit never throttles.
"""

import argparse
import http.client
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from benchmarks.dataplane.models import ROWS, WIDTH, Case, chain, session

LIMITS = (1, 2, 4)
LAYERS = 24
MODES = {
    "default": {"session.intra_op.allow_spinning": "1"},
    "1 ms": {"session.intra_op.allow_spinning": "1", "session.intra_op.spin_duration_us": "1000"},
    "off": {"session.intra_op.allow_spinning": "0"},
}
"""Configuration entries of a session."""
ROUNDS = 3
SECONDS = 3.0
RATE = 20.0
_CGROUPS = Path("/sys/fs/cgroup")
_PERIOD = 100_000  # microseconds, as the kubelet's
_READY_SECONDS = 60


@dataclass(frozen=True)
class Seen:
    """Milliseconds, CPU seconds per 1,000 inferences, throttled periods of 100, and CPU milliseconds."""

    busy_p50: float
    busy_p99: float
    busy_cpu: float
    busy_throttled: float
    sparse_p50: float
    sparse_p99: float
    sparse_cpu: float
    sparse_throttled: float
    idle_cpu: float
    neighbour_p50: float
    neighbour_p99: float


class Cgroup:
    """A cgroup with a CPU quota, in version 1 or 2 of the hierarchy."""

    def __init__(self, cores: int) -> None:
        self._unified = (_CGROUPS / "cgroup.controllers").exists()
        places = ("",) if self._unified else ("cpu", "cpuacct")
        self._folders = [_CGROUPS / place / f"onnxmodel-bench-{os.getpid()}" for place in places]
        for folder in self._folders:
            folder.mkdir(exist_ok=True)
        if self._unified:
            (self._folders[0] / "cpu.max").write_text(f"{cores * _PERIOD} {_PERIOD}")
        else:
            (self._folders[0] / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (self._folders[0] / "cpu.cfs_quota_us").write_text(str(cores * _PERIOD))

    def enter(self) -> None:
        """Move this process into it."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def cpu(self) -> float:
        """CPU seconds that it used."""
        if self._unified:
            return self._stat()["usage_usec"] / 1e6
        return int((self._folders[1] / "cpuacct.usage").read_text()) / 1e9

    def periods(self) -> tuple[int, int]:
        """Periods in which it ran, and those in which it was throttled."""
        stat = self._stat()
        return stat["nr_periods"], stat["nr_throttled"]

    def _stat(self) -> dict[str, int]:
        lines = (self._folders[0] / "cpu.stat").read_text().splitlines()
        return {key: int(value) for key, value in map(str.split, lines)}

    def remove(self) -> None:
        """Its processes have ended."""
        for folder in self._folders:
            with suppress(FileNotFoundError):
                folder.rmdir()


def _model(folder: Path) -> Case:
    """Always the same: what a machine does with it is the measurement."""
    path = folder / "middle.onnx"
    chain(path, LAYERS)
    x = np.random.default_rng(1).standard_normal((1, ROWS, WIDTH), np.float32)
    what = f"{LAYERS} times MatMul ({WIDTH}x{WIDTH}) and Relu on {ROWS}x{WIDTH}"
    return Case("middle", path, what, x, session(path).run(["y"], {"x": x})[0])


def _serve(path: str, threads: int, mode: str) -> None:
    """In a process of its own: the server as it is but for what is compared."""
    from onnxmodel_runtime.contract.providers import Providers
    from onnxmodel_runtime.contract.serve import ServeRequest
    from onnxmodel_runtime.models import session as sessions
    from onnxmodel_runtime.models.digests import digest
    from onnxmodel_runtime.server.main import Server

    make = sessions._options

    def options(*arguments):  # type: ignore[no-untyped-def]
        made = make(*arguments)
        for key, value in MODES[mode].items():
            made.add_session_config_entry(key, value)
        return made

    sessions._options = options
    request = ServeRequest(
        "middle", path, digest(Path(path)), providers=Providers(threads=threads), host="127.0.0.1",
        http_port=0, grpc_port=0, metrics_port=0,
    )  # fmt: skip
    import asyncio

    server = Server(request)

    def tell() -> None:
        server.ready.wait()
        print(server.ports[0], flush=True)

    threading.Thread(target=tell, daemon=True).start()
    asyncio.run(server.run())


@contextmanager
def serving(model: Case, cores: int, mode: str) -> Iterator[tuple[Cgroup, "Client"]]:
    """A server in a cgroup of so many cores, ready, and a client of it."""
    group = Cgroup(cores)
    command = [sys.executable, "-m", "benchmarks.threads", "--serve", str(model.path), str(cores), mode]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=group.enter)
    try:
        assert process.stdout is not None
        yield group, Client(model, int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(_READY_SECONDS)
        for _ in range(100):
            with suppress(OSError):
                group.remove()
                break
            time.sleep(0.05)


class Client:
    """One connection."""

    def __init__(self, model: Case, port: int) -> None:
        self._request = model.http(binary=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._model = model

    def ask(self) -> float:
        """One inference; how long it took, in milliseconds."""
        began = time.perf_counter()
        self._connection.request("POST", self._request.path, self._request.body, self._request.headers)
        answer = self._connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - began
        assert answer.status == 200, body
        return took * 1e3


def paced(once: Callable[[], float], seconds: float, rate: float) -> list[float]:
    """Run it at a rate (0: again at once) and return what it took each time."""
    took: list[float] = []
    begin = time.perf_counter()
    for number in range(1 << 30):
        due = begin + number / rate if rate else 0.0
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        if time.perf_counter() - begin > seconds:
            return took
        took.append(once())
    return took


def _neighbour(path: str, seconds: float, pipe: "multiprocessing.connection.Connection") -> None:
    """Another process on the machine: the same model on one thread, at the same rate."""

    own, x = session(Path(path)), {"x": np.ones((1, ROWS, WIDTH), np.float32)}

    def once() -> float:
        began = time.perf_counter()
        own.run(None, x)
        return (time.perf_counter() - began) * 1e3

    paced(once, 0.3, 0)
    pipe.send(None)
    pipe.recv()
    pipe.send(paced(once, seconds, RATE))


def _summed(took: list[float]) -> tuple[float, float]:
    took = sorted(took)
    return took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.99))]


def measured(model: Case, cores: int, mode: str, seconds: float) -> Seen:
    """One round of one row."""
    with serving(model, cores, mode) as (group, client):
        paced(client.ask, 1.0, 0)
        out: list[float] = []
        for rate in (0.0, RATE):
            time.sleep(0.5)
            cpu, (ran, throttled) = group.cpu(), group.periods()
            took = paced(client.ask, seconds, rate)
            time.sleep(0.5)  # what follows the last request is its too
            ran, throttled = group.periods()[0] - ran, group.periods()[1] - throttled
            out += [*_summed(took), (group.cpu() - cpu) / len(took) * 1e3, 100 * throttled / max(1, ran)]
        idle = []
        for _ in range(3):
            time.sleep(1)
            client.ask()
            cpu = group.cpu()
            time.sleep(1)
            idle.append((group.cpu() - cpu) * 1e3)
        ours, theirs = multiprocessing.Pipe()
        neighbour = multiprocessing.get_context("spawn").Process(
            target=_neighbour, args=(str(model.path), seconds, theirs), daemon=True
        )
        neighbour.start()
        ours.recv()
        ours.send(None)
        paced(client.ask, seconds, RATE * 1.3)
        beside = ours.recv()
        neighbour.join()
    return Seen(*[*out, statistics.median(idle), *_summed(beside)])


_COLUMNS = ("limit", "spinning", *(field.name.replace("_", " ").replace("cpu", "CPU") for field in fields(Seen)))


def main() -> int:
    """Print the table."""
    if sys.argv[1:2] == ["--serve"]:
        _serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.threads", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--limits", type=int, nargs="+", default=LIMITS, metavar="CORES")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    options = parser.parse_args()
    seen: dict[tuple[int, str], list[Seen]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        model = _model(Path(scratch))
        print(f"{os.cpu_count()} cores; {model.what}; {options.rounds} rounds of {options.seconds:g} s\n", flush=True)
        for _ in range(options.rounds):
            for cores in options.limits:
                for mode in MODES:
                    seen.setdefault((cores, mode), []).append(measured(model, cores, mode, options.seconds))
    print(f"| {' | '.join(_COLUMNS)} |\n|---:|---|{'---:|' * len(fields(Seen))}")
    for (cores, mode), rounds in seen.items():
        figures = [statistics.median(getattr(one, field.name) for one in rounds) for field in fields(Seen)]
        print(f"| {cores} | {mode} | {' | '.join(f'{figure:.3g}' for figure in figures)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
