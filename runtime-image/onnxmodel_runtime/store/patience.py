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


def patiently(ask: Callable[[], T], seconds: float, pause: Callable[[float], None]) -> T:
    """Ask until the store answers. Raises the last error that may pass after so many seconds, and any other at once."""
    end, wait, attempt = time.monotonic() + seconds, 1.0, 1
    while True:
        try:
            return ask()
        except StageError as known:
            if not known.retry or time.monotonic() + wait > end:
                raise
            log(f"attempt {attempt}: {known.failure.message}")
            pause(wait)
            wait, attempt = min(2 * wait, _LARGEST_PAUSE), attempt + 1


def away(message: str, field: str) -> StageError:
    """Return the error for a store that does not answer."""
    hint = "Check that the store is up and that network policies let this namespace reach it. It is retried."
    return StageError("StoreUnavailable", message, hint, field, retry=True)


def platforms(message: str, hint: str, field: str) -> StageError:
    """Return an error that the platform team mends for all models at once, so that none must be touched: it is retried."""
    return StageError("StoreForbidden", message, f"{hint}. It is retried.", field, retry=True)
