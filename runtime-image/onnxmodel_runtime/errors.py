"""How a stage says that it did not succeed. Standard library only: the light parent process uses it."""

import errno
import re
import shutil
from pathlib import Path

from onnxmodel_runtime.contract import ExitCode, Failure, Finding

# What ONNX Runtime, CUDA and numpy say when an allocation fails: they have no exception type for it.
_MEMORY_WORDS = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory", "alloc_failed")
# What is of no use to a reader of ONNX Runtime's messages: its status numbers, its source files.
_RUNTIME_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |\S{0,200}/onnxruntime/\S{1,200}\.(cc|h):\d+ ?|Fatal error: "
)
NAME_CHARACTERS = 200  # names are the model's, and end in a message of 4,096 bytes
MESSAGE_CHARACTERS = 800  # a termination message holds 4,096 bytes, and a person reads one sentence


class StageError(Exception):
    """A known failure: what happened, to what, and what to do. retry: something outside was not there, it may pass.

    findings: all that was found of a model that is refused; the failure is the first of the errors.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        hint: str,
        field: str = "",
        *,
        retry: bool = False,
        findings: tuple[Finding, ...] = (),
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.failure = Failure(reason, clip(message), clip(hint), field)
        self.retry = retry
        self.findings = findings

    @property
    def exit_code(self) -> ExitCode:
        """What the container ends with."""
        return ExitCode.RETRY if self.retry else ExitCode.REFUSED


def clip(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """At most `limit` characters on one line: names and messages come from the model, which may make them huge."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def out_of_memory(step: str, detail: str, limit_bytes: int = 0) -> StageError:
    """The one wording for every way in which memory ends: the kernel's kill, malloc's refusal, a GPU's allocator."""
    limit = f" under a limit of {size(limit_bytes)}" if limit_bytes else ""
    return StageError(
        "OutOfMemory",
        f"memory ran out while {step}{limit}: {detail}",
        "Give the stage more memory (spec.serving.resources; for validate settings.jobs.resources in the chart's values), use "
        "a smaller batch, or a smaller or quantized model.",
    )


def storage_error(error: OSError, directory: Path) -> StageError | None:
    """What the volume of `directory` refused, if this error is about that."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = size(shutil.disk_usage(directory).free) if directory.is_dir() else "nothing"
        return StageError(
            "StorageFull",
            f"the volume of {directory} is full: {free} free; {error.strerror}",
            "Expand the model's PersistentVolumeClaim (<model>-artifacts), or raise artifacts.size in the operator's settings, "
            "which is for new models.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StageError(
            "StorageForbidden",
            f"{error.filename or directory} cannot be used: {error.strerror}",
            "Mount the volume of artifacts writable for the container's user (fsGroup).",
        )
    return None


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an allocation that failed is behind this exception."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in _MEMORY_WORDS)


def runtime_message(error: Exception) -> str:
    """ONNX Runtime's words without its own internals. Raises `error` again when memory ran out.

    Memory is no property of the model alone: isolate.py classifies it.
    """
    if ran_out_of_memory(error):
        raise error
    return clip(_RUNTIME_NOISE.sub("", words(error)), 500)


def words(error: Exception) -> str:
    """An exception's text, as much of it as is worth a search: names come from the model and may be of any length."""
    return str(error)[:4000]


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
