"""The child process of sandbox/parent.py: runs one function, and reports its steps and its end to the parent, a line each."""

import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from onnxmodel_runtime.contract.codec import dumps, loads
from onnxmodel_runtime.errors import StageError, clip, out_of_memory, ran_out_of_memory, runtime_words, storage_error
from onnxmodel_runtime.sandbox import progress
from onnxmodel_runtime.sandbox.limits import confine, give_back_at_once, memory_limit

R = TypeVar("R")


def main(
    kind: type[R], work: Callable[[R], Any], providers: Callable[[R], Sequence[str]], *, keep_memory: bool = False
) -> None:
    """Read a request of this kind from standard input, do the work, report, and end the process.

    work: imports what is heavy when it is called, which is after the limits are set. providers: names of the execution
    providers that will load the model. keep_memory: leave malloc as it is, as a server has it.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is for the parent to report
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # which blocked it: imports would print a traceback
    pipe = os.fdopen(int(sys.argv[-1]), "w", encoding="utf-8", buffering=1)
    step = progress.Step("starting")

    def tell(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")

    def on_step(now: progress.Step) -> None:
        nonlocal step
        step = now
        tell({"step": dataclasses.asdict(now)})

    request = loads(kind, sys.stdin.read())
    confine(cpu_only=set(providers(request)) == {"CPU"})
    if not keep_memory:
        give_back_at_once()
    progress.listen(on_step)
    try:
        tell({"result": json.loads(dumps(work(request)))})
    except StageError as error:
        findings = [dataclasses.asdict(finding) for finding in error.findings]
        tell({"failure": dataclasses.asdict(error.failure), "retry": error.retry, "findings": findings})
    except Exception as error:
        known = classify(error, step.doing)
        if known is not None:
            tell({"failure": dataclasses.asdict(known.failure), "retry": known.retry})
        else:
            traceback.print_exc()
            tell({"internal": clip(f"{type(error).__name__} while {step.doing}: {error}")})
    # Not an orderly exit: the result is told, and destructors of native sessions are one more place to crash.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def classify(error: Exception, step: str) -> StageError | None:
    """Convert an error that a model can cause in any step to a StageError. None for a defect of ours."""
    if ran_out_of_memory(error):
        return out_of_memory(step, clip(runtime_words(error) or "an allocation failed", 200), memory_limit())
    if isinstance(error, OSError):
        return storage_error(error, Path(error.filename or "/artifacts").parent)
    # By name: protobuf is not imported here. Names that are no text come up wherever native code tells one to Python.
    if type(error).__name__ in ("DecodeError", "UnicodeDecodeError"):
        return StageError(
            "ModelCorrupt",
            f"cannot decode the model: {clip(str(error), 200)} ({step})",
            "The file is damaged: replace it with an intact copy, and compare its sha256 with the original's.",
            "spec.source.uri",
        )
    return None
