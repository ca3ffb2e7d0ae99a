"""uvicorn as this server needs it: on a socket that is bound already, without its signal handlers, with bounded heads."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from onnxmodel_runtime.server.limits import MAX_HEAD

KEEP_ALIVE_SECONDS = 620  # longer than load balancers keep idle connections, so that they, not we, close them


class _Protocol(HttpToolsProtocol):  # type: ignore[misc]
    """httptools collects headers without a bound."""

    _head = 0  # bytes received since the last complete head; -1 within a body

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete."""
        if self._head >= 0:
            self._head += len(data)
        super().data_received(data)
        if self._head > MAX_HEAD:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._head = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next head begins."""
        self._head = 0
        super().on_message_complete()


class _Server(uvicorn.Server):  # type: ignore[misc]
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the whole process in order, not this listener alone."""
        yield


class Listener:
    """An ASGI application on a port."""

    def __init__(self, app: Any, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=host == "::")
        self.port: int = self._socket.getsockname()[1]
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # below, it reports what clients do
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)

    async def stop(self, grace: float) -> None:
        """Close the socket and idle connections, let requests finish for so many seconds."""
        if self._task is None:
            self._socket.close()
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        await self._task
