"""Send models to a worker process, and outlive whatever they do to it."""

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.sandbox.parent import died

START_SECONDS = 120.0


@dataclass(frozen=True)
class Verdict:
    """The outcome of one model. kind: passed, refused, failed (a defect of ours), crashed or hung.

    reason: the first error's id, or the name of the failure. golden: whether its outputs were compared with right ones.
    """

    kind: str
    seconds: float
    reason: str = ""
    message: str = ""
    golden: bool = False


class Worker:
    """One worker process; a new one after a crash or a hang."""

    def __init__(self, timeout: float = 60.0) -> None:
        self.timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._read = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def validate(self, request: ValidateRequest) -> Verdict:
        """Judge one model."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        started = time.perf_counter()
        self._process.stdin.write(dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._line(self.timeout)
        seconds = time.perf_counter() - started
        if isinstance(answer, dict):
            return Verdict(**answer)
        code = self._stop()
        if answer is None:
            return Verdict("hung", seconds, "Hung", f"no verdict within {self.timeout:.0f} s")
        return Verdict("crashed", seconds, "NativeCrash", str(died(code, "validate", "validating")))

    def _start(self) -> None:
        self._read, write = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.validator.worker", str(write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            pass_fds=(write,),
        )
        os.close(write)
        if not isinstance(self._line(START_SECONDS), dict):
            raise RuntimeError(f"the worker did not start: exit code {self._stop()}")

    def _line(self, timeout: float) -> dict[str, Any] | bytes | None:
        """The next line; b"" when the process ended, None when it said nothing in time."""
        line, end = b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(self._read, 1 << 16)
            if not chunk:
                return b""
            line += chunk
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _stop(self) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        os.close(self._read)
        try:
            process.wait(0.5)  # a crash has ended it by itself, and its signal is the news
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        return process.wait()
