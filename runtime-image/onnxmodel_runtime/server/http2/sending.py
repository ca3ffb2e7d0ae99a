"""Send a connection's data within the client's flow-control windows (RFC 9113, 5.2 and 6.9)."""

from collections import deque
from collections.abc import Callable, Iterable

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http2.frames import DATA, FLOW_CONTROL_ERROR, FRAME, LARGEST, ConnectionFailed
from onnxmodel_runtime.server.http2.streams import Stream

MAX_UNSENT = 4 << 20
"""Bytes of answers that wait for the client's windows before no further request is begun. Reading goes on: the windows
open by what the client sends."""


class Sending:
    """The windows that the client opens, and the data that waits for them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.out: list[bytes] = []
        """Frames for the client."""
        self.initial = 65535  # the window of a new stream
        self.frame = 16384  # bytes of the largest frame that the client takes
        self.blocked: dict[int, Stream] = {}
        self._ready: dict[int, Stream] = {}
        """Blocked streams whose own window is open: they wait for the connection's."""
        self._clock = clock
        self._window = 65535
        self.clogged = False
        """True if too many bytes wait for the client's windows to begin another request."""
        self._queued = 0  # bytes of the blocked streams
        self._moved = 0.0  # when the last of them were sent

    def fits(self, size: int, window: int | None = None) -> bool:
        """Return whether so many bytes can go in one frame at once; if so, take them from the connection's window.

        window: the stream's, by default a new one's.
        """
        if size > (self.initial if window is None else window) or size > self._window or size > self.frame:
            return False
        self._window -= size
        return True

    def send(self, stream: Stream, data: bytes) -> None:
        """Send a part of a body as far as the windows allow, and queue the rest."""
        if stream.queued is None and len(data) <= min(stream.window, self._window, self.frame):
            stream.window -= len(data)
            self._window -= len(data)
            self.out.append(FRAME.pack(len(data) >> 16, len(data) & 0xFFFF, DATA, 0, stream.id) + data)
            return
        if stream.queued is None:
            stream.queued = deque()
            stream.moved = self._clock()
            if not self.blocked:
                self._moved = stream.moved
            self.blocked[stream.id] = stream
        stream.queued.append(data)
        self._count(len(data))
        self.pump(stream)

    def pump(self, stream: Stream) -> bool:
        """Send the stream's queue, as far as the windows allow. Returns whether that was all of it."""
        queued = stream.queued
        if queued is None:
            return False
        while queued:
            data = queued[0]
            size = max(0, min(len(data), stream.window, self._window, self.frame))
            if data and not size:
                self._sort(stream)
                return False
            stream.window -= size
            self._window -= size
            self._count(-size)
            stream.moved = self._moved = self._clock()
            self.out.append(FRAME.pack(size >> 16, size & 0xFFFF, DATA, 0, stream.id) + data[:size])
            if size == len(data):
                queued.popleft()
            else:
                queued[0] = data[size:] if isinstance(data, memoryview) else memoryview(data)[size:]  # type: ignore[assignment]
        stream.queued = None
        self._unblock(stream)
        return True

    @property
    def next(self) -> Stream | None:
        """The stream that can send a part of its queue now.

        `pump` always takes it further, so that no frame of the client makes us look at streams in vain.
        """
        return next(iter(self._ready.values()), None) if self._window > 0 else None

    def release(self, stream: Stream) -> None:
        """Drop the stream's queue."""
        if self._unblock(stream):
            self._count(-sum(map(len, stream.queued or ())))
            stream.queued = None

    def _unblock(self, stream: Stream) -> bool:
        self._ready.pop(stream.id, None)
        return self.blocked.pop(stream.id, None) is not None

    def _sort(self, stream: Stream) -> None:
        """Note which window a blocked stream waits for."""
        if stream.window > 0:
            self._ready[stream.id] = stream
        else:
            self._ready.pop(stream.id, None)

    def _count(self, size: int) -> None:
        self._queued += size
        self.clogged = self._queued > MAX_UNSENT

    def widen(self, size: int) -> None:
        """Open the connection's window further. Raises ConnectionFailed."""
        self._window += size
        if self._window > LARGEST:
            raise ConnectionFailed(FLOW_CONTROL_ERROR, "the connection's window is too large")

    def start_with(self, initial: int, highest: int, streams: Iterable[Stream]) -> None:
        """Change the window of new streams, and with it that of all others. Raises ConnectionFailed.

        highest: the largest value on the way there; a window must not exceed its maximum in between either.
        """
        change, most = initial - self.initial, LARGEST - (highest - self.initial)
        for stream in streams:
            if stream.window > most:
                raise ConnectionFailed(FLOW_CONTROL_ERROR, "a window is too large")
            stream.window += change
        self.initial = initial
        for stream in self.blocked.values():
            self._sort(stream)

    def stalled(self, now: float) -> list[Stream]:
        """Return the streams whose own window has stayed closed for too long."""
        blocked = self.blocked.values()
        return [each for each in blocked if each.window <= 0 and now - each.moved > limits.READ_SECONDS]

    def stuck(self, now: float) -> bool:
        """Return whether the connection's window has stayed closed for too long."""
        return bool(self.blocked) and self._window <= 0 and now - self._moved > limits.READ_SECONDS
