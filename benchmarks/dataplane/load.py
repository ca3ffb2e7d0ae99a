"""The client: a Go program, built on first use, that costs less than what it measures."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dataplane.models import Case
from benchmarks.dataplane.subjects import Running
from tests.cluster.golang import go

_SOURCE = Path(__file__).parent / "load"
PER_CONNECTION = 6
"""Calls that share a gRPC connection, as in Triton's perf_analyzer."""


@dataclass(frozen=True)
class Figures:
    """What a window showed; times in seconds."""

    throughput: float
    p50: float
    p99: float
    cpu_per_1000: float
    client_cpu: float  # cores


class Load:
    """The program, and where its files lie."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = directory / "load"
        subprocess.run([go(), "build", "-o", self._program, "."], cwd=_SOURCE, check=True)

    def run(self, case: Case, protocol: str, server: Running, concurrency: int, seconds: float) -> Figures:
        """Measure one window, after a warm-up. Raises RuntimeError when an answer is not what it must be."""
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
            "warm": f"{min(2.0, seconds / 2)}s",
            "window": f"{seconds}s",
            "pids": ",".join(map(str, server.pids)),
        }
        command = [str(self._program), *(f"-{name}={value}" for name, value in options.items())]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{protocol}, concurrency {concurrency}: {done.stderr.strip()}")
        found = json.loads(done.stdout)
        case.check(protocol, answer.read_bytes(), found["head"])
        return Figures(
            found["count"] / found["seconds"],
            found["p50"],
            found["p99"],
            found["server_cpu"] / found["count"] * 1000,
            found["client_cpu"] / found["seconds"],
        )
