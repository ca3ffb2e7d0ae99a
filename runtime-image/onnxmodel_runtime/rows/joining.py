"""Decide whether a server batches requests: one rule for this project's server and for Triton."""

from pathlib import Path
from typing import NamedTuple

from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import clip
from onnxmodel_runtime.models.parity import Arrays
from onnxmodel_runtime.rows import INFLUENCED, REASON_CHARACTERS, trial
from onnxmodel_runtime.rows.trial import Run

_JOINED, _NOT = "joined", "not joined: "
NO_BATCH = "the model has no batch axis"
ONE_ROW = "serving.batching.maxBatchSize is 1"
NO_DELAY = "serving.batching.maxQueueDelayMicroseconds is 0: no request waits for another"


class Unjoined(NamedTuple):
    """The reason why requests are not batched; "" if they may be.

    influenced: because rows influence each other, or may: then the outputs of a batch are not known beforehand.
    """

    why: str
    influenced: bool = False


def unjoined(request: ServeRequest, most: int) -> Unjoined:
    """Decide whether requests are batched, before anything is tried. most: rows of a batch, 0 without a batch axis.

    The graph's verdict comes before a delay of 0 in the spec: a longer delay would change nothing.
    """
    if not most:
        return Unjoined(NO_BATCH)
    if most == 1:
        return Unjoined(ONE_ROW)
    judged = request.unjoined
    if judged is None:
        from onnxmodel_runtime.rows.judge import judge_file  # brings onnx, which a server needs for nothing else

        judged = judge_file(Path(request.model)).unjoined
    if judged:
        return Unjoined(judged, influenced=True)
    return Unjoined("" if request.max_queue_delay_microseconds else NO_DELAY)


def tried(request: ServeRequest, run: Run, given: Arrays, most: int) -> Unjoined:
    """Decide by a trial on the session that serves, or one like it, whether rows influence each other.

    given: the probe's rows; without them nothing is tried. run: all outputs of a batch.
    """
    found = trial.dependence(run, given, request.tolerance, most) if given else ""
    why = clip(f"{INFLUENCED}: tested in this session, {found}", REASON_CHARACTERS)
    return Unjoined(why, influenced=True) if found else Unjoined("")


def told(reason: str) -> str:
    """Return the reason as servers report it in the parameter `batching` of the model's configuration."""
    return f"{_NOT}{reason}" if reason else _JOINED


def heard(parameter: str) -> str | None:
    """Reverse `told`. None for anything else."""
    if parameter == _JOINED:
        return ""
    return parameter.removeprefix(_NOT) if parameter.startswith(_NOT) else None
