"""The server of a run, as a process on loopback."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxmodel_cli import server
from onnxmodel_runtime.contract.codec import ContractError, dumps
from onnxmodel_runtime.contract.outcome import Failure, decode
from onnxmodel_runtime.contract.serve import MAX_QUEUE_SIZE, ServeRequest

HOST = "127.0.0.1"
_PORTS = ("http_port", "grpc_port", "metrics_port")
_READY_SECONDS = 600.0
_STOP_SECONDS = 60.0


class ServerProcess:
    """One server. It is a process of its own because it serves while this one asks it."""

    def __init__(self, request: ServeRequest, termination: Path) -> None:
        """Start the server. request: with paths of this machine. termination: the file for its termination message."""
        self.ports: dict[str, Any] = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        queue = request.max_queue_size or MAX_QUEUE_SIZE
        given = replace(request, host=HOST, max_queue_size=queue, **self.ports)
        self._termination = termination
        termination.write_text("")
        self._process = subprocess.Popen(
            [sys.executable, "-m", server.__name__, dumps(given)],
            env={**os.environ, "ONNXMODEL_TERMINATION_LOG": str(termination)},
            stdout=sys.stderr,
        )

    def wait_ready(self) -> tuple[int | None, Failure] | None:
        """Wait until the server is ready. Returns its exit code and the reason if it is not, else None."""
        try:
            if self._ready():
                return None
            code = self._process.poll()
            failure = Failure("InternalError", f"the server exited with code {code}", "See its output above.")
            with suppress(ContractError):
                failure = decode(self._termination.read_text()).failure or failure
            return code, failure
        finally:
            self._termination.unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop the server, which drains first."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _ready(self) -> bool:
        url = f"http://{HOST}:{self.ports['http_port']}/v2/health/ready"
        deadline = time.monotonic() + _READY_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(url, timeout=5):
                return True
            time.sleep(0.1)
        return False


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [item.getsockname()[1] for item in sockets]
    finally:
        for item in sockets:
            item.close()
