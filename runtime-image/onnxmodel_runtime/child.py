"""The child process of isolate.py: runs one stage and tells its parent, line by line, what it does and how it ended.

Nothing heavy is imported before the limits are set.
"""

import dataclasses
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from onnxmodel_runtime import progress
from onnxmodel_runtime.contract.codec import dumps, loads
from onnxmodel_runtime.contract.optimize import Variant
from onnxmodel_runtime.contract.stages import COMMANDS, REPOSITORY, Result, Stage
from onnxmodel_runtime.errors import StageError, clip, out_of_memory, ran_out_of_memory, runtime_words, storage_error
from onnxmodel_runtime.limits import confine, give_back_at_once, memory_limit
from onnxmodel_runtime.variants import VARIANT, VariantRequest


def main() -> None:
    """Read the request from standard input, run the stage, report."""
    command, pipe = sys.argv[1], os.fdopen(int(sys.argv[2]), "w", encoding="utf-8", buffering=1)
    step = progress.Step("starting")

    def tell(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")

    def on_step(now: progress.Step) -> None:
        nonlocal step
        step = now
        tell({"step": dataclasses.asdict(now)})

    request: Any = loads(VariantRequest if command == VARIANT else COMMANDS[command].request, sys.stdin.read())
    providers = getattr(getattr(request, "serve", request), "providers", None)
    confine(cpu_only=set(getattr(providers, "names", ("CPU",))) == {"CPU"})
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
        known = classify(error, step.doing)
        if known is not None:
            tell({"failure": dataclasses.asdict(known.failure), "retry": known.retry})
        else:
            tell({"internal": clip(f"{type(error).__name__} while {step.doing}: {error}")})
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


if __name__ == "__main__":
    main()
