"""Whether a server joins requests to batches: one rule for this project's server and for Triton."""

from pathlib import Path

from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import clip
from onnxmodel_runtime.parity import Arrays
from onnxmodel_runtime.rows import INFLUENCED, REASON_CHARACTERS, trial
from onnxmodel_runtime.rows.trial import Run

_JOINED, _NOT = "joined", "not joined: "
NO_BATCH = "the model has no batch axis"
ONE_ROW = "serving.batching.maxBatchSize is 1"
NO_DELAY = "serving.batching.maxQueueDelayMicroseconds is 0: no request waits for another"


def unjoined(request: ServeRequest, most: int) -> str:
    """Why requests are not joined, before anything is tried; "" where they may be.

    most: rows of a batch, 0 where there is no batch axis. What the graph says comes before what the spec does not ask for:
    a longer delay would change nothing.
    """
    if not most:
        return NO_BATCH
    if most == 1:
        return ONE_ROW
    judged = request.unjoined
    if judged is None:
        from onnxmodel_runtime.rows.judge import judge_file  # brings onnx, which a server needs for nothing else

        judged = judge_file(Path(request.model)).unjoined
    if judged:
        return judged
    return "" if request.max_queue_delay_microseconds else NO_DELAY


def influenced(reason: str) -> bool:
    """Whether the reason is that rows influence each other, or may: then a batch has no answer that is known beforehand."""
    return INFLUENCED in reason


def influence(what: str) -> str:
    """The reason where rows influence each other."""
    return clip(f"{INFLUENCED}: {what}", REASON_CHARACTERS)


def tried(request: ServeRequest, run: Run, given: Arrays, most: int) -> str:
    """Why requests are not joined, by a trial on the session that serves, or one like it; "" when it shows no reason.

    given: the probe's rows; without them nothing is tried. run: all outputs of a batch.
    """
    found = trial.dependence(run, given, request.tolerance, most) if given else ""
    return influence(f"tried in this session, {found}") if found else ""


def told(reason: str) -> str:
    """What servers say of it as the parameter `batching` of the model's configuration."""
    return f"{_NOT}{reason}" if reason else _JOINED


def heard(parameter: str) -> str | None:
    """The reverse of told; None for anything else."""
    if parameter == _JOINED:
        return ""
    return parameter.removeprefix(_NOT) if parameter.startswith(_NOT) else None
