"""The benchmark without the candidate that ended it. Standard library only: the parent uses it.

A candidate that crashes native code takes all of them with it. The benchmark then begins again without that one. Nothing
is tried beforehand: where nothing crashes, which is nearly always, no candidate is loaded twice.
"""

from dataclasses import replace

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest
from onnxmodel_runtime.contract.stages import Request
from onnxmodel_runtime.errors import StageError, clip

REASON_CHARACTERS = 200  # of each candidate that is left out: a termination message has room for six


def without(request: Request, error: Exception, suspect: str) -> BenchmarkRequest | None:
    """Return the same benchmark without the candidate that ended it. None if no candidate did, or the original.

    suspect: of the step in which the process died.
    """
    if not isinstance(request, BenchmarkRequest) or not isinstance(error, StageError) or error.retry:
        return None
    if error.failure.reason == "CandidatesDiffer":  # the request is wrong, and not the candidate
        return None
    others = {candidate.name for candidate in request.candidates[1:]}
    if suspect not in others or suspect in request.left_out:
        return None
    return replace(request, left_out={**request.left_out, suspect: clip(error.failure.message, REASON_CHARACTERS)})
