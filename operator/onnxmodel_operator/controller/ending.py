"""Terminates the process in time once it is asked to, even if something hangs."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

SECONDS = 20.0
"""Three requests for the Lease may take 15 seconds; Kubernetes kills what takes 30."""


class Backstop:
    """Kills the process if it has not ended in time. A thread, because a blocked event loop would not run a timer."""

    def __init__(self, seconds: float = SECONDS, end: Callable[[int], object] = os._exit) -> None:
        """end: called with the exit status if the process still runs after so many seconds."""
        self._seconds, self._end = seconds, end
        self._timer: threading.Timer | None = None

    def arm(self) -> None:
        """Start the timer, because the process is about to end. Called on the event loop; further calls change nothing."""
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._give_up, [asyncio.get_running_loop()])
            self._timer.daemon = True
            self._timer.start()

    def disarm(self) -> None:
        """Stop the timer: everything ended by itself."""
        if self._timer:
            self._timer.cancel()

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            tasks = "; ".join(sorted(map(repr, asyncio.all_tasks(loop))))
            log.error(
                "did not terminate within %.0f s and is killed; these tasks are still running: %s", self._seconds, tasks
            )
        finally:
            self._end(1)
