"""The page of all models as a process, for tests and benchmarks."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from dev.ports import reserved

_SECONDS = 30.0


@dataclass(frozen=True)
class RunningPage:
    """A page that answers."""

    address: str
    process: subprocess.Popen[bytes]


@contextmanager
def serving(environment: Mapping[str, str], *arguments: str) -> Iterator[RunningPage]:
    """Start the page, and end it with the block. environment: names the kubeconfig."""
    with reserved(1) as (port,):
        command = [sys.executable, "-m", "onnxmodel_page", f"--port={port}", *arguments]
        process = subprocess.Popen(command, env=dict(environment))
        try:
            _wait(f"http://127.0.0.1:{port}", process)
            yield RunningPage(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(timeout=_SECONDS)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the page did not start") from None
            time.sleep(0.05)
