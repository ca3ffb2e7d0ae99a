"""Logs once that the API server is unreachable, and once that it is back."""

import logging
import time
from collections.abc import Callable
from math import inf

from onnxmodel_operator.cluster.errors import ApiError, is_outage

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 60.0


class Outage:
    """Logs an unreachable API server once, however many models fail at the same time, and its return once."""

    def __init__(self, over: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic) -> None:
        """over: called when an outage that was logged ends, at most once a minute however often it flaps."""
        self._over, self._clock = over, clock
        self._last = -inf
        self._began: float | None = None
        self._said = -_AGAIN_SECONDS

    def heard(self, error: Exception | None) -> None:
        """Record how a request ended: None for success. An error about the request itself proves that the API server
        answers.
        """
        if error is None or not is_outage(error):
            self._answered()
        else:
            self._failed(error)

    def seconds(self) -> float:
        """Seconds since a request last failed because the API server is unreachable; infinite if none did."""
        return self._clock() - self._last

    def _failed(self, error: Exception) -> None:
        now = self._last = self._clock()
        if self._began is None:
            self._began = now
        if self._said < self._began and now - self._said >= _AGAIN_SECONDS:
            self._said = now
            log.warning("%s; retrying until it does", _words(error))

    def _answered(self) -> None:
        began, self._began = self._began, None
        if began is not None and self._said >= began:
            log.info("the API server responds again, after %.0f s", self._clock() - began)
            self._over()


def _words(error: Exception) -> str:
    if isinstance(error, ApiError) and error.status == 401:
        return f"the API server rejects the operator's token: {error}"
    return f"the API server does not respond: {str(error) or type(error).__name__}"
