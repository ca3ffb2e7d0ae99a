"""The process that validates: one request a line on standard input, one verdict a line on the pipe that it was given.

It is started once and used for many models, so that what is measured is the validator and not Python's start. A model
that crashes it costs this process only.
"""

import json
import os
import resource
import sys
import time
from typing import Any

from onnxmodel_runtime.contract.codec import loads
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox import child, limits

MEMORY_BYTES = 4 << 30  # what a container with a limit of 4 GiB lets the stage have


def main() -> None:
    """Import everything, say so, then judge models until standard input ends."""
    pipe = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", buffering=1)
    limits.confine(cpu_only=True)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    from onnxmodel_runtime.stages.validate import supported

    supported()  # what an ONNX Runtime can load is tried out once per process
    pipe.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        pipe.write(json.dumps(judge(loads(ValidateRequest, line))) + "\n")


def judge(request: ValidateRequest) -> dict[str, Any]:
    """The verdict on one model: passed; refused, with the first error; or failed, which is a defect of ours."""
    from onnxmodel_runtime.stages.validate import validate

    started = time.perf_counter()
    verdict: dict[str, Any]
    try:
        result = validate(request)
        verdict = {"kind": "passed", "golden": result.golden is not None}
    except Exception as error:
        known = error if isinstance(error, StageError) else child.classify(error, "validating")
        if known is None:
            verdict = {"kind": "failed", "reason": type(error).__name__, "message": str(error)[:500]}
        else:
            verdict = {"kind": "refused", "reason": _first(known), "message": known.failure.message}
    return {**verdict, "seconds": time.perf_counter() - started}


def _first(error: StageError) -> str:
    """The id of the first error that was found; the reason of what was no finding, such as memory that ran out."""
    return next((finding.id for finding in error.findings if finding.severity == "error"), error.failure.reason)


if __name__ == "__main__":
    main()
