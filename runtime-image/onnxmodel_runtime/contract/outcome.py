"""The end of a container: its exit code, and its outcome as the termination message."""

import base64
import binascii
import dataclasses
import functools
import json
import signal
import zlib
from dataclasses import dataclass, field
from enum import IntEnum

from onnxmodel_runtime.contract.codec import ContractError, as_data, dumps, load
from onnxmodel_runtime.contract.stages import RESULTS, Result
from onnxmodel_runtime.contract.validate import Finding

TERMINATION_LOG = "/dev/termination-log"
TERMINATION_BYTES = 4096  # what the kubelet keeps of a termination message
_PREFIX = "onnxmodel/v1:"
CRASHES = (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
"""Signals by which native code crashes."""


def killed_by(number: signal.Signals) -> int:
    """Return the exit code of a container whose process a signal terminated."""
    return 128 + number


class ExitCode(IntEnum):
    """Exit code of a container. Any other code is unexpected, and retried a bounded number of times."""

    OK = 0
    REFUSED = 10
    """Running again gives the same answer: the model, the request or the data must change."""
    RETRY = 11
    """Something outside was unavailable (network, storage): it may pass."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a stage, written for the person who reads it.

    reason: CamelCase, stable, for machines. message: what happened, to which field or tensor. hint: what to do.
    """

    reason: str
    message: str
    hint: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a container: a result or a failure, never both.

    command: of the table in stages.py. findings: why validation refused the model (a result has its own). images: of what
    the stage left, as PushResult has them. The operator adds them; a stage, which parses a model, has no say in them.
    """

    command: str
    seconds: float
    result: Result | None = None
    failure: Failure | None = None
    retry: bool = False
    findings: tuple[Finding, ...] = ()
    images: dict[str, str] = field(default_factory=dict)


def as_json(outcome: Outcome) -> str:
    """Serialize an outcome, without images where there are none."""
    data = as_data(outcome)
    if not outcome.images:
        del data["images"]
    return dumps(data)


def encode(outcome: Outcome) -> str:
    """Encode an outcome as a termination message.

    Raises ContractError if it does not fit: each stage bounds its lists, so that is a defect, not an error of the input.
    """
    packed = zlib.compress(as_json(outcome).encode(), 9)
    text = _PREFIX + base64.b64encode(packed).decode()
    if len(text) > TERMINATION_BYTES:
        raise ContractError(
            f"the outcome of {outcome.command} needs {len(text)} bytes, but only {TERMINATION_BYTES} fit"
        )
    return text


@functools.lru_cache(maxsize=512)
def decode(text: str) -> Outcome:
    """Decode a termination message. Raises ContractError for anything else, including a truncated message.

    The last messages are remembered, because each turn of a model reads the same ones again: callers must not change an
    outcome.
    """
    if not text.startswith(_PREFIX):
        raise ContractError("not an outcome of this version's contract")
    try:
        packed = base64.b64decode(text.removeprefix(_PREFIX).strip(), validate=True)
        # The bound is against a message made to be large: a pod's termination message is written by the pod.
        raw = zlib.decompressobj().decompress(packed, 1 << 20)
        data = json.loads(raw.decode())
        # Status holds no NaN and no infinity, which are no JSON, and no half of a surrogate pair, as in odd names of files.
        data = json.loads(json.dumps(data, allow_nan=False, ensure_ascii=False).encode(errors="replace"))
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise ContractError(f"cannot parse the outcome: {error}") from error
    result = data.pop("result", None) if isinstance(data, dict) else None
    outcome = load(Outcome, data)
    if result is None:
        return outcome
    if outcome.command not in RESULTS:
        raise ContractError(f"{outcome.command!r} has no result")
    return dataclasses.replace(outcome, result=load(RESULTS[outcome.command], result))
