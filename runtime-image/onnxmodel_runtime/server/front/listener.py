"""A port: its connections, and how they end."""

import asyncio
import math
import socket
from collections.abc import Callable
from typing import Any, Protocol

from onnxmodel_runtime.server import limits

KEEP_ALIVE_SECONDS = 620  # longer than load balancers keep idle connections, so that they, not we, close them
SWEEP_SECONDS = 5.0


class Connection(Protocol):
    """What a listener asks of its connections."""

    def sweep(self, now: float) -> None:
        """End what has waited too long."""

    def drain(self, now: float) -> None:
        """Ask the client to leave, and close once it has no request under way. Called again and again."""

    def abort(self) -> None:
        """Close at once."""


class Listener:
    """Connections of one kind on a port. make: called with the set that holds open connections."""

    def __init__(self, make: Callable[[set[Any]], asyncio.Protocol], host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=host == "::")
        self.port: int = self._socket.getsockname()[1]
        self._make = make
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._make(self._connections), sock=self._socket)
        self._sweep(loop)

    async def drain(self, grace: float) -> None:
        """Ask clients to leave, and answer them until they have: for LAME_DUCK_SECONDS at least, for `grace` at most.

        Connections are accepted meanwhile: a client that has yet to hear of the end comes back once more.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._server is not None:
            for connection in list(self._connections):
                connection.drain(loop.time())
            waited = loop.time() - begun
            if waited >= grace or (waited >= limits.LAME_DUCK_SECONDS and not self._connections):
                return
            await asyncio.sleep(0.01)

    async def stop(self, grace: float) -> None:
        """Accept no more, and end every connection: those with a request under way have so many seconds to be told."""
        if self._server is None:
            self._socket.close()
            return
        assert self._sweeper is not None
        self._sweeper.cancel()
        self._server.close()
        end = asyncio.get_running_loop().time() + grace
        while self._connections:
            for connection in list(self._connections):
                connection.drain(math.inf)
            if asyncio.get_running_loop().time() >= end:
                break
            await asyncio.sleep(0.005)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)  # transports tell their loss in the loop's next turn

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self._connections):
            connection.sweep(loop.time())
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep, loop)


def peer(transport: asyncio.BaseTransport) -> str:
    """The client's address and port."""
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else ""
