"""HTTP/2 (RFC 9113) on an asyncio transport, as a server needs it: frames, header compression, flow control.

It knows nothing of gRPC; front/rpc.py puts that on top. Everything that a client controls is bounded: the head of a
request, the streams, what waits to be written, and how often a request may be taken back.
"""

import asyncio
from collections import deque
from struct import Struct
from typing import Any

import hpack

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.front.listener import KEEP_ALIVE_SECONDS, peer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = Struct(">BHBBI")  # length (24 bits), type, flags, stream
_WORD, _SETTING = Struct(">I"), Struct(">HI")
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED = 0x0, 0x1, 0x2, 0x3, 0x5
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x6, 0x7, 0x8, 0x9, 0xB

MAX_FRAME = 1 << 17
"""Bytes of a frame that clients may send."""
STREAM_WINDOW = 1 << 20
"""Bytes that a client may send on a stream before it is told to go on."""
WINDOW = 4 << 20
"""The same for the connection."""
MAX_STREAMS = 1024
MAX_DROPPED = 2 * MAX_STREAMS
"""Streams that we ended, and on which a client may still send. One that has yet to read how many it may open can open
many more at once: they are refused, and the others answered."""
MAX_RESETS = 1000
"""Requests that a client may take back, or make us end by what it does wrong, beyond those that were answered
(CVE-2023-44487, CVE-2025-8671)."""
PING_SECONDS = 1.0
"""How long a client may take to confirm that it sends no further request."""
HIGH_WATER = 1 << 20
"""Bytes of answers that wait for the client's socket before no further request is read."""
MAX_UNSENT = 4 << 20
"""Bytes of answers that wait for the client's windows before no further request is begun. Reading goes on: the windows
open by what the client sends."""
_LARGEST = (1 << 31) - 1
_HEADS = 64  # header blocks that are remembered
_FORBIDDEN = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_REQUIRED = frozenset({b":method", b":scheme", b":path"})
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})

Head = dict[bytes, bytes]


class ConnectionFailed(Exception):
    """The client broke the protocol: the connection ends."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class StreamFailed(Exception):
    """The client broke the protocol on one stream."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Stream:
    """A request and its answer. Subclasses take what arrives."""

    __slots__ = (
        "connection",
        "expected",
        "granted",
        "head",
        "id",
        "moved",
        "paused",
        "queued",
        "queued_end",
        "received",
        "remote_ended",
        "window",
    )

    moved: float  # when a part of what is queued was sent, or began to wait

    def __init__(self, connection: "Http2", number: int, head: Head, window: int) -> None:
        self.connection = connection
        self.id = number
        self.head = head
        self.window = window  # what the client lets us send
        self.granted = STREAM_WINDOW  # what we let it send
        self.paused = False  # while it is, the client is not told to go on
        self.received = 0
        self.remote_ended = False
        self.queued: deque[bytes] | None = None  # what its window does not allow yet
        self.queued_end = b""  # the frame behind that

    @classmethod
    def plain(cls, connection: "Http2", head: Head) -> Any:
        """What can answer requests with this head without waiting; None: there is nothing of the kind."""

    @classmethod
    def at_once(
        cls, connection: "Http2", number: int, head: Head, plain: Any, data: bytes, begin: int, stop: int
    ) -> bool:
        """Answer a whole request now, whose body lies in data. False: nothing has happened."""
        return False

    def on_head(self) -> None:
        """The request has begun."""

    def on_data(self, data: bytes, ended: bool) -> None:
        """A part of its body; ended: the last one."""

    def on_sweep(self, now: float) -> None:
        """Some seconds have passed."""

    def on_room(self) -> None:
        """What was queued is sent, and the answer may go on."""

    def on_gone(self) -> None:
        """Nobody waits for the answer any more."""


class Http2(asyncio.Protocol):
    """One connection."""

    def __init__(self, make: type[Stream], application: Any, open_: "set[Http2]") -> None:
        self.application = application
        self.loop = asyncio.get_running_loop()
        self.streams: dict[int, Stream] = {}
        self.peer = ""
        self._make = make
        self._open = open_
        self._transport: asyncio.Transport
        self._rest = b""
        self._prefaced = self._set = False
        self._decoder = hpack.Decoder(max_header_list_size=limits.MAX_HEAD)
        self._heads: dict[bytes, Head] = {}
        self._plain: dict[bytes, tuple[Head, Any]] = {}
        self._block: tuple[int, int, bytearray] | None = None  # of a head that goes on in the next frame
        self._last = 0
        self._dropped: dict[int, None] = {}  # streams that we ended before the client did, in their order
        self._resets = self._answered = 0
        self._granted = WINDOW
        self._window = self._initial = 65535
        self._frame = 16384
        self._blocked: dict[int, Stream] = {}
        self._queued = 0  # bytes of these
        self._moved = 0.0  # when the last of them were sent
        self.clogged = False  # there are too many
        self.room = asyncio.Event()  # there are not
        self.room.set()
        self._out: list[bytes] = []
        self._flushing = False
        self._reading = self._writable = True
        self._draining = self._drained = False
        self._since = self.loop.time()

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self.peer = peer(transport)
        self._open.add(self)
        settings = ((3, MAX_STREAMS), (4, STREAM_WINDOW), (5, MAX_FRAME), (6, limits.MAX_HEAD))
        payload = b"".join(_SETTING.pack(*setting) for setting in settings)
        self.write(frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, _WORD.pack(WINDOW - 65535)))

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._open.discard(self)
        streams, self.streams = self.streams, {}
        self._blocked.clear()
        for stream in streams.values():
            stream.on_gone()

    def pause_writing(self) -> None:
        """The client reads slower than we write: take no further request from it."""
        self._writable = False
        self._since = self.loop.time()
        self._throttle()

    def resume_writing(self) -> None:
        """It caught up."""
        self._writable = True
        self._since = self.loop.time()
        self._throttle()

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        self._flushing = True  # at the end, all at once
        try:
            self._frames(self._rest + data if self._rest else data)
        except ConnectionFailed as error:
            self._fail(error.code, str(error))
        finally:
            self._flush()

    # The listener calls these.

    def sweep(self, now: float) -> None:
        """End what has waited too long: idle connections, and clients that do not read or finish their frames."""
        for stream in list(self.streams.values()):
            stream.on_sweep(now)
        for stream in list(self._blocked.values()):
            if stream.window <= 0 and now - stream.moved > limits.READ_SECONDS:
                self._end(stream, CANCEL)
        if self.streams and self._writable and not self._rest:
            self._since = now
        if self._blocked and self._window <= 0 and now - self._moved > limits.READ_SECONDS:
            self._transport.abort()
        most = KEEP_ALIVE_SECONDS if self._writable and not self._rest and self._prefaced else limits.READ_SECONDS
        if now - self._since > most:
            self._transport.abort()

    def drain(self, now: float, last: bool = False) -> None:
        """Ask the client to send no further request. Those that it sent before it knows are answered too.

        A new connection may have its first request before, unless it is the last: a client that is sent away at once would
        come back at once.
        """
        if not self._draining and (last or self._last or now - self._since >= limits.LAME_DUCK_SECONDS):
            self._draining = True
            self.write(frame(GOAWAY, 0, 0, _WORD.pack(_LARGEST) + _WORD.pack(NO_ERROR)))
            self.write(frame(PING, 0, 0, bytes(8)))  # its answer comes behind the last request
            self.loop.call_later(PING_SECONDS, self._drain)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _drain(self) -> None:
        if not self._drained:
            self._drained = True
            self.write(frame(GOAWAY, 0, 0, _WORD.pack(self._last) + _WORD.pack(NO_ERROR)))
            self._close_if_done()

    # Streams call these.

    def write(self, data: bytes) -> None:
        """Frames to the client, together with what else is written in this turn of the loop."""
        self._out.append(data)
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def send_data(self, stream: Stream, data: bytes) -> None:
        """A part of an answer's body, as far as the client's windows allow it; the rest follows."""
        if stream.queued is None and len(data) <= min(stream.window, self._window, self._frame):
            stream.window -= len(data)
            self._window -= len(data)
            self.write(FRAME.pack(len(data) >> 16, len(data) & 0xFFFF, DATA, 0, stream.id) + data)
            return
        if stream.queued is None:
            stream.queued = deque()
            stream.moved = self.loop.time()
            if not self._blocked:
                self._moved = stream.moved
            self._blocked[stream.id] = stream
        stream.queued.append(data)
        self._queued += len(data)
        self._pump(stream)

    def end(self, stream: Stream, last: bytes) -> None:
        """The answer is complete with this frame."""
        if stream.queued is not None:
            stream.queued_end = last
            return
        self.write(last)
        self._answered += 1
        self.streams.pop(stream.id, None)
        if not stream.remote_ended:  # the rest of the request is of no interest
            self._drop(stream.id)
            self.write(frame(RST_STREAM, 0, stream.id, _WORD.pack(NO_ERROR)))
        self._close_if_done()

    def fits(self, size: int, window: int | None = None) -> bool:
        """Whether so many bytes can go in one frame at once; if so, they are taken from the connection's window."""
        if size > (self._initial if window is None else window) or size > self._window or size > self._frame:
            return False
        self._window -= size
        return True

    def open(self, number: int, head: Head) -> Stream:
        """A stream whose request is complete."""
        stream = self._make(self, number, head, self._initial)
        stream.remote_ended = True
        self.streams[number] = stream
        return stream

    def grant(self, stream: Stream) -> None:
        """Let the client go on with the request."""
        if (
            stream.granted < STREAM_WINDOW >> 1
            and not stream.paused
            and not stream.remote_ended
            and stream.id in self.streams
        ):
            self.write(frame(WINDOW_UPDATE, 0, stream.id, _WORD.pack(STREAM_WINDOW - stream.granted)))
            stream.granted = STREAM_WINDOW

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream without an answer, because of what the client does wrong. Raises ConnectionFailed."""
        if stream.id in self.streams:
            self._end(stream, code)
            self._count_reset()

    def _end(self, stream: Stream, code: int) -> None:
        self._drop(stream.id)
        self.write(frame(RST_STREAM, 0, stream.id, _WORD.pack(code)))
        self._leave(stream)

    def _drop(self, number: int) -> None:
        """What the client still sends on this stream is of no interest."""
        self._dropped[number] = None
        if len(self._dropped) > MAX_DROPPED:
            del self._dropped[next(iter(self._dropped))]

    def _leave(self, stream: Stream) -> None:
        """Nobody waits for the stream's answer, or the rest of it."""
        del self.streams[stream.id]
        if self._blocked.pop(stream.id, None) is not None:
            self._queued -= sum(map(len, stream.queued or ()))
            stream.queued = None
            self._balance()
        stream.on_gone()
        self._close_if_done()

    # Frames.

    def _frames(self, data: bytes) -> None:
        at, end = 0, len(data)
        if not self._prefaced:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise ConnectionFailed(PROTOCOL_ERROR, "this port speaks HTTP/2 (gRPC)")
            if end < len(PREFACE):
                self._rest = data
                return
            self._prefaced = True
            at = len(PREFACE)
        while end - at >= 9:
            high, low, kind, flags, number = FRAME.unpack_from(data, at)
            length = high << 16 | low
            if length > MAX_FRAME:
                raise ConnectionFailed(FRAME_SIZE_ERROR, "a frame is too large")
            stop = at + 9 + length
            if stop > end:
                break
            payload = data[at + 9 : stop]
            at = stop
            if kind == HEADERS and flags == END_HEADERS and payload in self._plain and end - at > 9:
                after = self._at_once(number, payload, data, at)
                if after:
                    at = after
                    continue
            number &= _LARGEST
            if self._block is not None and (kind != CONTINUATION or number != self._block[0]):
                raise ConnectionFailed(PROTOCOL_ERROR, "a head is interrupted")
            if kind == DATA:
                self._on_data(number, flags, payload)
            elif kind == HEADERS:
                self._on_headers(number, flags, payload)
            elif not self._set and kind != SETTINGS:
                raise ConnectionFailed(PROTOCOL_ERROR, "the first frame must be SETTINGS")
            else:
                take = _TAKE.get(kind)
                if take is not None:
                    take(self, number, flags, payload)
        if at < end:
            if at or not self._rest:  # another frame has begun
                self._since = self.loop.time()
            self._rest = data[at:]
        else:
            self._rest = b""

    def _at_once(self, number: int, block: bytes, data: bytes, at: int) -> int:
        """A known head with all of its body behind it, which can be answered without waiting, needs no stream.

        Returns where the next frame begins, or 0: nothing has happened, and the frames are to be taken one by one.
        """
        high, low, kind, flags, found = FRAME.unpack_from(data, at)
        size: int = high << 16 | low
        begin = at + 9
        stop = begin + size
        if kind != DATA or flags != END_STREAM or found != number or stop > len(data):
            return 0
        if not self._last < number < _LARGEST or not number & 1 or self._block is not None:
            return 0
        if size > STREAM_WINDOW or size > self._granted or len(self.streams) >= MAX_STREAMS:
            return 0
        if not self._make.at_once(self, number, *self._plain[block], data, begin, stop):
            return 0
        self._last = number
        self._answered += 1
        self._grant(size)
        return stop

    def _on_headers(self, number: int, flags: int, payload: bytes) -> None:
        if not self._set or not number & 1:
            raise ConnectionFailed(PROTOCOL_ERROR, "HEADERS on a stream that is no client's")
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & PRIORITIZED:
            if len(payload) < 5:
                raise ConnectionFailed(FRAME_SIZE_ERROR, "HEADERS without its priority")
            if _WORD.unpack_from(payload)[0] & _LARGEST == number:
                raise ConnectionFailed(PROTOCOL_ERROR, "a stream depends on itself")
            payload = payload[5:]
        if not flags & END_HEADERS:
            self._block = (number, flags, bytearray(payload))
            return
        self._on_block(number, flags, payload)

    def _on_continuation(self, number: int, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFailed(PROTOCOL_ERROR, "CONTINUATION of nothing")
        first, first_flags, block = self._block
        block += payload
        if len(block) > limits.MAX_HEAD or (not payload and not flags & END_HEADERS):
            raise ConnectionFailed(ENHANCE_YOUR_CALM, "a head is too large")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(first, first_flags, bytes(block))

    def _on_block(self, number: int, flags: int, block: bytes) -> None:
        head = self._heads.get(block)
        wrong: StreamFailed | None = None
        if head is None:
            head, wrong = self._decode(block)
        ended = bool(flags & END_STREAM)
        stream = self.streams.get(number)
        if stream is None and number > self._last:
            self._last = number
            stream = self._make(self, number, head, self._initial)
            stream.remote_ended = ended
            if len(self.streams) >= MAX_STREAMS:
                self._drop(number)
                self.write(frame(RST_STREAM, 0, number, _WORD.pack(REFUSED_STREAM)))
                return
            self.streams[number] = stream
            if wrong is None and not (head.keys() >= _REQUIRED and head[b":path"]):
                wrong = StreamFailed(PROTOCOL_ERROR, "a request without method, scheme or path")
            if wrong is not None:
                self.reset(stream, wrong.code)
                return
            stream.on_head()
            if ended and number in self.streams:
                self._ended(stream, b"")
        elif stream is not None and not stream.remote_ended:  # trailers
            if not ended or wrong is not None or any(name[:1] == b":" for name in head):
                self.reset(stream, PROTOCOL_ERROR)
                return
            stream.remote_ended = True
            self._ended(stream, b"")
        elif stream is not None:
            self.reset(stream, STREAM_CLOSED)
        elif number not in self._dropped:
            raise ConnectionFailed(STREAM_CLOSED, "HEADERS on a closed stream")

    def _decode(self, block: bytes) -> tuple[Head, StreamFailed | None]:
        try:
            fields = self._decoder.decode(block, raw=True)
        except hpack.OversizedHeaderListError as error:
            raise ConnectionFailed(ENHANCE_YOUR_CALM, "a head is too large") from error
        except (hpack.HPACKError, ValueError, IndexError) as error:
            raise ConnectionFailed(COMPRESSION_ERROR, "a head cannot be decompressed") from error
        try:
            head = _head(fields)
        except StreamFailed as error:
            self._forget()
            return {}, error
        # Every byte from 0x80 on is one entry of the table by its number. Such a block changes nothing in the table, and
        # means the same until another one does.
        if block and min(block) >= 0x80 and len(self._heads) < _HEADS:
            self._heads[block] = head
            plain = self._make.plain(self, head) if head.keys() >= _REQUIRED and b"content-length" not in head else None
            if plain is not None and not self.clogged:
                self._plain[block] = (head, plain)
        else:
            self._forget()
        return head, None

    def _forget(self) -> None:
        self._heads.clear()
        self._plain.clear()

    def _on_data(self, number: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._grant(size)
        stream = self.streams.get(number)
        if stream is None:
            if number not in self._dropped:
                code = STREAM_CLOSED if number and number <= self._last and number & 1 else PROTOCOL_ERROR
                raise ConnectionFailed(code, "DATA on a stream that is not open")
            return
        if flags & PADDED:
            payload = _unpadded(payload)
        if stream.remote_ended:
            self.reset(stream, STREAM_CLOSED)
            return
        stream.granted -= size
        if stream.granted < 0:
            self.reset(stream, FLOW_CONTROL_ERROR)
            return
        stream.received += len(payload)
        if flags & END_STREAM:
            stream.remote_ended = True
            self._ended(stream, payload)
            return
        stream.on_data(payload, False)
        self.grant(stream)

    def _grant(self, size: int) -> None:
        """So much has arrived."""
        self._granted -= size
        if self._granted < 0:
            raise ConnectionFailed(FLOW_CONTROL_ERROR, "more than the connection's window")
        if self._granted < WINDOW >> 1:
            self.write(frame(WINDOW_UPDATE, 0, 0, _WORD.pack(WINDOW - self._granted)))
            self._granted = WINDOW

    def _ended(self, stream: Stream, data: bytes) -> None:
        length = stream.head.get(b"content-length")
        if length is not None and length != b"%d" % stream.received:
            self.reset(stream, PROTOCOL_ERROR)
        else:
            stream.on_data(data, True)

    def _on_priority(self, number: int, flags: int, payload: bytes) -> None:
        if not number:
            raise ConnectionFailed(PROTOCOL_ERROR, "PRIORITY of no stream")
        stream = self.streams.get(number)
        code = FRAME_SIZE_ERROR if len(payload) != 5 else 0
        if not code and _WORD.unpack_from(payload)[0] & _LARGEST == number:
            code = PROTOCOL_ERROR
        if code and stream is not None:
            self.reset(stream, code)
        elif code:
            self.write(frame(RST_STREAM, 0, number, _WORD.pack(code)))

    def _on_reset(self, number: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
        if not number or number > self._last:
            raise ConnectionFailed(PROTOCOL_ERROR, "RST_STREAM of an idle stream")
        stream = self.streams.get(number)
        if stream is not None:
            self._leave(stream)
            self._count_reset()

    def _count_reset(self) -> None:
        self._resets += 1
        if self._resets > MAX_RESETS + self._answered:
            raise ConnectionFailed(ENHANCE_YOUR_CALM, "too many requests are taken back")

    def _on_settings(self, number: int, flags: int, payload: bytes) -> None:
        self._set = True
        if number:
            raise ConnectionFailed(PROTOCOL_ERROR, "SETTINGS on a stream")
        if len(payload) % 6 or (flags & ACK and payload):
            raise ConnectionFailed(FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if flags & ACK:
            return
        for key, value in _SETTING.iter_unpack(payload):
            if key == 2 and value > 1:
                raise ConnectionFailed(PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
            if key == 4:
                if value > _LARGEST:
                    raise ConnectionFailed(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
                for stream in self.streams.values():
                    stream.window += value - self._initial
                    if stream.window > _LARGEST:
                        raise ConnectionFailed(FLOW_CONTROL_ERROR, "a window is too large")
                self._initial = value
            if key == 5:
                if not 16384 <= value <= 0xFFFFFF:
                    raise ConnectionFailed(PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
                self._frame = min(value, MAX_FRAME)
        self.write(frame(SETTINGS, ACK, 0, b""))
        self._pump_all()

    def _on_push(self, number: int, flags: int, payload: bytes) -> None:
        raise ConnectionFailed(PROTOCOL_ERROR, "clients do not push")

    def _on_ping(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise ConnectionFailed(PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "PING of a wrong size")
        if not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))
        elif self._draining:
            self._drain()

    def _on_goaway(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise ConnectionFailed(PROTOCOL_ERROR, "GOAWAY on a stream")

    def _on_window(self, number: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        more = _WORD.unpack(payload)[0] & _LARGEST
        if not number:
            if not more:
                raise ConnectionFailed(PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            self._window += more
            if self._window > _LARGEST:
                raise ConnectionFailed(FLOW_CONTROL_ERROR, "the connection's window is too large")
            self._pump_all()
            return
        stream = self.streams.get(number)
        if stream is None:
            if number > self._last:
                raise ConnectionFailed(PROTOCOL_ERROR, "WINDOW_UPDATE of an idle stream")
            return
        stream.window += more
        if not more or stream.window > _LARGEST:
            self.reset(stream, FLOW_CONTROL_ERROR if more else PROTOCOL_ERROR)
        else:
            self._pump(stream)

    # Writing.

    def _pump_all(self) -> None:
        for stream in list(self._blocked.values()):
            self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        """Send what waits, as far as the windows allow it."""
        queued = stream.queued
        if queued is None:
            return
        while queued:
            data = queued[0]
            size = min(len(data), stream.window, self._window, self._frame)
            if size <= 0 and data:
                break
            stream.window -= size
            self._window -= size
            self._queued -= size
            stream.moved = self._moved = self.loop.time()
            self.write(FRAME.pack(size >> 16, size & 0xFFFF, DATA, 0, stream.id) + data[:size])
            if size == len(data):
                queued.popleft()
            else:
                queued[0] = data[size:] if isinstance(data, memoryview) else memoryview(data)[size:]  # type: ignore[assignment]
        if not queued:
            stream.queued = None
            self._blocked.pop(stream.id, None)
            if stream.queued_end:
                self.end(stream, stream.queued_end)
            else:
                stream.on_room()
        self._balance()

    def _balance(self) -> None:
        """Begin no request while too much waits for the client's windows."""
        clogged = self._queued > MAX_UNSENT
        if clogged is not self.clogged:
            self.clogged = clogged
            self._forget()  # a head that is not plain is judged anew
            (self.room.clear if clogged else self.room.set)()

    def _flush(self) -> None:
        self._flushing = False
        if self._out:
            out, self._out = self._out, []
            if not self._transport.is_closing():
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _throttle(self) -> None:
        if self._writable is not self._reading and not self._transport.is_closing():
            self._reading = self._writable
            (self._transport.resume_reading if self._reading else self._transport.pause_reading)()

    def _close_if_done(self) -> None:
        if self._drained and not self.streams:
            self._flush()
            self._transport.close()

    def _fail(self, code: int, why: str) -> None:
        self.write(frame(GOAWAY, 0, 0, _WORD.pack(self._last) + _WORD.pack(code) + why.encode()))
        self._flush()
        self._transport.close()


_TAKE = {
    PRIORITY: Http2._on_priority,
    RST_STREAM: Http2._on_reset,
    SETTINGS: Http2._on_settings,
    PUSH_PROMISE: Http2._on_push,
    PING: Http2._on_ping,
    GOAWAY: Http2._on_goaway,
    WINDOW_UPDATE: Http2._on_window,
    CONTINUATION: Http2._on_continuation,
}


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """A frame."""
    return FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, number) + payload


def literal(*fields: tuple[bytes, bytes]) -> bytes:
    """A header block that leaves the client's table alone; names and values are short."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def _text(value: bytes) -> bytes:
    size = len(value)
    if size < 127:
        return bytes([size]) + value
    size -= 127
    prefix = bytearray([127])
    while size >= 128:
        prefix.append(size & 127 | 128)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + value


def _unpadded(payload: bytes) -> bytes:
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise ConnectionFailed(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]


def _head(fields: Any) -> Head:
    """The fields by name. Raises StreamFailed for those that RFC 9113 calls malformed."""
    head: Head = {}
    regular = False
    for name, value in fields:
        if name[:1] == b":":
            if regular or name not in _PSEUDO or name in head:
                raise StreamFailed(PROTOCOL_ERROR, "a pseudo-header is unknown, repeated or late")
        else:
            regular = True
            if name in _FORBIDDEN or name != name.lower() or not name or (name == b"te" and value != b"trailers"):
                raise StreamFailed(PROTOCOL_ERROR, "a header is not for HTTP/2")
        head[name] = value
    return head
