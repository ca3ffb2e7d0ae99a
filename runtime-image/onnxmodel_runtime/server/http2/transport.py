"""HTTP/2 on an asyncio transport: bytes in and out, back-pressure, timers."""

import asyncio
from functools import partial
from typing import Any

from onnxmodel_runtime.server.http2.connection import Connection
from onnxmodel_runtime.server.http2.events import AllSent, DataReceived, Event, HeadReceived, StreamGone, WholeRequest
from onnxmodel_runtime.server.http2.heads import Head
from onnxmodel_runtime.server.http2.streams import Stream
from onnxmodel_runtime.server.listener import peer

PING_SECONDS = 1.0
"""Time in seconds within which a client must confirm that it sends no further request."""
HIGH_WATER = 1 << 20
"""Bytes of answers that wait for the client's socket before no further request is read."""


class Exchange(Stream):
    """A request and its response. Subclasses handle its events."""

    __slots__ = ("connection",)

    def __init__(self, connection: "Http2", number: int, head: Head, window: int) -> None:
        super().__init__(number, head, window)
        self.connection = connection

    @classmethod
    def plain(cls, connection: "Http2", head: Head) -> Any:
        """Return what can answer requests with this head without waiting; None: nothing can."""

    @classmethod
    def at_once(cls, connection: "Http2", request: WholeRequest) -> bool:
        """Answer a plain request now. Returns False if nothing has happened."""
        return False

    def on_head(self) -> None:
        """Begin the request."""

    def on_data(self, data: bytes, ended: bool) -> None:
        """Take a part of the body; ended: the last one."""

    def on_sweep(self, now: float) -> None:
        """Check deadlines. Called every few seconds."""

    def on_room(self) -> None:
        """Continue the response: all queued data has been sent."""

    def on_gone(self) -> None:
        """Stop: the client no longer waits for the response."""


class Http2(asyncio.Protocol):
    """One connection."""

    def __init__(self, make: type[Exchange], application: Any, open_: "set[Http2]") -> None:
        self.application = application
        self.loop = asyncio.get_running_loop()
        self.peer = ""
        self.room = asyncio.Event()
        """Set while `clogged` is false."""
        self.room.set()
        self._make = make
        self._open = open_
        self._transport: asyncio.Transport
        self._connection: Connection[Exchange] = Connection(
            partial(make, self), partial(make.plain, self), self.loop.time
        )
        self._sending = self._connection.sending
        self._out = self._sending.out
        self.fits = self._sending.fits
        self._flushing = False
        self._reading = True

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a client."""
        self._transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self.peer = peer(transport)
        self._open.add(self)
        self._flush_soon()

    def connection_lost(self, error: Exception | None) -> None:
        """Stop: the client is gone."""
        self._open.discard(self)
        for exchange in self._connection.lost():
            exchange.on_gone()

    def pause_writing(self) -> None:
        """Take no further request: the client reads slower than we write."""
        self._connection.set_writable(False)
        self._throttle()

    def resume_writing(self) -> None:
        """Continue: the client has caught up."""
        self._connection.set_writable(True)
        self._throttle()

    def data_received(self, data: bytes) -> None:
        """Handle the client's bytes, then write the responses to them."""
        self._flushing = True
        try:
            for event in self._connection.receive(data):
                if isinstance(event, WholeRequest):
                    event.answered = self._make.at_once(self, event)
                else:
                    self._handle(event)
        finally:
            self._flush()

    # The listener calls these.

    def sweep(self, now: float) -> None:
        """End what has waited too long: idle connections, and clients that do not read or finish their frames."""
        for exchange in list(self._connection.streams.values()):
            exchange.on_sweep(now)
        for event in self._connection.sweep(now):
            self._handle(event)
        self._flush_soon()
        if self._connection.overdue:
            self._transport.abort()

    def drain(self, now: float, last: bool = False) -> None:
        """Ask the client to leave, and close once it has no request under way."""
        if self._connection.drain(now, last):
            self.loop.call_later(PING_SECONDS, self._drained)
            self._flush_soon()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _drained(self) -> None:
        self._connection.drained()
        self._flush_soon()

    # Exchanges call these.

    @property
    def clogged(self) -> bool:
        """True if too many bytes wait for the client's windows to begin another request."""
        return self._sending.clogged

    def write(self, data: bytes) -> None:
        """Write frames, together with everything else that is written in this turn of the loop."""
        self._out.append(data)
        if not self._flushing:
            self._flush_soon()

    def send_data(self, exchange: Exchange, data: bytes) -> None:
        """Send a part of an answer's body, as far as the client's windows allow it; the rest follows."""
        self._connection.send(exchange, data)
        if self._sending.clogged:
            self.room.clear()
        self._flush_soon()

    def end(self, exchange: Exchange, last: bytes) -> None:
        """Complete the response with this frame."""
        self._connection.end(exchange, last)
        self._flush_soon()

    def open(self, request: WholeRequest) -> Exchange:
        """Return an exchange for a request that cannot be answered without one."""
        return self._connection.open(request)

    def grant(self, exchange: Exchange) -> None:
        """Let the client continue the request."""
        self._connection.grant(exchange)
        self._flush_soon()

    def _handle(self, event: Event[Exchange]) -> None:
        if isinstance(event, DataReceived):
            exchange = event.stream
            exchange.on_data(event.data, event.ended)
            if not event.ended:
                self._connection.grant(exchange)
        elif isinstance(event, HeadReceived):
            event.stream.on_head()
        elif isinstance(event, AllSent):
            event.stream.on_room()
        elif isinstance(event, StreamGone):
            event.stream.on_gone()

    def _flush_soon(self) -> None:
        if not self._flushing and (self._out or self._connection.closed):
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        out = self._out
        if out:
            if not self._transport.is_closing():
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
        if self._connection.closed:
            if not self._transport.is_closing():
                self._transport.close()
        elif not self._sending.clogged and not self.room.is_set():
            self.room.set()

    def _throttle(self) -> None:
        writable = self._connection.writable
        if writable is not self._reading and not self._transport.is_closing():
            self._reading = writable
            (self._transport.resume_reading if writable else self._transport.pause_reading)()
