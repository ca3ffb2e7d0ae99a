"""A server's HTTP/2 connection as a state machine: bytes in, events and bytes out. It does no I/O and asks no clock but the
one that it is given.

    for event in connection.receive(data): ...      # what the client did
    connection.send(stream, ...), .end(stream, ...)  # what the application answers
    b"".join(connection.out)                         # what to write, until `closed` says that this was the last
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http2 import frames
from onnxmodel_runtime.server.http2.events import (
    AllSent,
    DataReceived,
    Event,
    HeadReceived,
    S,
    StreamGone,
    WholeRequest,
)
from onnxmodel_runtime.server.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    HEADERS,
    LARGEST,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ConnectionFailed,
    StreamFailed,
)
from onnxmodel_runtime.server.http2.heads import Head, Heads, is_request, is_trailers
from onnxmodel_runtime.server.http2.sending import Sending
from onnxmodel_runtime.server.http2.streams import (
    CLOSED,
    HALF_CLOSED,
    IDLE,
    OPEN,
    RESET,
    STREAM_WINDOW,
    State,
    admit,
)

MAX_FRAME = 1 << 17
"""Maximum bytes of a frame from a client."""
WINDOW = 4 << 20
"""Bytes that a client may send on all streams before it gets a window update."""
MAX_STREAMS = 1024
MAX_DROPPED = 2 * MAX_STREAMS
"""Streams that we ended, and on which a client may still send. One that has yet to read how many it may open can open
many more at once: they are refused, and the others answered."""
MAX_RESETS = 1000
"""Requests that a client may cancel, or make us end by what it does wrong, beyond those that were answered
(CVE-2023-44487, CVE-2025-8671)."""
MAX_RESIZES = 100
"""Changes of INITIAL_WINDOW_SIZE between two sweeps: each changes the windows of all streams."""


class Connection(Generic[S]):
    """A server's side of one connection. Bytes and time cause events; sending does not."""

    def __init__(
        self, make: Callable[[int, Head, int], S], prepare: Callable[[Head], Any], clock: Callable[[], float]
    ) -> None:
        """make: a stream, by its number, its head and the window that the client grants. prepare: what the application
        wants to have at hand for requests with this head; None where it does not want them as WholeRequest.
        """
        self.streams: dict[int, S] = {}
        """Streams that are OPEN or HALF_CLOSED."""
        self.closed = False
        """True once nothing more is received or sent."""
        self.overdue = False
        """True once the client has kept us waiting too long: end the connection, whatever has yet to be written."""
        self.writable = True
        """True while the client reads as fast as we write. Kept by the transport."""
        self._make = make
        self._clock = clock
        self._heads = Heads(prepare)
        self._prepared = self._heads.prepared
        self.sending = Sending(clock)
        self.out = self.sending.out
        self._events: list[Event[S]] = []
        self._rest = b""  # of a frame that is not whole
        self._prefaced = self._set = False
        self._block: tuple[int, int, bytearray] | None = None  # of a head that goes on in the next frame
        self._last = 0
        self._dropped: dict[int, None] = {}  # streams that are RESET, in their order
        self._resets = self._answered = self._resizes = 0
        self._granted = WINDOW
        self._draining = self._drained = False
        self._since = clock()  # when it last became idle, or able to write, or a frame began
        own = (frames.MAX_CONCURRENT_STREAMS, MAX_STREAMS), (frames.INITIAL_WINDOW_SIZE, STREAM_WINDOW)
        more = (frames.MAX_FRAME_SIZE, MAX_FRAME), (frames.MAX_HEADER_LIST_SIZE, limits.MAX_HEAD)
        self.out += (frames.settings(*own, *more), frames.window_update(0, WINDOW - 65535))

    @property
    def clogged(self) -> bool:
        """True if too many bytes wait for the client's windows to begin another request."""
        return self.sending.clogged

    # Time.

    def set_writable(self, writable: bool) -> None:
        """Note whether the client reads as fast as we write."""
        self.writable = writable
        self._since = self._clock()

    def sweep(self, now: float) -> list[Event[S]]:
        """End what has waited too long: streams with closed windows, idle connections, frames that do not go on."""
        for stream in self.sending.stalled(now):
            self._end(self.streams[stream.id], frames.CANCEL)
        if self.streams and self.writable and not self._rest:
            self._since = now
        quiet = self.writable and not self._rest and self._prefaced
        most = limits.KEEP_ALIVE_SECONDS if quiet else limits.READ_SECONDS
        self.overdue = self.sending.stuck(now) or now - self._since > most
        self._resizes = 0
        events, self._events = self._events, []
        return events

    def drain(self, now: float, last: bool = False) -> bool:
        """Ask the client to send no further request. Those that it sent before it knows are answered too.

        A new connection may have its first request before, unless it is the last: a client that is sent away at once would
        come back at once. Returns whether the client was asked just now; it confirms, or `drained` is called for it.
        """
        if self._draining or not (last or self._last or now - self._since >= limits.LAME_DUCK_SECONDS):
            return False
        self._draining = True
        self.out.append(frames.goaway(LARGEST, frames.NO_ERROR))
        self.out.append(frames.frame(PING, 0, 0, bytes(8)))  # its answer comes behind the last request
        return True

    def drained(self) -> None:
        """Record that the client sends no further request: close with the last response."""
        if not self._drained:
            self._drained = True
            self.out.append(frames.goaway(self._last, frames.NO_ERROR))
            self._close_if_done()

    def lost(self) -> list[S]:
        """Record that the client is gone. Returns the streams that it waited for."""
        self.closed = True
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            self.sending.release(stream)
        return streams

    # Answers.

    def send(self, stream: S, data: bytes) -> None:
        """Send a part of an answer's body, as far as the client's windows allow; the rest follows, and then AllSent."""
        self.sending.send(stream, data)

    def end(self, stream: S, last: bytes) -> None:
        """Complete the response with this frame."""
        if stream.queued is not None:
            stream.queued_end = last
            return
        self.out.append(last)
        self._answered += 1
        self.streams.pop(stream.id, None)
        if not stream.remote_ended:  # the rest of the request is of no interest
            self._drop(stream.id)
            self.out.append(frames.rst_stream(stream.id, frames.NO_ERROR))
        self._close_if_done()

    def open(self, request: WholeRequest) -> S:
        """Return a stream for a request that cannot be answered without one."""
        stream = self._make(request.number, request.head, request.window)
        stream.remote_ended = True
        self.streams[request.number] = stream
        return stream

    def grant(self, stream: S) -> None:
        """Let the client continue the request."""
        if (
            stream.granted < STREAM_WINDOW >> 1
            and not stream.paused
            and not stream.remote_ended
            and stream.id in self.streams
        ):
            self.out.append(frames.window_update(stream.id, STREAM_WINDOW - stream.granted))
            stream.granted = STREAM_WINDOW

    # Frames.

    def receive(self, data: bytes) -> Iterator[Event[S]]:
        """Take the bytes that have arrived, and yield their events. Handle each event before the next one is asked for.

        A violation of the protocol ends the stream or the connection, with the frame that reports it.
        """
        if self.closed:
            return
        if self._rest:
            data = self._rest + data
        at, end, events = 0, len(data), self._events
        try:
            if not self._prefaced:
                if not PREFACE.startswith(data[: len(PREFACE)]):
                    raise ConnectionFailed(frames.PROTOCOL_ERROR, "this port expects HTTP/2 (gRPC)")
                if end < len(PREFACE):
                    self._rest = data
                    return
                self._prefaced = True
                at = len(PREFACE)
            while end - at >= 9:
                high, low, kind, flags, number = FRAME.unpack_from(data, at)
                length = high << 16 | low
                if length > MAX_FRAME:
                    raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "a frame is too large")
                stop = at + 9 + length
                if stop > end:
                    break
                payload = data[at + 9 : stop]
                at = stop
                if kind == HEADERS and flags == END_HEADERS and payload in self._prepared and end - at > 9:
                    request = self._whole(number, payload, data, at)
                    if request is not None:
                        yield request
                        if request.answered:
                            self._last = number
                            self._answered += 1
                            self._received(request.stop - request.begin)
                            at = request.stop
                            continue
                number &= LARGEST
                try:
                    self._take(kind, flags, number, payload)
                except StreamFailed as error:
                    self._reset(number, error.code)
                if events:
                    yield from events
                    events.clear()
                if self.closed:
                    return
            if at < end:
                if at or not self._rest:  # another frame has begun
                    self._since = self._clock()
                self._rest = data[at:]
            else:
                self._rest = b""
        except ConnectionFailed as error:
            yield from events
            events.clear()
            self.out.append(frames.goaway(self._last, error.code, str(error)))
            self.closed = True

    def _whole(self, number: int, block: bytes, data: bytes, at: int) -> WholeRequest | None:
        """Return the request whose head is followed by all of its body, if it is one that needs no stream.

        In between, gRPC's own clients open the stream's window further.
        """
        high, low, kind, flags, found = FRAME.unpack_from(data, at)
        window = self.sending.initial
        if kind == WINDOW_UPDATE and low == 4 and not high and found == number and len(data) - at >= 22:
            more = frames.word(data, at + 9)
            window += more
            if not more or window > LARGEST:
                return None
            at += 13
            high, low, kind, flags, found = FRAME.unpack_from(data, at)
        begin = at + 9
        size: int = high << 16 | low
        stop = begin + size
        if kind != DATA or flags != END_STREAM or found != number or stop > len(data):
            return None
        if not self._last < number < LARGEST or not number & 1 or self._block is not None:
            return None
        if size > STREAM_WINDOW or size > self._granted or len(self.streams) >= MAX_STREAMS or self.clogged:
            return None
        head, prepared = self._prepared[block]
        return WholeRequest(number, head, prepared, window, data, begin, stop)

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Take a frame. Raises ConnectionFailed and StreamFailed."""
        if self._block is not None and (kind != CONTINUATION or number != self._block[0]):
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "a header block is interrupted by another frame")
        if kind == DATA:
            self._on_data(number, flags, payload)
        elif kind == HEADERS:
            self._on_headers(number, flags, payload)
        elif not self._set and kind != SETTINGS:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        else:
            frames.check(kind, flags, number, payload)
            take = _TAKE.get(kind)
            if take is not None:
                take(self, number, flags, payload)

    def _state(self, number: int, stream: S | None) -> State:
        """Return the state of a stream. stream: what is known of it while it is OPEN or HALF_CLOSED."""
        if stream is not None:
            return HALF_CLOSED if stream.remote_ended else OPEN
        if number in self._dropped:
            return RESET
        return IDLE if number > self._last or not number & 1 else CLOSED

    def _on_headers(self, number: int, flags: int, payload: bytes) -> None:
        if not self._set or not number & 1:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "HEADERS on a stream that clients may not use")
        block = frames.fragment(flags, number, payload)
        if len(block) > limits.MAX_HEAD:
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & END_HEADERS:
            self._on_block(number, flags, block)
        else:
            self._block = (number, flags, bytearray(block))

    def _on_continuation(self, number: int, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        first, first_flags, block = self._block
        block += payload
        if len(block) > limits.MAX_HEAD or (not payload and not flags & END_HEADERS):
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(first, first_flags, bytes(block))

    def _on_block(self, number: int, flags: int, block: bytes) -> None:
        malformed: StreamFailed | None = None
        try:
            head = self._heads.decode(block)  # it changes the table, whatever becomes of the frame
        except StreamFailed as error:
            head, malformed = {}, error
        ended, stream = bool(flags & END_STREAM), self.streams.get(number)
        if not admit(HEADERS, self._state(number, stream)):
            return
        if stream is None:
            self._on_request(number, head, malformed, ended)
            return
        if malformed is not None or not ended or not is_trailers(head):
            raise StreamFailed(frames.PROTOCOL_ERROR, "trailers are malformed or do not end the stream")
        self._complete(stream, b"")

    def _on_request(self, number: int, head: Head, malformed: StreamFailed | None, ended: bool) -> None:
        self._last = number
        if len(self.streams) >= MAX_STREAMS:
            self._drop(number)
            self.out.append(frames.rst_stream(number, frames.REFUSED_STREAM))
            return
        self.streams[number] = stream = self._make(number, head, self.sending.initial)
        if malformed is not None:
            raise malformed
        if not is_request(head):
            raise StreamFailed(frames.PROTOCOL_ERROR, "the request has no method, scheme or path")
        self._events.append(HeadReceived(stream))
        if ended:
            self._complete(stream, b"")

    def _on_data(self, number: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._received(size)
        stream = self.streams.get(number)
        if stream is not None and flags & PADDED:
            payload = frames.unpadded(payload)
        if not admit(DATA, self._state(number, stream)):
            return
        assert stream is not None
        stream.granted -= size
        if stream.granted < 0:
            raise StreamFailed(frames.FLOW_CONTROL_ERROR, "the stream's flow-control window is exceeded")
        stream.received += len(payload)
        if flags & END_STREAM:
            self._complete(stream, payload)
        else:
            self._events.append(DataReceived(stream, payload, False))

    def _received(self, size: int) -> None:
        """Count what has arrived on any stream. Raises ConnectionFailed."""
        self._granted -= size
        if self._granted < 0:
            raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "the connection's flow-control window is exceeded")
        if self._granted < WINDOW >> 1:
            self.out.append(frames.window_update(0, WINDOW - self._granted))
            self._granted = WINDOW

    def _complete(self, stream: S, data: bytes) -> None:
        """The request ends with this part of its body. Raises StreamFailed."""
        stream.remote_ended = True
        length = stream.head.get(b"content-length")
        if length is not None and length != b"%d" % stream.received:
            raise StreamFailed(frames.PROTOCOL_ERROR, "the body's length differs from content-length")
        self._events.append(DataReceived(stream, data, True))

    def _on_reset(self, number: int, flags: int, payload: bytes) -> None:
        stream = self.streams.get(number)
        if admit(RST_STREAM, self._state(number, stream)):
            assert stream is not None
            self._leave(stream)
            self._count_reset()

    def _on_settings(self, number: int, flags: int, payload: bytes) -> None:
        self._set = True
        if flags & ACK:
            return
        initial = highest = self.sending.initial
        for key, value in frames.SETTING.iter_unpack(payload):
            frames.check_setting(key, value)
            if key == frames.INITIAL_WINDOW_SIZE:
                initial, highest = value, max(value, highest)
            elif key == frames.MAX_FRAME_SIZE:
                self.sending.frame = min(value, MAX_FRAME)
        self._resize(initial, highest)
        self.out.append(frames.frame(SETTINGS, ACK, 0, b""))
        self._pump_all()

    def _on_ping(self, number: int, flags: int, payload: bytes) -> None:
        if not flags & ACK:
            self.out.append(frames.frame(PING, ACK, 0, payload))
        elif self._draining:
            self.drained()

    def _on_window(self, number: int, flags: int, payload: bytes) -> None:
        more = frames.word(payload)
        if not number:
            if not more:
                raise ConnectionFailed(frames.PROTOCOL_ERROR, "WINDOW_UPDATE with an increment of 0")
            self.sending.widen(more)
            self._pump_all()
            return
        stream = self.streams.get(number)
        if admit(WINDOW_UPDATE, self._state(number, stream)):
            assert stream is not None
            stream.window += more
            if not more:
                raise StreamFailed(frames.PROTOCOL_ERROR, "WINDOW_UPDATE with an increment of 0")
            if stream.window > LARGEST:
                raise StreamFailed(frames.FLOW_CONTROL_ERROR, "the stream's window is too large")
            if stream.queued is not None:
                self._pump(stream)

    # What follows from frames.

    def _resize(self, initial: int, highest: int) -> None:
        """Apply the INITIAL_WINDOW_SIZE of a frame, once however often it is in there. Raises ConnectionFailed."""
        if highest == self.sending.initial and initial == highest:
            return
        self._resizes += 1
        if self._resizes > MAX_RESIZES:
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "INITIAL_WINDOW_SIZE changes too often")
        self.sending.start_with(initial, highest, self.streams.values())

    def _pump_all(self) -> None:
        while (stream := self.sending.next) is not None:
            self._pump(self.streams[stream.id])

    def _pump(self, stream: S) -> None:
        """Send what the windows allow now."""
        if not self.sending.pump(stream):
            return
        if stream.queued_end:
            self.end(stream, stream.queued_end)
        else:
            self._events.append(AllSent(stream))

    def _reset(self, number: int, code: int) -> None:
        """End a stream without an answer, because of what the client does wrong. Raises ConnectionFailed."""
        stream = self.streams.get(number)
        if stream is None:
            self.out.append(frames.rst_stream(number, code))
        else:
            self._end(stream, code)
            self._count_reset()

    def _count_reset(self) -> None:
        self._resets += 1
        if self._resets > MAX_RESETS + self._answered:
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "too many requests were cancelled")

    def _end(self, stream: S, code: int) -> None:
        self._drop(stream.id)
        self.out.append(frames.rst_stream(stream.id, code))
        self._leave(stream)

    def _drop(self, number: int) -> None:
        """Ignore what the client still sends on this stream."""
        self._dropped[number] = None
        if len(self._dropped) > MAX_DROPPED:
            del self._dropped[next(iter(self._dropped))]

    def _leave(self, stream: S) -> None:
        """Nobody waits for the stream's answer, or the rest of it."""
        del self.streams[stream.id]
        self.sending.release(stream)
        self._events.append(StreamGone(stream))
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._drained and not self.streams:
            self.closed = True


_TAKE: dict[int, Callable[[Connection[Any], int, int, bytes], None]] = {
    RST_STREAM: Connection._on_reset,
    SETTINGS: Connection._on_settings,
    PING: Connection._on_ping,
    WINDOW_UPDATE: Connection._on_window,
    CONTINUATION: Connection._on_continuation,
}
