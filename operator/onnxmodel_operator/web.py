"""/healthz, /readyz and /metrics of the operator."""

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from onnxmodel_operator.metrics import REGISTRY

STUCK_SECONDS = 120.0
"""A queue that holds keys and has finished none for this long is stuck: the process is better restarted."""


class Health:
    """What the endpoints tell. `beat` is called after each reconcile."""

    def __init__(self, depth: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self.ready = False
        self._depth, self._clock = depth, clock
        self._last = clock()

    def beat(self) -> None:
        """A reconcile ended."""
        self._last = self._clock()

    def alive(self) -> bool:
        """False when reconciles are due and none ends. A standby, or an idle operator, is alive."""
        if not self.ready or not self._depth():
            self._last = self._clock()
        return self._clock() - self._last < STUCK_SECONDS


async def serve(health: Health, port: int) -> web.AppRunner:
    """Start answering on the port. `cleanup()` of what it returns stops it."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if health.alive() else web.Response(status=500, text="the queue is stuck\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if health.ready else web.Response(status=503, text="not synced\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
