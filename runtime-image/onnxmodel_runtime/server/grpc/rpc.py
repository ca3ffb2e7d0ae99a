"""gRPC on HTTP/2: messages in and out, statuses, deadlines, compressed requests."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.bodies import TOO_MUCH, decompressed
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.grpc import wire
from onnxmodel_runtime.server.grpc.wire import PREFIX, Trailers
from onnxmodel_runtime.server.http2.events import WholeRequest
from onnxmodel_runtime.server.http2.heads import Head
from onnxmodel_runtime.server.http2.transport import Exchange, Http2
from onnxmodel_runtime.server.protocol import compression

log = logging.getLogger("onnxmodel.server")

DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 4, 8, 12, 13, 14
_UNPACKING = {Code.TOO_LARGE: RESOURCE_EXHAUSTED, Code.UNSUPPORTED: UNIMPLEMENTED}  # what else is wrong is INTERNAL
_BESIDES = 64  # bytes that a message takes in memory beside its own


class Status(Exception):
    """The status of a failed call. code: gRPC's number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Method:
    """A method, by what it makes of serialized messages. Each raises Status.

    now: the answer where there is one without waiting, else None. later: the answer. stream: answers to a stream of
    requests, one for each and in their order, or any number to the first of them; it replaces the others.
    """

    now: "Callable[[bytes, Context | Call], bytes | None] | None" = None
    later: "Callable[[bytes, Call], Awaitable[bytes]] | None" = None
    stream: "Callable[[AsyncIterator[bytes], Call], AsyncIterator[bytes]] | None" = None


class Methods:
    """The methods of a port, by path, and the memory that all its calls share."""

    def __init__(self, methods: Mapping[bytes, Method]) -> None:
        self.methods = methods
        self.held = 0


class Context:
    """A method's view of a call, and the trailers that it may send with the status."""

    __slots__ = ("connection", "head", "trailers")

    def __init__(self, connection: Http2, head: Head) -> None:
        self.connection = connection
        self.head = head
        self.trailers: Trailers = ()


class Call(Exchange):
    """One call."""

    __slots__ = (
        "answered",
        "begun",
        "chunks",
        "counted",
        "drained",
        "messages",
        "method",
        "size",
        "started",
        "taken",
        "task",
        "timer",
        "trailers",
        "waiter",
        "wanted",
    )

    # Of a stream of requests:
    drained: asyncio.Event  # the client has taken what it was sent
    taken: deque[int]  # sizes of the messages that have no answer yet
    wanted: int  # bytes until the next message may be whole

    def __init__(self, connection: Http2, number: int, head: Head, window: int) -> None:
        super().__init__(connection, number, head, window)
        self.method: Method | None = None
        self.chunks: list[bytes] = []
        self.size = 0
        self.counted = 0
        self.begun = 0.0
        self.started = self.answered = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.trailers: Trailers = ()  # what the client is told behind the status
        self.messages: deque[bytes] | None = None  # of a stream of requests
        self.waiter: asyncio.Future[None] | None = None

    # The connection calls these.

    @classmethod
    def plain(cls, connection: Http2, head: Head) -> "Callable[[bytes, Context | Call], bytes | None] | None":
        """Return the function that answers calls of this method without waiting, if there is one."""
        method: Method | None = connection.application.methods.get(head[b":path"])
        return None if method is None or b"grpc-timeout" in head or not wire.is_call(head) else method.now

    @classmethod
    def at_once(cls, connection: Http2, request: WholeRequest) -> bool:
        """Answer a plain call."""
        number, data, begin, stop = request.number, request.data, request.begin, request.stop
        if stop - begin < 5:
            return False
        packed, size = PREFIX.unpack_from(data, begin)
        if packed or size != stop - begin - 5 or size > limits.MAX_REQUEST:
            return False
        asked = Context(connection, request.head)
        try:
            answer = request.prepared(data[begin + 5 : stop], asked)
        except Status as status:
            failed = connection.open(request)
            assert isinstance(failed, cls)
            failed.trailers = asked.trailers
            failed.fail(status)
            return True
        if answer is None:
            return False
        size = len(answer) + 5
        if connection.fits(size, request.window):
            connection.write(wire.answer_prefix(number, size) + answer + wire.succeeded(number, asked.trailers))
        else:
            stream = connection.open(request)
            assert isinstance(stream, cls)
            stream.trailers = asked.trailers
            stream.succeed(answer)
        return True

    def on_head(self) -> None:
        """Look up the method, and start it if it takes a stream."""
        head = self.head
        self.method = self.connection.application.methods.get(head[b":path"])
        if self.method is not None and not wire.is_call(head):
            self.method = None
        if self.method is not None and self.method.stream is not None:
            self.messages = deque()
            self.taken = deque()
            self.wanted = 5
            self.drained = asyncio.Event()
            self._run(self._stream, self.method.stream)

    def on_data(self, data: bytes, ended: bool) -> None:
        """Take a part of the request."""
        if self.answered:
            return
        if self.method is None:
            if ended:
                self._refuse()
            return
        if data:
            self.chunks.append(data)
            self.size += len(data)
        try:
            if self.messages is not None:
                self._count(len(data))
                self._split()
                self._wake()
            elif ended:
                self._unary()
            else:
                if not self.begun:
                    self.begun = self.connection.loop.time()
                self._check(max(self._announced(), self.size - 5))
                self._count(len(data))
        except Status as status:
            self.fail(status)

    def on_gone(self) -> None:
        """Stop: the client cancelled the call, or is gone."""
        self.answered = True
        if self.task is not None:
            self.task.cancel()
        self._done()

    def on_sweep(self, now: float) -> None:
        """Check that the request arrives in time, or each message of a stream."""
        if self.paused and self.begun:  # it is we who do not let it arrive
            self.begun = now
        elif not self.remote_ended and self.begun and now - self.begun > limits.READ_SECONDS:
            self.fail(Status(DEADLINE_EXCEEDED, f"the request did not arrive within {limits.READ_SECONDS:.0f} s"))

    def on_room(self) -> None:
        """Continue: the client has taken what it was sent."""
        if self.messages is not None:
            self.drained.set()

    # The answer.

    def succeed(self, answer: bytes) -> None:
        """Send the only response."""
        if self.answered:
            return
        self.answered = True
        connection, size, number = self.connection, len(answer) + 5, self.id
        if connection.fits(size, self.window):
            connection.write(wire.answer_prefix(number, size) + answer)
        else:
            connection.write(wire.head(number))
            connection.send_data(self, PREFIX.pack(0, size - 5) + answer)
        connection.end(self, wire.succeeded(number, self.trailers))
        self._done()

    def fail(self, status: Status) -> None:
        """Send a status instead of a response, or after some of them."""
        if self.answered:
            return
        self.answered = True
        last = wire.failed(self.id, status.code, status.message, self.trailers, self.started)
        self.connection.end(self, last)
        self._done()
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    # Requests.

    def _unary(self) -> None:
        method = self.method
        assert method is not None
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        if len(body) < 5:
            raise Status(INTERNAL, "a message is missing or truncated")
        packed, size = PREFIX.unpack_from(body)
        self._check(size)
        if size != len(body) - 5:
            raise Status(UNIMPLEMENTED, "expected exactly one message")
        self.chunks = []
        message = body[5:]
        if not packed and method.now is not None and not self.connection.clogged:
            answer = method.now(message, self)
            if answer is not None:
                self.succeed(answer)
                return
        self._count(len(body) - self.counted)
        assert method.later is not None
        self._run(self._later, method.later, message, packed)

    async def _later(self, later: Callable[[bytes, Any], Awaitable[bytes]], message: bytes, packed: int) -> None:
        while self.connection.clogged:
            await self.connection.room.wait()
        if packed:
            message = await self._unpacked(message)
        self.succeed(await later(message, self))

    async def _stream(self, stream: Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]) -> None:
        async for answer in stream(self._received(), self):
            if not self.started:
                self.started = True
                self.connection.write(wire.head(self.id))
            self.connection.send_data(self, PREFIX.pack(0, len(answer)) + answer)
            if self.taken:
                self._count(-self.taken.popleft())
            self._resume()
            await self._sent()
        if not self.answered:
            self.answered = True
            self.connection.end(self, wire.succeeded(self.id, self.trailers, self.started))
            self._done()

    async def _sent(self) -> None:
        """Wait until the client has taken what was answered."""
        while self.queued is not None:
            self.drained.clear()
            await self.drained.wait()

    async def _received(self) -> AsyncIterator[bytes]:
        messages = self.messages
        assert messages is not None
        while True:
            while messages:
                while self.queued is not None or self.connection.clogged:  # the client reads slower than we answer
                    await self._sent()
                    await self.connection.room.wait()
                message = messages.popleft()
                packed, message = message[0], message[5:]
                if packed:
                    message = await self._unpacked(message)
                self.taken.append(len(message) + 5 + _BESIDES)
                yield message
            self._resume()
            if self.remote_ended:
                if self.chunks:
                    raise Status(INTERNAL, "a message is truncated")
                return
            self.waiter = self.connection.loop.create_future()
            await self.waiter

    def _resume(self) -> None:
        """Let the client send more of a stream, unless there is enough to do."""
        if not self.messages and self.counted - self.size <= limits.MAX_REQUEST:
            self.paused = False
            self.connection.grant(self)

    def _split(self) -> None:
        """Take the messages that are whole."""
        assert self.messages is not None
        now = self.connection.loop.time()
        if self.size < self.wanted:
            self.begun = self.begun or (now if self.size else 0.0)
            return
        whole = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        at, end, self.wanted, before = 0, len(whole), 5, len(self.messages)
        while end - at >= 5:
            stop = at + 5 + PREFIX.unpack_from(whole, at)[1]
            self._check(stop - at - 5)
            if stop > end:
                self.wanted = stop - at
                break
            self.messages.append(whole[at:stop])
            at = stop
        self.size = end - at
        self.chunks = [whole[at:]] if self.size else []
        if at:
            self.paused = True  # until they are taken
            self.begun = now if self.size else 0.0
            self._count((len(self.messages) - before) * _BESIDES)
        else:
            self.begun = self.begun or now

    def _run(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        timeout = self.head.get(b"grpc-timeout")
        if timeout is not None:
            seconds = wire.seconds(timeout)
            if seconds is not None:
                self.timer = self.connection.loop.call_later(
                    seconds, self.fail, Status(DEADLINE_EXCEEDED, "Deadline Exceeded")
                )
        self.task = self.connection.loop.create_task(self._guarded(work, arguments))

    async def _guarded(self, work: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]) -> None:
        try:
            await work(*arguments)
        except Status as status:
            self.fail(status)
        except asyncio.CancelledError:
            self.fail(Status(UNAVAILABLE, "the server is stopping"))
        except Exception:
            log.exception("a gRPC request failed")
            self.fail(Status(INTERNAL, "internal error"))

    async def _unpacked(self, message: bytes) -> bytes:
        encoding = self.head.get(b"grpc-encoding", b"").decode("latin-1")
        if not compression.is_one(encoding):
            raise Status(INTERNAL, "a message is compressed, but grpc-encoding is missing")
        try:
            whole = await decompressed(message, encoding, limits.MAX_REQUEST, self._count)
        except ServerError as error:
            raise Status(_UNPACKING.get(error.code, INTERNAL), error.message) from error
        self._count(-len(message))
        return whole

    def _announced(self) -> int:
        """Bytes that the message of a call will have, as its first five bytes tell; 0 until they are there."""
        return PREFIX.unpack_from(b"".join(chunk[:5] for chunk in self.chunks[:5]))[1] if self.size >= 5 else 0

    def _check(self, size: int) -> None:
        if size > limits.MAX_REQUEST:
            raise Status(RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {limits.MAX_REQUEST})")

    def _count(self, size: int) -> None:
        if self.answered:  # all of it was given back
            return
        application = self.connection.application
        self.counted += size
        application.held += size
        if size > 0 and application.held > limits.MAX_BODIES:
            raise Status(UNAVAILABLE, TOO_MUCH)

    def _done(self) -> None:
        self.connection.application.held -= self.counted
        self.counted = 0
        self.chunks = []
        if self.messages is not None:
            self.messages.clear()
        if self.timer is not None:
            self.timer.cancel()
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _refuse(self) -> None:
        head = self.head
        if wire.is_call(head):
            path = head[b":path"].decode("latin-1")[:200]
            self.fail(Status(UNIMPLEMENTED, f"there is no method {path}"))
            return
        self.answered = True
        status = b"405" if head[b":method"] != b"POST" else b"415"
        first, last = wire.refused(self.id, status)
        self.connection.write(first)
        self.connection.send_data(self, b"this port speaks gRPC\n")
        self.connection.end(self, last)
        self._done()
