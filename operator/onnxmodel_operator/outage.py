"""Says once that the API server does not answer, and once that it does again."""

import logging
import time
from collections.abc import Callable

from onnxmodel_operator.cluster.errors import ApiError, is_outage

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 60.0


class Outage:
    """Many models fail at the same time when the API server is away: that is one fault."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._said = -_AGAIN_SECONDS

    def heard(self, error: Exception | None) -> None:
        """How a request ended: None for well. An answer about the request itself is an answer."""
        if error is None or not is_outage(error):
            self._answered()
        else:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        if self._said < self._began and now - self._said >= _AGAIN_SECONDS:
            self._said = now
            log.warning("%s; it is asked again until it does", _words(error))

    def _answered(self) -> None:
        if self._began is not None and self._said >= self._began:
            log.info("the API server answers again, after %.0f s", self._clock() - self._began)
        self._began = None


def _words(error: Exception) -> str:
    if isinstance(error, ApiError) and error.status == 401:
        return f"the API server does not accept the operator's token: {error}"
    return f"the API server does not answer: {str(error) or type(error).__name__}"
