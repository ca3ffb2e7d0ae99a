"""Says once that the API server does not answer, and once that it does again."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 60.0


class Outage:
    """Many models fail at the same time when the API server is away: that is one fault."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._said = -_AGAIN_SECONDS

    def failed(self, error: Exception) -> None:
        """A request got no answer, or one that says nothing of the request."""
        if self._began is not None:
            return
        self._began = now = self._clock()
        if now - self._said >= _AGAIN_SECONDS:
            self._said = now
            log.warning("the API server does not answer: %s; it is asked again until it does", _words(error))

    def answered(self) -> None:
        """A request was answered."""
        if self._began is not None and self._said >= self._began:
            log.info("the API server answers again, after %.0f s", self._clock() - self._began)
        self._began = None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
