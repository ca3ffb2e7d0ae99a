"""One writer at a time, across processes: the kernel drops the lock when its holder dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .steps import say


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock of this file, waiting for its present holder."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {lock}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
