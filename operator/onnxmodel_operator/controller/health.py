"""/healthz, /readyz and /metrics of the operator."""

import time
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from onnxmodel_operator.cluster.lease import LEASE_SECONDS
from onnxmodel_operator.metrics import REGISTRY

STUCK_SECONDS = 120.0
"""Seconds after which a queue that holds keys and has finished none is stuck, and the process better restarted."""
DEAF_SECONDS = 300.0
"""Seconds after which a silent watch is dead while the API server is reachable, and the process better restarted."""
SILENT_SECONDS = 120.0
"""With any watch silent for this long, new models may wait unseen: not ready. A live one proves itself each minute."""


class Health:
    """The state behind /healthz and /readyz. `beat` is called after each reconcile.

    depth: the number of waiting keys. watches: by kind, seconds since the API server last proved that the watch is
    alive. unsynced: the kinds that have not been listed completely. outage: seconds since a request last failed because
    the API server is unreachable.
    """

    def __init__(
        self,
        depth: Callable[[], int],
        watches: Mapping[str, Callable[[], float]],
        unsynced: Callable[[], Sequence[str]],
        outage: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.began = False
        """True once the operator works or begins to. False of a standby."""
        self.ending = False
        """True once the operator is asked to terminate, or one of its parts has terminated."""
        self.problem: str | None = None
        """The problem that keeps the operator from reporting on models, with what to do about it."""
        self.unreached: Callable[[], float] = lambda: 0.0
        """Seconds since the Lease was last read or renewed; 0 where there is none."""
        self._depth, self._watches, self._unsynced, self._outage, self._clock = depth, watches, unsynced, outage, clock
        self._last = clock()

    def beat(self) -> None:
        """Record that a reconcile ended."""
        self._last = self._clock()

    def sick(self) -> str | None:
        """Return why the process should be restarted. None while it is alive, as a standby and an idle operator are.

        While the API server is unreachable, all watches are silent and requests fail: a restart fixes nothing.
        """
        if self.ending:
            return "it is terminating"
        ready = self.began and not self._unsynced()
        if not ready or not self._depth():
            self._last = self._clock()
        if self._clock() - self._last >= STUCK_SECONDS:
            return "the queue is stuck"
        silent = {kind: seconds() for kind, seconds in self._watches.items()}
        deaf = sorted(kind for kind, seconds in silent.items() if seconds >= DEAF_SECONDS)
        away = min(silent.values()) >= SILENT_SECONDS and self._outage() < SILENT_SECONDS
        return f"the watch of {', '.join(deaf)} is dead" if ready and deaf and not away else None

    def waits(self) -> str | None:
        """Return why changes may not be seen or reported now.

        None if all are, and for a standby that could take over.
        """
        if self.ending:
            return "it is terminating"
        if self.unreached() >= LEASE_SECONDS:
            return f"the Lease could not be read or renewed for {LEASE_SECONDS:.0f} seconds"
        if not self.began:
            return None
        if unsynced := self._unsynced():
            return f"not synced: {', '.join(sorted(unsynced))}"
        silent = sorted(kind for kind, seconds in self._watches.items() if seconds() >= SILENT_SECONDS)
        return f"no sign of life from the watch of {', '.join(silent)}" if silent else self.problem


class PortError(Exception):
    """The port cannot be listened on. The message says why."""


async def serve(health: Health, port: int) -> web.AppRunner:
    """Start answering on the port. `cleanup()` of what it returns stops it. Raises PortError."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.sick(), 500)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.waits(), 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
    except OSError as error:
        await runner.cleanup()
        raise PortError(f"cannot listen on port {port} ({error.strerror}): set another one with --port") from error
    return runner


def _answer(problem: str | None, status: int) -> web.Response:
    return web.Response(text=f"{problem}\n", status=status) if problem else web.Response(text="ok\n")
