"""HTTP/1.1 on an asyncio transport, for an ASGI application that can also answer at once.

Nearly all requests arrive in one piece and are answered without waiting. Those cost no task and no message: the
application's `now` takes the request and gives the answer. Where it gives none, and where the body is still on its way,
the request takes ASGI's way.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import httptools

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http1.heads import CLOSE, Head, Headers, Refused, Reply, check, render, size_of, too_large

log = logging.getLogger("onnxmodel.server")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HIGH_WATER = 1 << 20
"""Bytes of a body that wait for the application before the socket is read no further."""
MAX_PIPELINED = 64
"""Requests that wait behind the one that runs before no further one is parsed."""
PIECE = 1 << 14
"""Bytes that are parsed at one time: so many requests can wait beyond MAX_PIPELINED."""
MAX_SEEN = 4096
"""Bytes of a head that is remembered."""
LINGER_SECONDS = 30.0
"""How long what a client sends after the last answer is read and dropped, as by nginx: many a client listens only after it
has sent, and closing at once could take the answer from it."""


class Application(Protocol):
    """An ASGI application."""

    def now(self, head: "Head", body: bytes) -> Reply | None:
        """The answer, where there is one without waiting. Does not raise."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI. Does not raise."""


class _Request(Head):
    """A request that has a head, and perhaps more."""

    __slots__ = ("changed", "chunks", "complete", "expects", "refused", "size")

    def __init__(self) -> None:
        super().__init__()
        self.expects = False  # an interim answer, before it sends the body
        self.chunks: list[bytes] = []
        self.size = 0  # of the chunks
        self.complete = False
        self.changed: asyncio.Future[None] | None = None
        self.refused: Refused | None = None


class Http1(asyncio.Protocol):
    """One connection."""

    def __init__(self, application: Application, open_: "set[Http1]") -> None:
        self._application = application
        self._open = open_
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._client: tuple[str, int] | None = None
        self._incoming: _Request | None = None  # whose message is not complete
        self._offered: _Request | None = None  # whose head asks for another protocol
        self._waiting: deque[_Request] = deque()  # behind the one that runs
        self._unparsed = b""  # behind those
        self._running: tuple[_Request, asyncio.Task[None]] | None = None
        self._head = 0  # bytes received since the last complete head, or of what is behind a chunk; -1 within a body
        self._piece = 0  # bytes received at one time
        self._begun_in = 0  # the piece in which the head began
        self._deaf = False  # what still comes is dropped
        self._fields: Headers = []  # where headers go
        self._since = self._loop.time()  # when it last became idle, or was able to write
        self._reading = self._writable = True
        self._draining = self._gone = False
        self._drained: asyncio.Future[None] | None = None
        self._seen: tuple[bytes, _Request] | None = None  # a head, and what it means
        self._seen_size = 0  # of the whole request
        self._at_once: _Request | None = None  # was answered within this turn

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = transport  # type: ignore[assignment]
        name = transport.get_extra_info("peername")
        self._client = (name[0], name[1]) if name else None
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone: nobody reads an answer."""
        self._gone = True
        self._open.discard(self)
        self._forget()
        if self._running is not None:
            self._running[1].cancel()

    def eof_received(self) -> None:
        """The client sends no more; the transport closes itself."""

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what is complete."""
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
        """Whether the next byte begins a request that can be answered."""
        return self._incoming is None and self._running is None and not self._behind and self._writable

    @property
    def _behind(self) -> bool:
        """Whether something waits behind the request that runs."""
        return bool(self._waiting or self._unparsed)

    def _forget(self) -> None:
        """What waits gets no answer any more."""
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
                self._throttle(self._incoming)
                if not self._waiting:
                    self._loop.call_soon(self._next)
                return
            self._parse(data[at : at + PIECE])
            if self._deaf or self._transport.is_closing():
                return

    def _parse(self, data: bytes) -> None:
        if self._head >= 0:
            self._head += len(data)
        self._piece = len(data)
        try:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._decline(memoryview(data)[offer.args[0] :])
            if self._head > limits.MAX_HEAD and not self._deaf:
                raise too_large(self._incoming)
        except Refused as refused:
            self._reject(refused)
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._reject(cause if isinstance(cause, Refused) else Refused(400, f"the request is not HTTP/1.1: {error}"))
            return
        request = self._incoming
        if request is not None and request.method:
            if self._running is None and not self._waiting:
                self._start(request)
            self._throttle(request)

    def _decline(self, rest: memoryview) -> None:
        """Go on in this protocol with a request that offers another one. rest: what follows its head.

        The parser takes each such offer for accepted, and the head for the whole request: another one gets the head
        without the offer.
        """
        while (request := self._offered) is not None and not self._transport.is_closing():
            self._offered = None
            if request.method == "CONNECT":
                raise Refused(501, "this server is not a proxy")
            fields = b"".join(b"%s: %s\r\n" % field for field in request.headers if field[0] != b"upgrade")
            line = b"%s %s HTTP/%s\r\n" % (request.method.encode(), request.target, request.version.encode())
            self._parser = httptools.HttpRequestParser(self)
            self._head = 0
            self._parser.feed_data(line + fields + b"\r\n")
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writable = False
        self._since = self._loop.time()
        self._throttle(None)

    def resume_writing(self) -> None:
        """It caught up."""
        self._writable = True
        self._since = self._loop.time()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._next()

    # The parser calls these.

    def on_message_begin(self) -> None:
        """The head begins."""
        self._incoming = request = _Request()
        self._begun_in = self._piece
        self._fields = request.headers
        self._since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        assert self._incoming is not None
        self._incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        name = name.lower()
        self._fields.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            assert self._incoming is not None
            self._incoming.expects = True

    def on_headers_complete(self) -> None:
        """The head is over."""
        request = self._incoming
        assert request is not None
        # Head and piece together are more than what was received of it: only then is it worth counting.
        if self._head + self._begun_in > limits.MAX_HEAD and size_of(request) > limits.MAX_HEAD:
            raise too_large(request)
        request.method = self._parser.get_method().decode("ascii")
        request.version = self._parser.get_http_version()
        check(request)
        request.keep_alive = self._parser.should_keep_alive()
        self._head = -1
        if self._parser.should_upgrade():
            self._offered, self._incoming = request, None

    def on_chunk_header(self) -> None:
        """A chunk begins: the last one has no body, but perhaps trailers. Nobody reads those."""
        self._head = 0
        self._fields = []

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        request = self._incoming
        assert request is not None
        self._head = -1
        request.chunks.append(body)
        request.size += len(body)
        if request.changed is not None:
            self._wake(request)

    def on_message_complete(self) -> None:
        """The request is whole, the next head begins."""
        self._head = 0
        request, self._incoming = self._incoming, None
        if request is None:  # the parser says so because of an offer
            return
        request.complete = True
        running = self._running
        if running is not None and running[0] is request:
            self._wake(request)
        elif running is not None or self._waiting or not self._writable:
            self._waiting.append(request)
            self._throttle(None)
        else:
            self._answer(request)

    # The listener calls these.

    def sweep(self, now: float) -> None:
        """End what has waited too long: idle connections, slow heads, clients that do not read."""
        if self._running is not None and self._writable:
            return
        if self._deaf and now - self._since > LINGER_SECONDS:
            self._transport.abort()
            return
        most = limits.KEEP_ALIVE_SECONDS if self._writable and self._head <= 0 else limits.READ_SECONDS
        if now - self._since > most:
            self._transport.abort()

    def drain(self, now: float, last: bool = False) -> None:
        """Ask to close with the next answer; close what was idle for long, so that hardly a request is on its way.

        last changes nothing: nobody but the client knows whether a request is on its way.
        """
        self._draining = True
        idle = self._running is None and self._incoming is None and not self._behind
        if idle and now - self._since >= limits.LAME_DUCK_SECONDS:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._running is not None:
            self._running[1].cancel()
        self._transport.abort()

    # Requests, one after the other.

    def _answer(self, request: _Request) -> None:
        if self._transport.is_closing():
            return
        if request.refused is not None:
            self._refuse(request.refused)
            return
        body = request.chunks[0] if len(request.chunks) == 1 else b"".join(request.chunks)
        reply = self._application.now(request, body)
        if reply is None:
            self._start(request)
            return
        self._at_once = request
        headers = self._going_on(request, reply.headers)
        self._write(render(request, reply.status, headers), reply.body, request)
        self._finish(request, headers)

    def _start(self, request: _Request) -> None:
        self._running = (request, self._loop.create_task(self._run(request)))

    async def _run(self, request: _Request) -> None:
        path, _, query = request.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version,
            "method": request.method,
            "scheme": "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": self._client,
        }
        started: list[Message] = []
        ended = delivered = False

        async def receive() -> Message:
            nonlocal delivered
            if request.expects:
                request.expects = False
                if not request.complete and not self._gone:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            while not self._ended(request) and (delivered or not (request.chunks or request.complete)):
                request.changed = self._loop.create_future()
                await request.changed
            if self._ended(request):
                return {"type": "http.disconnect"}
            body = request.chunks[0] if len(request.chunks) == 1 else b"".join(request.chunks)
            request.chunks.clear()
            request.size = 0
            delivered = request.complete
            self._throttle(request)
            return {"type": "http.request", "body": body, "more_body": not delivered}

        async def send(message: Message) -> None:
            nonlocal ended
            if self._gone:
                return
            if message["type"] == "http.response.start":
                started.append({**message, "headers": self._going_on(request, message["headers"])})
                return
            head = render(request, started[0]["status"], started[0]["headers"]) if len(started) == 1 else b""
            started.append(message)
            ended = not message.get("more_body", False)
            self._write(head, message.get("body", b""), request)
            if not self._writable:
                self._drained = self._loop.create_future()
                await self._drained

        try:
            await self._application(scope, receive, send)
        finally:
            self._running = None
            if not self._gone:
                if request.refused is not None and not started:
                    self._refuse(request.refused)
                elif not ended:
                    self._transport.abort()
                else:
                    self._finish(request, started[0]["headers"])
                    self._next()

    def _going_on(self, request: _Request, headers: Headers) -> Headers:
        """The headers, with `Connection: close` exactly where this is the last answer. While the server drains, that is none
        behind which further requests have arrived.
        """
        last = not request.keep_alive or not request.complete
        if self._behind and not last:
            return [field for field in headers if field != CLOSE]
        return [*headers, CLOSE] if (last or self._draining) and CLOSE not in headers else headers

    def _finish(self, request: _Request, headers: Headers) -> None:
        """After the answer: the connection goes on, or ends."""
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
        self._seen = self._incoming = self._offered = None
        if self._draining:
            self._transport.close()
            return
        self._transport.write_eof()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _next(self) -> None:
        """Go on with what waits."""
        if self._gone:
            return
        while not self._transport.is_closing():
            while self._waiting and self._running is None and self._writable and not self._transport.is_closing():
                self._answer(self._waiting.popleft())
            request = self._incoming
            if request is not None and request.method and self._running is None and not self._waiting:
                self._start(request)
            if (
                not self._unparsed
                or self._waiting
                or not self._writable
                or not (self._receives or self._running is None)
            ):
                break
            self._at_once = None
            self._feed(self._unparsed)
            if self._at_once is not None:  # others have their turn
                break
        self._throttle(self._incoming)

    @property
    def _receives(self) -> bool:
        """Whether the request that runs waits for what is not parsed yet."""
        return self._running is not None and self._running[0] is self._incoming

    def _ended(self, request: _Request) -> bool:
        """Whether no more of a request will come."""
        return self._gone or request.refused is not None

    def _wake(self, request: _Request) -> None:
        if request.changed is not None and not request.changed.done():
            request.changed.set_result(None)

    def _throttle(self, request: _Request | None) -> None:
        """Read on, unless there is enough to do."""
        held = request is not None and request.size > HIGH_WATER
        wanted = self._writable and not self._behind and not held
        if wanted is not self._reading and not self._transport.is_closing():
            self._reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def _write(self, head: bytes, body: bytes, request: _Request) -> None:
        if request.method == "HEAD":
            body = b""
        if len(body) < 1 << 16:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])

    def _reject(self, refused: Refused) -> None:
        """Nothing of this connection is understood any more: answer what came before, then say why, then close."""
        self._deaf = True
        self._seen = None
        request = self._incoming or _Request()
        self._incoming = self._offered = None
        request.refused = refused
        if self._running is not None and self._running[0] is request:
            self._wake(request)
        elif self._running is not None or self._waiting or not self._writable:
            self._waiting.append(request)
        else:
            self._answer(request)

    def _refuse(self, refused: Refused) -> None:
        body = json.dumps({"error": refused.message}, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._transport.write(render(_Request(), refused.status, [*headers, CLOSE]) + body)
        self._forget()
        self._since = self._loop.time()
        self._linger()
