"""HTTP/1.1 on an asyncio transport: requests that follow each other, back-pressure, timers.

Nearly all requests arrive in one piece and are answered without waiting. Those cost no task and no message: the
application's `now` takes the request and returns the response. If it returns none, or if the body is still on its way,
the request takes ASGI's way.
"""

import asyncio
import json
from collections import deque

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http1.asgi import Application, Cycle
from onnxmodel_runtime.server.http1.heads import CLOSE, Headers, Refused, render
from onnxmodel_runtime.server.http1.parser import Incoming, RequestParser

HIGH_WATER = 1 << 20
"""Bytes of a body that wait for the application before the socket is read no further."""
MAX_PIPELINED = 64
"""Requests that wait behind the one that runs before no further one is parsed."""
PIECE = 1 << 14
"""Bytes that are parsed at one time: so many requests can wait beyond MAX_PIPELINED."""
MAX_SEEN = 4096
"""Bytes of a head that is remembered."""
LINGER_SECONDS = 30.0
"""Seconds for which bytes after the last response are read and dropped, as nginx does.

Many a client listens only after it has sent, and closing at once could take the response from it.
"""


class Http1(asyncio.Protocol):
    """One connection."""

    def __init__(self, application: Application, open_: "set[Http1]") -> None:
        self._application = application
        self._open = open_
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser(self._take)
        self._transport: asyncio.Transport
        self.client: tuple[str, int] | None = None
        self.gone = False
        self.writable = True
        self._waiting: deque[Incoming] = deque()  # behind the one that runs
        self._unparsed = b""  # behind those
        self._running: Cycle | None = None
        self._deaf = False  # what still comes is dropped
        self._since = self._loop.time()  # when it last became idle, or able to write, or a request began
        self._reading = True
        self._draining = False
        self._drained: asyncio.Future[None] | None = None
        self._seen: tuple[bytes, Incoming] | None = None  # a head, and what it means
        self._seen_size = 0  # of the whole request
        self._at_once: Incoming | None = None  # was answered within this turn

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a client."""
        self._transport = transport  # type: ignore[assignment]
        name = transport.get_extra_info("peername")
        self.client = (name[0], name[1]) if name else None
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop: nobody reads a response."""
        self.gone = True
        self._open.discard(self)
        self._forget()
        if self._running is not None:
            self._running.cancel()

    def eof_received(self) -> None:
        """Let the transport close itself: the client sends no more."""

    def data_received(self, data: bytes) -> None:
        """Parse the bytes, and answer the complete requests."""
        if self._deaf:
            return
        seen = self._seen
        if (
            seen is not None
            and len(data) == self._seen_size
            and data.startswith(seen[0])
            and self._between
            and not self._draining
        ):
            # The same head again, and as much behind it: it would be parsed to the same.
            reply = self._application.now(seen[1], data[len(seen[0]) :])
            if reply is not None:
                self._since = self._loop.time()
                self._transport.write(render(seen[1], reply.status, reply.headers) + reply.body)
                if CLOSE in reply.headers:
                    self._transport.close()
                return
        begins = self._between
        self._at_once = None
        self._feed(self._unparsed + data if self._unparsed else data)
        request = self._at_once
        if begins and request is not None and request.size and request.version == "1.1" and request.keep_alive:
            end = len(data) - request.size
            if (
                end <= MAX_SEEN
                and data.endswith(b"\r\n\r\n", 0, end)
                and data.find(b"\r\n\r\n") == end - 4
                and not self._draining
            ):
                self._seen, self._seen_size = (data[:end], request), len(data)
                request.chunks.clear()

    @property
    def _between(self) -> bool:
        """True if the next byte begins a request that can be answered."""
        return self._parser.incoming is None and self._running is None and not self._behind and self.writable

    @property
    def _behind(self) -> bool:
        """True if something waits behind the running request."""
        return bool(self._waiting or self._unparsed)

    def _forget(self) -> None:
        """Drop the requests that wait."""
        self._waiting.clear()
        self._unparsed = b""

    def _feed(self, data: bytes) -> None:
        """Parse piece by piece, as long as there is room for further requests. Other connections have their turn between
        pieces that were answered at once.
        """
        self._unparsed = b""
        for at in range(0, len(data), PIECE):
            if at and not self._receives and (len(self._waiting) >= MAX_PIPELINED or self._at_once is not None):
                self._unparsed = data[at:]
                self._throttle(self._parser.incoming)
                if not self._waiting:
                    self._loop.call_soon(self._next)
                return
            self._parse(data[at : at + PIECE])
            if self._deaf or self._transport.is_closing():
                return

    def _parse(self, data: bytes) -> None:
        before = self._parser.incoming
        try:
            self._parser.feed(data)
        except Refused as refused:
            self._reject(refused)
            return
        request = self._parser.incoming
        if request is None:
            return
        if request is not before:
            self._since = self._loop.time()
        elif self._running is not None and self._running.request is request:
            self._running.wake()
        if request.method:
            if self._running is None and not self._waiting:
                self._start(request)
            self._throttle(request)

    def _take(self, request: Incoming) -> None:
        """Answer a complete request, or let it wait."""
        running = self._running
        if running is not None and running.request is request:
            running.wake()
        elif running is not None or self._waiting or not self.writable:
            self._waiting.append(request)
            self._throttle(None)
        else:
            self._answer(request)

    def pause_writing(self) -> None:
        """Wait: the client reads slower than we write."""
        self.writable = False
        self._since = self._loop.time()
        self._throttle(None)

    def resume_writing(self) -> None:
        """Go on: the client has caught up."""
        self.writable = True
        self._since = self._loop.time()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._next()

    # The listener calls these.

    def sweep(self, now: float) -> None:
        """End what has waited too long: idle connections, slow heads, clients that do not read."""
        if self._running is not None and self.writable:
            return
        if self._deaf and now - self._since > LINGER_SECONDS:
            self._transport.abort()
            return
        most = limits.KEEP_ALIVE_SECONDS if self.writable and not self._parser.in_head else limits.READ_SECONDS
        if now - self._since > most:
            self._transport.abort()

    def drain(self, now: float, last: bool = False) -> None:
        """Ask to close with the next response. Close what was idle for long, when hardly a request is on its way.

        last changes nothing: nobody but the client knows whether a request is on its way.
        """
        self._draining = True
        idle = self._running is None and self._parser.incoming is None and not self._behind
        if idle and now - self._since >= limits.LAME_DUCK_SECONDS:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._running is not None:
            self._running.cancel()
        self._transport.abort()

    # Cycles call these.

    def invite(self) -> None:
        """Ask the client for the body that it holds back."""
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def taken(self, request: Incoming) -> None:
        """Receive more of the body: the application has taken what had arrived."""
        self._throttle(request)

    def last_or_not(self, request: Incoming, headers: Headers) -> Headers:
        """Return the response's headers, with `Connection: close` if the connection ends with this response. While the server
        drains, it ends with the last of the requests that have arrived.
        """
        last = not request.keep_alive or not request.complete
        if self._behind and not last:
            return [field for field in headers if field != CLOSE]
        return [*headers, CLOSE] if (last or self._draining) and CLOSE not in headers else headers

    def write(self, request: Incoming, head: bytes, body: bytes) -> None:
        """Write a part of the response."""
        if request.method == "HEAD":
            body = b""
        if len(body) < 1 << 16:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])

    def until_writable(self) -> asyncio.Future[None]:
        """Wait until `writable`."""
        self._drained = self._loop.create_future()
        return self._drained

    def over(self, cycle: Cycle) -> None:
        """Go on with the next request: the application has returned."""
        self._running = None
        if self.gone:
            return
        request = cycle.request
        if request.refused is not None and cycle.headers is None:
            self._refuse(request.refused)
        elif cycle.headers is None or not cycle.ended:
            self._transport.abort()
        else:
            self._finish(request, cycle.headers)
            self._next()

    # Requests, one after the other.

    def _answer(self, request: Incoming) -> None:
        if self._transport.is_closing():
            return
        if request.refused is not None:
            self._refuse(request.refused)
            return
        reply = self._application.now(request, request.body())
        if reply is None:
            self._start(request)
            return
        self._at_once = request
        headers = self.last_or_not(request, reply.headers)
        self.write(request, render(request, reply.status, headers), reply.body)
        self._finish(request, headers)

    def _start(self, request: Incoming) -> None:
        self._running = Cycle(self, request)
        self._running.start(self._application, self._loop)

    def _finish(self, request: Incoming, headers: Headers) -> None:
        """Go on after the response, or close."""
        self._since = self._loop.time()
        if CLOSE not in headers:
            return
        self._forget()
        if request.complete:
            self._transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Close, but let the client finish sending first."""
        self._deaf = True
        self._seen = None
        self._parser.forget()
        if self._draining:
            self._transport.close()
            return
        self._transport.write_eof()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _next(self) -> None:
        """Go on with what waits."""
        if self.gone:
            return
        while not self._transport.is_closing():
            while self._waiting and self._running is None and self.writable and not self._transport.is_closing():
                self._answer(self._waiting.popleft())
            request = self._parser.incoming
            if request is not None and request.method and self._running is None and not self._waiting:
                self._start(request)
            if (
                not self._unparsed
                or self._waiting
                or not self.writable
                or not (self._receives or self._running is None)
            ):
                break
            self._at_once = None
            self._feed(self._unparsed)
            if self._at_once is not None:  # others have their turn
                break
        self._throttle(self._parser.incoming)

    @property
    def _receives(self) -> bool:
        """True if the running request waits for bytes that are not parsed yet."""
        return self._running is not None and self._running.request is self._parser.incoming

    def _throttle(self, request: Incoming | None) -> None:
        """Read on, unless there is enough to do."""
        held = request is not None and request.size > HIGH_WATER
        wanted = self.writable and not self._behind and not held
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def _reject(self, refused: Refused) -> None:
        """Answer what came before, then say why the connection understands nothing any more, then close."""
        self._deaf = True
        self._seen = None
        request = self._parser.incoming or Incoming()
        self._parser.forget()
        request.refused = refused
        if self._running is not None and self._running.request is request:
            self._running.wake()
        elif self._running is not None or self._waiting or not self.writable:
            self._waiting.append(request)
        else:
            self._answer(request)

    def _refuse(self, refused: Refused) -> None:
        body = json.dumps({"error": refused.message}, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._transport.write(render(Incoming(), refused.status, [*headers, CLOSE]) + body)
        self._forget()
        self._since = self._loop.time()
        self._linger()
