"""Every request that was accepted ends. The watchdog finds those that would not, ends them with an error, and counts them.

It keeps a list of its own and asks, for each request, who has it. It changes nothing for requests that are well.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from time import perf_counter_ns

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.errors import Code, Ended, Reason, ServerError
from onnxmodel_runtime.server.execution import Job

log = logging.getLogger("onnxmodel.server")


class Whereabouts(StrEnum):
    """The place of a request."""

    WAITING = "waiting"
    RUNNING = "running"
    DEAD = "dead"  # with a thread that has ended
    NOWHERE = "nowhere"


class Watchdog:
    """Looks after accepted requests, from the event loop.

    survey: looks where all requests are, and returns what tells it of each. count: counts a request that the watchdog
    ended. repair: replaces and interrupts instances where needed, and tells whether any of them is busy.
    """

    def __init__(
        self,
        survey: Callable[[], Callable[[Job], Whereabouts]],
        count: Callable[[Ended], None],
        repair: Callable[[], bool],
    ) -> None:
        self._survey = survey
        self._count = count
        self._repair = repair
        self.jobs: set[Job] = set()  # from their acceptance to their end
        self._suspects: set[Job] = set()
        self.awake = False

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start looking from time to time, as long as there are requests."""
        self.awake = True
        loop.call_later(limits.WATCH_SECONDS, self._tick, loop)

    def fail_all(self, error: ServerError) -> None:
        """End every request."""
        for job in self.jobs:
            job.fail(error)

    def look(self) -> None:
        """End the requests that would not end by themselves."""
        now = perf_counter_ns()
        before, self._suspects = self._suspects, set()
        place_of = self._survey()
        for job in [job for job in self.jobs if not job.future.done()]:
            place = place_of(job)
            if place is Whereabouts.DEAD:
                self._end(job, Ended.THREAD_DIED, "the thread that ran the model died")
            elif place is Whereabouts.NOWHERE:
                # What a thread has just reported waits for its turn on the event loop, and has that before the next look.
                if job in before:
                    self._end(job, Ended.LOST, "the server lost the request; this is a bug in onnxmodel")
                else:
                    self._suspects.add(job)
            elif limits.REQUEST_SECONDS and now - job.queued > limits.REQUEST_SECONDS * 1e9:
                self._end(job, Ended.EXPIRED, f"the request did not end within {limits.REQUEST_SECONDS:g} s ({place})")

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.awake = False
        busy = True
        try:
            self.look()
            busy = self._repair()
        finally:
            if self.jobs or busy:
                self.wake(loop)

    def _end(self, job: Job, why: Ended, message: str) -> None:
        self._count(why)
        log.error("the watchdog ended request %r (%s): %s", job.request.id[:100], why, message)
        job.fail(ServerError(message, Code.INTERNAL, Reason.BACKEND))
