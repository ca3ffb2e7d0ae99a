"""Exceptions by which a stage reports a failure. Standard library only: the light parent process uses it."""

import errno
import re
import shutil
from pathlib import Path

from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from onnxmodel_runtime.contract.validate import Finding

# What ONNX Runtime, CUDA and numpy say when an allocation fails: they have no exception type for it.
MEMORY_WORDS = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory", "alloc_failed")
# What is of no use to a reader of ONNX Runtime's messages: its status numbers, its source files and what stands there.
_RUNTIME_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Fatal error: | ?; (?:hostname|file|line|expr)=[^;]{0,300}"
)
_RUNTIME_PLACE = re.compile(r"([\w/.+-]{1,300})\.(?:cc|h|cpp|hpp|cu|cuh):\d+ ?")
_RUNTIME_NODE = re.compile(r"Non-zero status code returned while running (\S+) node\. Name:'(.*?)' Status Message: ")
_FAILED_CHECK = " was false."
_KERNEL = re.compile(r"::((?:DeepCpu)?([A-Z]\w{0,99}?)(?:Base|Helper|Attributes|Op)?)(?:<[^<>]{0,99}>)?::\1\(")
_NO_NUMBER = re.compile(r"\bsto(?:i|u?ll?|f|l?d)$")  # C++'s functions have nothing but their names to say
NAME_CHARACTERS = 200  # names are the model's, and end in a message of 4,096 bytes
MESSAGE_CHARACTERS = 800  # a termination message holds 4,096 bytes, and a person reads one sentence


class StageError(Exception):
    """A known failure: what happened, to what, and what to do. retry: something outside was unavailable; it may pass.

    findings: all findings on a model that is refused; the failure is the first of the errors.
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
        """The exit code of the container."""
        return ExitCode.RETRY if self.retry else ExitCode.REFUSED


def clip(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """Return at most `limit` characters on one line: names and messages come from the model and may be huge."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def out_of_memory(step: str, detail: str, limit_bytes: int = 0) -> StageError:
    """Return the one error for every way to run out of memory: kernel's kill, malloc's refusal, GPU's allocator."""
    limit = f" under a limit of {size(limit_bytes)}" if limit_bytes else ""
    return StageError(
        "OutOfMemory",
        f"out of memory while {step}{limit}: {detail}",
        "Raise spec.serving.resources.limits.memory (for validate: settings.jobs.resources in the chart's values), or use a "
        "smaller batch, or a smaller or quantized model.",
    )


def storage_error(error: OSError, directory: Path) -> StageError | None:
    """Convert an error of the volume that holds `directory` to a StageError. None for any other error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = size(shutil.disk_usage(directory).free) if directory.is_dir() else "nothing"
        return StageError(
            "StorageFull",
            f"the volume of {directory} is full: {free} free; {error.strerror}",
            "Expand the model's PersistentVolumeClaim (<model>-artifacts), or raise artifacts.size in the "
            "operator's settings, which applies to new models.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StageError(
            "StorageForbidden",
            f"cannot use {error.filename or directory}: {error.strerror}",
            "Mount the artifacts volume writable for the container's user (fsGroup).",
        )
    return None


def ran_out_of_memory(error: Exception) -> bool:
    """Return whether a failed allocation caused this exception."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in MEMORY_WORDS)


def runtime_message(error: Exception) -> str:
    """Return ONNX Runtime's message without its internals. Raises `error` again if it is about memory.

    Memory is no property of the model alone: sandbox/parent.py classifies it.
    """
    if ran_out_of_memory(error):
        raise error
    return runtime_words(error)


def runtime_words(error: Exception) -> str:
    """Return ONNX Runtime's message: the node and what is wrong, without paths of its sources and C++ signatures."""
    text = _RUNTIME_NOISE.sub("", words(error)).partition("Stacktrace:")[0].replace("std::bad_alloc", "out of memory")
    text = _RUNTIME_NODE.sub(lambda node: f"{node[1]} node{f' {node[2]!r}' if node[2] else ''}: ", text)
    said, *pieces = _RUNTIME_PLACE.split(text)
    for file, piece in zip(pieces[::2], pieces[1::2], strict=True):
        kernel = _KERNEL.search(piece) if " node" not in said else None
        said += _behind_the_place(piece, whole="/" in file, kernel=kernel[2] if kernel else "")
    return clip(_NO_NUMBER.sub("a string that is not a number", said.rstrip(" ;")), 500)


def node_words(error: Exception) -> str:
    """Return a node's own message, without its operator and its name. "" if no node ran."""
    text = words(error)
    nodes = list(_RUNTIME_NODE.finditer(text))  # of a node in a branch, those around it, too
    return runtime_words(Exception(text[nodes[-1].end() :])) if nodes else ""


def _behind_the_place(text: str, *, whole: bool, kernel: str) -> str:
    """Return the text after the name of the function, and after its signature and the failed check if they are there.

    The signature is there where the path of the function's file is whole. kernel: the class whose constructor failed
    the check, named like its operator; "" where the text in front names a node.
    """
    _, check, reason = text.partition(_FAILED_CHECK)
    if check:
        return f"{kernel}: " * bool(kernel) + (reason.strip() or "a check failed")
    if not whole:
        return text.partition(" ")[2]
    depth, closed = 0, False
    for at, character in enumerate(text):
        if character in "([<{":
            depth += 1
        elif character in ")]>}":
            depth -= 1
            closed = closed or (character == ")" and not depth)
        elif character == " " and closed and not depth and not text.startswith((" const ", " [with "), at):
            return text[at + 1 :]
    return "" if closed else text


def words(error: Exception) -> str:
    """Return an exception's text, as much of it as is worth a search. Names come from the model, of any length."""
    return str(error)[:4000]


def size(count: float) -> str:
    """Format a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
