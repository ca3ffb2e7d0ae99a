"""The child process of isolate.py: runs one stage and tells its parent, line by line, what it does and how it ended.

Nothing heavy is imported before the limits are set.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from onnxmodel_runtime import progress
from onnxmodel_runtime.contract.codec import dumps, loads
from onnxmodel_runtime.contract.optimize import Variant
from onnxmodel_runtime.contract.stages import COMMANDS, REPOSITORY, Result, Stage
from onnxmodel_runtime.errors import StageError, clip, out_of_memory, ran_out_of_memory, runtime_words, storage_error
from onnxmodel_runtime.isolate import memory_limit
from onnxmodel_runtime.sandbox import without_network
from onnxmodel_runtime.variants import VARIANT, VariantRequest

_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD = -3
_RESERVE = 64 << 20  # for what else is counted: the kernel's tables, files in memory, what a parent takes meanwhile


def main() -> None:
    """Read the request from standard input, run the stage, report."""
    command, pipe = sys.argv[1], os.fdopen(int(sys.argv[2]), "w", encoding="utf-8", buffering=1)
    step = "starting"

    def tell(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")

    def on_step(doing: str) -> None:
        nonlocal step
        step = doing
        tell({"step": doing})

    request: Any = loads(VariantRequest if command == VARIANT else COMMANDS[command].request, sys.stdin.read())
    providers = getattr(getattr(request, "serve", request), "providers", None)
    sandbox(cpu_only=set(getattr(providers, "names", ("CPU",))) == {"CPU"})
    if command != Stage.BENCHMARK:  # whose memory is as the server's
        give_back_at_once()
    progress.listen(on_step)
    try:
        tell({"result": json.loads(dumps(stage(command, request)))})
    except StageError as error:
        findings = [dataclasses.asdict(finding) for finding in error.findings]
        tell({"failure": dataclasses.asdict(error.failure), "retry": error.retry, "findings": findings})
    except Exception as error:
        traceback.print_exc()
        known = classify(error, step)
        if known is not None:
            tell({"failure": dataclasses.asdict(known.failure), "retry": known.retry})
        else:
            tell({"internal": clip(f"{type(error).__name__} while {step}: {error}")})
    # Not an orderly exit: the result is told, and destructors of native sessions are one more place to crash.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def classify(error: Exception, step: str) -> StageError | None:
    """What any step can raise because of the model; None for a defect of ours."""
    if ran_out_of_memory(error):
        return out_of_memory(step, clip(runtime_words(error) or "an allocation was refused", 200), memory_limit())
    if isinstance(error, OSError):
        return storage_error(error, Path(error.filename or "/artifacts").parent)
    # By name: protobuf is not imported here. Names that are no text come up wherever native code tells one to Python.
    if type(error).__name__ in ("DecodeError", "UnicodeDecodeError"):
        return StageError(
            "ModelCorrupt",
            f"the model cannot be decoded while {step}: {clip(str(error), 200)}",
            "The file is damaged: upload it again and compare its sha256 with the original's.",
            "spec.source.uri",
        )
    return None


def stage(command: str, request: Any) -> Result | Variant:
    """Run a stage, or the part of one that has a process of its own, in this process."""
    if command == VARIANT:
        from onnxmodel_runtime.variants.make import make

        return make(request)
    if command == "validate":
        from onnxmodel_runtime.validate import validate

        return validate(request)
    if command == "optimize":
        from onnxmodel_runtime.optimize import optimize

        return optimize(request)
    if command == "benchmark":
        from onnxmodel_runtime.benchmark import benchmark

        return benchmark(request)
    if command == REPOSITORY:
        from onnxmodel_runtime.triton.repository import lay_out

        return lay_out(request)
    raise ValueError(f"{command} does not run in a child process")


def sandbox(*, cpu_only: bool) -> None:
    """Make this process the one that dies, without network or a core file on the node, and not outlive its parent."""
    without_network()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel picks the child, so that the parent can tell
    limit = memory_limit()
    if limit and cpu_only:
        # The kubelet lets the kernel kill all processes of a container together, the parent too. An allocation beyond
        # what the container has left fails here first, as an exception. CUDA maps far more than it uses: not there.
        mine, (_, hard) = share(limit, held_above()), resource.getrlimit(resource.RLIMIT_DATA)
        mine = mine if hard == resource.RLIM_INFINITY else min(mine, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (mine, mine))


def give_back_at_once() -> None:
    """Have malloc take large blocks from the kernel one by one, and give each back when it is freed.

    By itself it does so only until the first of them is freed. From then on it keeps them, and a session of ONNX Runtime
    holds its copy of the model, which it needs no more, beside the weights.
    """
    with contextlib.suppress(OSError, AttributeError):  # musl has no such function
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def share(limit: int, held: int) -> int:
    """Bytes of the container's limit for this process. held: by those that wait for it; half it gets in any case."""
    return max(limit - held - _RESERVE, limit // 2)


def held_above(proc: Path = Path("/proc"), process: str = "self") -> int:
    """Bytes of memory of their own that this process's parent and its parents hold, as far as they can be seen."""
    held = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        while (process := (proc / process / "stat").read_text().rpartition(")")[2].split()[1]) != "0":
            _, resident, shared, *_ = map(int, (proc / process / "statm").read_text().split())
            held += (resident - shared) * resource.getpagesize()
    return held


if __name__ == "__main__":
    main()
