"""Says what takes time: one line when a step starts, its duration when it is done."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def step(what: str, expected: str = "") -> Iterator[None]:
    """Print `what` (with how long it usually takes) and, when the block is done, how long it took.

    Goes to stderr: stdout belongs to what a command answers, a path or a list of tags.
    """
    print(f"{what}{f' ({expected})' if expected else ''} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        print(f"{what}: {outcome} {_duration(time.monotonic() - started)}", file=sys.stderr, flush=True)


def again(what: str, start: Callable[[], T], unlucky: tuple[type[Exception], ...]) -> T:
    """Call `start`, and once more if it is unlucky: the error is printed, and `start` cleans up after it."""
    try:
        return start()
    except unlucky as error:
        say(f"{what} did not start; retrying: {error}")
    return start()


def say(line: str) -> None:
    """Print one line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
