"""Asking a store that is away again, with growing pauses, and errors in words."""

import time
from collections.abc import Callable
from typing import TypeVar

from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox.progress import log

T = TypeVar("T")
_LARGEST_PAUSE = 30.0


class MissingError(Exception):
    """The store has no such object."""


class Patience:
    """Asks until the store answers, for so many seconds since it went on last: a large file may take longer than that."""

    def __init__(self, seconds: float, pause: Callable[[float], None]) -> None:
        self._seconds, self._pause = seconds, pause
        self._since, self._farthest = 0.0, 0

    def moved(self, total: int) -> None:
        """Note how many bytes an attempt has moved. One that comes no farther than others is no progress."""
        if total > self._farthest:
            self._since, self._farthest = time.monotonic(), total

    def ask(self, ask: Callable[[], T]) -> T:
        """Return the answer. Raises the last error that may pass when patience ends, and any other at once."""
        self._since, self._farthest = time.monotonic(), 0
        wait, attempt = 1.0, 1
        while True:
            try:
                return ask()
            except StageError as known:
                if not known.retry or time.monotonic() + wait > self._since + self._seconds:
                    raise
                log(f"attempt {attempt}: {known.failure.message}")
                self._pause(wait)
                wait, attempt = min(2 * wait, _LARGEST_PAUSE), attempt + 1


def away(message: str, field: str, *, what: str = "the store") -> StageError:
    """Return the error for a store that does not answer, or what else it needs."""
    hint = f"Check that {what} is up and that network policies let this namespace reach it. It is retried."
    return StageError("StoreUnavailable", message, hint, field, retry=True)


def platforms(message: str, hint: str, field: str) -> StageError:
    """Return an error that the platform team mends for all models at once, so that none must be touched: it is retried."""
    return StageError("StoreForbidden", message, f"{hint}. It is retried.", field, retry=True)
