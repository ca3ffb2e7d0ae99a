"""Run a child process, and turn every way in which it can end into a report or a known failure.

A model is untrusted input to native code: ONNX Runtime can be made to divide by zero, to read out of bounds, or to take
all memory. Here that ends the child; this parent stays light (no onnx, no onnxruntime, no numpy) and reports it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from onnxmodel_runtime.contract.codec import load
from onnxmodel_runtime.contract.outcome import CRASHES
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import StageError, clip, out_of_memory
from onnxmodel_runtime.sandbox.limits import memory_limit
from onnxmodel_runtime.sandbox.progress import Step

_PR_SET_DUMPABLE = 4
_LOADER = 127  # the dynamic loader's own exit: it binds functions as they are first called, and had no memory to do so


class InternalError(Exception):
    """The stage raised an unexpected exception. Its traceback is in the log."""


@dataclass(frozen=True)
class ChildEnd:
    """The end of a child process. code: as subprocess returns it; step: its last one; stopped: it was asked to stop.

    report: what it reported at its end: a result, a failure, or the kind of a defect; None if it died before. expired:
    the seconds after which it was killed; 0 if it was in time.
    """

    code: int
    step: Step
    report: dict[str, Any] | None
    stopped: bool
    expired: float = 0.0


def failed(ended: ChildEnd, command: str) -> Exception:
    """Return the exception for a child that left no result."""
    report = ended.report
    if ended.expired:
        return StageError(
            "TimedOut",
            f"{command} did not finish within {ended.expired:g} s; it was {ended.step.doing}",
            "A loop in the model may never terminate: check trip counts and conditions of Loop and Scan. If "
            "the model is just large, provide more CPU.",
        )
    if report is not None and "failure" in report:
        findings = tuple(load(Finding, finding) for finding in report.get("findings", ()))
        return StageError(**report["failure"], retry=report["retry"], findings=findings)
    if ended.stopped:
        message = f"{command} was asked to terminate while {ended.step.doing}"
        return StageError("Interrupted", message, "It is retried automatically.", retry=True)
    if report is not None:
        return InternalError(str(report.get("internal")))
    return died(ended.code, command, ended.step.doing)


def launch(child: Sequence[str], request: str, seconds: float = 0.0, **environment: str) -> ChildEnd:
    """Run a child process with this request, and wait for its end.

    child: the module that it runs, which calls sandbox/child.py, and its arguments. seconds: when it is killed, 0 for never.
    environment: added to this one's.
    """
    # This process has the network. Nobody of its own user, such as a child that a model took over, may look into it.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
    read_end, write_end = os.pipe()
    # -P: the working directory may hold what a user downloaded, and must not be where modules are imported from.
    with _without_interrupts():  # until child.py is ready for them
        process = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", *child, str(write_end)],
            stdin=subprocess.PIPE,
            stdout=2,  # standard output is for results: no tool's words
            # numpy's BLAS would start a thread with large buffers for each core of the node, whatever the container's share.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **environment},
            pass_fds=(write_end,),
        )
    os.close(write_end)
    with _forward_sigterm(process) as stopped, _at_most(seconds, process) as expired:
        step, report = _listen(process, read_end, request)
        code = process.wait()
    return ChildEnd(code, step, report, bool(stopped), seconds if expired else 0.0)


def died(code: int, command: str, step: str) -> Exception:
    """Return the exception for a child that left no report. code: as subprocess returns it, negative for a signal."""
    if code == _LOADER:
        return out_of_memory(step, f"the {command} process could not load another library", memory_limit())
    if code >= 0:
        return InternalError(f"the {command} process exited with code {code} and without a report, while {step}")
    name = signal.Signals(-code).name
    if -code in CRASHES:
        return StageError(
            "NativeCrash",
            f"the {command} process was terminated by {name} while {step}: native code cannot process this model",
            "Export the model again with a current exporter and check unusual attributes and shapes "
            "(onnxmodel validate MODEL names the step); report the crash to ONNX Runtime if the model is "
            "valid.",
        )
    if -code == signal.SIGKILL:
        return out_of_memory(step, f"the kernel killed the {command} process", memory_limit())
    return StageError(
        "Interrupted",
        f"the {command} process was terminated by {name} while {step}",
        "It is retried automatically.",
        retry=True,
    )


def _listen(child: "subprocess.Popen[bytes]", read_end: int, request: str) -> tuple[Step, dict[str, Any] | None]:
    step, report = Step("starting"), None
    assert child.stdin is not None
    try:
        with child.stdin as stdin:
            stdin.write(request.encode())
    except BrokenPipeError:
        pass  # the child died at its start: its exit code says more
    with os.fdopen(read_end, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # cut short by the death that the exit code tells of
            if "step" in message:
                step = Step(clip(message["step"]["doing"], 200), message["step"]["suspect"])
            else:
                report = message
    return step, report


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block SIGINT, also in the processes that are started meanwhile."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def _at_most(seconds: float, child: "subprocess.Popen[bytes]") -> Iterator[list[bool]]:
    """Kill the child after a while; 0 for never. The list is empty when it was in time."""
    expired: list[bool] = []

    def kill() -> None:
        expired.append(True)
        child.kill()

    timer = threading.Timer(seconds, kill) if seconds > 0 else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield expired
    finally:
        if timer:
            timer.cancel()


@contextmanager
def _forward_sigterm(child: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    stopped: list[int] = []

    def forward(signum: int, _frame: FrameType | None) -> None:
        stopped.append(signum)
        child.terminate()

    previous = signal.signal(signal.SIGTERM, forward)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, previous)
        if child.poll() is None:
            child.kill()
            child.wait()
