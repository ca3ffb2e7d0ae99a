"""What a stage is doing now: a line in the log, and a note to the parent that names the step when the process dies."""

import sys
from collections.abc import Callable

_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """Hand every later step to `listener` too (the child process tells its parent)."""
    global _listener
    _listener = listener


def step(doing: str) -> None:
    """Say what begins now, in words that fit after "while": "creating an ONNX Runtime session"."""
    note(doing)
    log(doing)


def note(doing: str) -> None:
    """The same for what comes too often for the log."""
    if _listener is not None:
        _listener(doing)


def log(line: str) -> None:
    """One line for whoever reads the container's log."""
    print(line, file=sys.stderr, flush=True)
