"""Progress of a stage: a record for the parent process in case this one dies, and a line for the log."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """The current work of a process, in words that fit after "while".

    suspect: the name of what is to blame if native code kills the process in this step: a candidate of the benchmark, a
    pass of a variant; "" for the model itself.
    """

    doing: str
    suspect: str = ""


_listener: Callable[[Step], None] | None = None


def listen(listener: Callable[[Step], None] | None) -> None:
    """Pass every later step to `listener`, by which the child process reports to its parent."""
    global _listener
    _listener = listener


def step(doing: str, suspect: str = "") -> None:
    """Report the step that begins now, and log it."""
    note(doing, suspect)
    log(doing)


def note(doing: str, suspect: str = "") -> None:
    """Report a step that is too frequent for the log."""
    if _listener is not None:
        _listener(Step(doing, suspect))


def log(line: str) -> None:
    """Write one line for whoever reads the container's log. A log that takes no more must not end the stage."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
