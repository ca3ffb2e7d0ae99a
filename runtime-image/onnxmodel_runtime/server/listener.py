"""A listening port and its connections."""

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from onnxmodel_runtime.server import limits

SWEEP_SECONDS = 5.0
HANDSHAKE_SECONDS = 0.1
"""Time in seconds that a handshake in progress has left once no new one may begin."""
_SO_ATTACH_FILTER = 26
# Drops what has the flag SYN: load byte 13 of TCP's header; where bit 1 is set, accept 0 bytes; else all.
_NO_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


class OpenConnection(Protocol):
    """Interface of a connection, as its listener uses it."""

    def sweep(self, now: float) -> None:
        """End what has waited too long."""

    def drain(self, now: float, last: bool = False) -> None:
        """Ask the client to leave, and close once it has no request under way. Called again and again.

        last: there is little time left.
        """

    def abort(self) -> None:
        """Close at once."""


class Listener:
    """Connections of one kind on a port. make: called with the set that holds open connections."""

    def __init__(self, make: Callable[[set[Any]], asyncio.Protocol], host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=host == "::")
        self.port: int = self._socket.getsockname()[1]
        self._make = make
        self._connections: set[OpenConnection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._came = False  # a connection, since leave was called

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=self._socket)
        self._sweep(loop)

    def leave(self, now: float, last: bool = False) -> bool:
        """Ask clients to leave. Returns whether any is there, or was since this was last called."""
        for connection in list(self._connections):
            connection.drain(now, last)
        came, self._came = self._came, False
        return came or bool(self._connections)

    async def refuse(self) -> None:
        """Accept no more. A connection that the kernel has made, but that was not accepted, would be reset: let none begin,
        and accept the others, before the port is closed.
        """
        if self._server is None:
            return
        with contextlib.suppress(OSError):  # not every sandbox knows filters
            if sys.platform == "linux":
                program = ctypes.create_string_buffer(_NO_SYN)
                option = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
                await asyncio.sleep(HANDSHAKE_SECONDS)
        self._server.close()

    async def stop(self, grace: float) -> None:
        """Accept no more, and end every connection: a client has so many seconds to be told, or to send the request that may
        be on its way.
        """
        if self._server is None:
            self._socket.close()
            return
        assert self._sweeper is not None
        self._sweeper.cancel()
        self._server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        while self.leave(loop.time(), last=True) and loop.time() < end:
            await asyncio.sleep(0.005)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)  # transports tell their loss in the loop's next turn

    def _accept(self) -> asyncio.Protocol:
        self._came = True
        return self._make(self._connections)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self._connections):
            connection.sweep(loop.time())
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep, loop)


async def drain(listeners: Sequence[Listener], grace: float) -> None:
    """Ask clients to leave, and answer them until they have, for `grace` at most. Then no port accepts any more.

    They have left when, after LAME_DUCK_SECONDS, no connection is open and none was for QUIET_SECONDS: a client that
    comes back for each request has none in between.
    """
    loop = asyncio.get_running_loop()
    begun = seen = loop.time()
    quiet = min(limits.QUIET_SECONDS, limits.LAME_DUCK_SECONDS)
    while (now := loop.time()) - begun < grace:
        if _any_there(listeners, now):
            seen = now
        if now - begun >= limits.LAME_DUCK_SECONDS and now - seen >= quiet:
            break
        await asyncio.sleep(0.01)
    await asyncio.gather(*(listener.refuse() for listener in listeners))
    while _any_there(listeners, loop.time(), last=True) and loop.time() - begun < grace:
        await asyncio.sleep(0.01)


def _any_there(listeners: Sequence[Listener], now: float, last: bool = False) -> bool:
    """Ask the clients of all listeners to leave."""
    there = [listener.leave(now, last) for listener in listeners]
    return any(there)


def peer(transport: asyncio.BaseTransport) -> str:
    """Return the client's address and port."""
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else ""
