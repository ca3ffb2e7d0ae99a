"""The client: a Go program, built on first use, that costs less than what it measures."""

import json
import subprocess
from pathlib import Path

from benchmarks.dataplane.models import Case
from benchmarks.dataplane.results import Figures
from benchmarks.dataplane.subjects import Running
from dev.cluster.golang import go

_SOURCE = Path(__file__).parent / "load"
PER_CONNECTION = 6
"""Calls that share a gRPC connection, as in Triton's perf_analyzer."""


class Load:
    """The program, and where its files lie."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = directory / "load"
        subprocess.run([go(), "build", "-o", self._program, "."], cwd=_SOURCE, check=True)

    def run(self, case: Case, server: Running, protocol: str, concurrency: int, warm: float, seconds: float) -> Figures:
        """Measure one window, after a warm-up; a longer one when no request ends in it.

        Raises RuntimeError when an answer is not what it must be.
        """
        request = case.grpc() if protocol == "grpc" else case.http(server.subject.binary)
        body, answer = self._directory / "request", self._directory / "answer"
        body.write_bytes(request.body)
        options = {
            "protocol": protocol,
            "address": f"127.0.0.1:{server.ports[protocol]}",
            "path": request.path,
            "headers": ",".join(f"{name}={value}" for name, value in request.headers.items()),
            "body": body,
            "save": answer,
            "concurrency": concurrency,
            "shared": PER_CONNECTION,
            "warm": f"{warm}s",
            "window": f"{seconds}s",
            "pids": ",".join(map(str, server.pids)),
        }
        command = [str(self._program), *(f"-{name}={value}" for name, value in options.items())]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            where = f"{server.subject.name}, {protocol}, concurrency {concurrency}"
            raise RuntimeError(f"{where}: {done.stderr.strip()}")
        found = json.loads(done.stdout)
        case.check(protocol, answer.read_bytes(), found["head"])
        if not found["count"]:
            return self.run(case, server, protocol, concurrency, warm, 2 * seconds)
        return Figures(
            found["count"] / found["seconds"],
            found["p50"],
            found["p99"],
            found["server_cpu"] / found["count"] * 1000,
        )
