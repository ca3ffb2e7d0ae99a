"""Ends the process in time once it is to end, whatever hangs."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

SECONDS = 20.0
"""Three requests for the Lease may take 15 seconds; Kubernetes kills what takes 30."""


class Backstop:
    """Armed when the process is to end. A thread: a loop that is blocked would not hear of a timer."""

    def __init__(self, seconds: float = SECONDS, end: Callable[[int], object] = os._exit) -> None:
        """end: called with the exit status, where the process still lives after so many seconds."""
        self._seconds, self._end = seconds, end
        self._timer: threading.Timer | None = None

    def arm(self) -> None:
        """The process is to end. Called on the event loop; calls after the first change nothing."""
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._give_up, [asyncio.get_running_loop()])
            self._timer.daemon = True
            self._timer.start()

    def disarm(self) -> None:
        """Everything ended by itself."""
        if self._timer:
            self._timer.cancel()

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            tasks = "; ".join(sorted(map(repr, asyncio.all_tasks(loop))))
            log.error("not ended after %.0f s, so it is killed; these tasks still run: %s", self._seconds, tasks)
        finally:
            self._end(1)
