"""A connection without a loop, and the client's side of it as far as tests need one."""

import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import hpack

from onnxmodel_runtime.server.http2 import frames
from onnxmodel_runtime.server.http2.connection import Connection
from onnxmodel_runtime.server.http2.events import (
    AllSent,
    DataReceived,
    Event,
    HeadReceived,
    StreamGone,
    WholeRequest,
)
from onnxmodel_runtime.server.http2.heads import Head
from onnxmodel_runtime.server.http2.streams import Stream

REQUEST = ((":method", "POST"), (":scheme", "http"), (":path", "/x"), ("te", "trailers"))
ANSWER, TRAILERS = b"\x88", b"\x89"
"""Header blocks of one indexed field: :status 200 and :status 204, as good as any."""


class Frame(NamedTuple):
    """A frame that the connection sent."""

    kind: int
    flags: int
    number: int
    payload: bytes


class Talk:
    """One connection. It is greeted unless told otherwise, and what it says to that is thrown away."""

    def __init__(
        self,
        settings: bytes | None = b"",
        prepare: Callable[[Head], Any] = lambda head: None,
        make: Callable[[int, Head, int], Stream] = Stream,
    ) -> None:
        self.now = 1000.0
        self.encoder = hpack.Encoder()
        self.connection = Connection(make, prepare, lambda: self.now)
        self.answers: Callable[[WholeRequest], bool] = lambda request: False
        if settings is not None:
            self.receive(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, settings))
            self.sent()

    def receive(self, *data: bytes) -> list[tuple[Any, ...]]:
        """What the connection tells of the bytes."""
        return list(self.each(b"".join(data)))

    def each(self, data: bytes) -> Iterable[tuple[Any, ...]]:
        """The same, one event at a time."""
        for event in self.connection.receive(data):
            if isinstance(event, WholeRequest):
                event.answered = self.answers(event)
            yield told(event)

    def sent(self) -> list[Frame]:
        """What the connection wrote since this was last asked."""
        data = b"".join(self.connection.out)
        self.connection.out.clear()
        return list(parsed(data))

    def head(
        self, number: int, fields: Iterable[tuple[str, str]] = REQUEST, ended: bool = False, block: bytes = b""
    ) -> bytes:
        """A frame that opens a stream, or ends it by trailers."""
        flags = frames.END_HEADERS | (frames.END_STREAM if ended else 0)
        return frames.frame(frames.HEADERS, flags, number, block or self.encoder.encode(fields))

    def stream(self, number: int) -> Stream:
        """One that is open."""
        return self.connection.streams[number]

    def answer(self, number: int, body: bytes = b"") -> None:
        """Answer a stream, as an application would."""
        stream = self.stream(number)
        if body:
            self.connection.send(stream, body)
        self.connection.end(stream, frames.frame(frames.HEADERS, 5, number, TRAILERS))


def data(number: int, body: bytes = b"", ended: bool = False) -> bytes:
    """A part of a request."""
    return frames.frame(frames.DATA, frames.END_STREAM if ended else 0, number, body)


def settings(*values: tuple[int, int]) -> bytes:
    """The payload of SETTINGS."""
    return b"".join(struct.pack(">HI", *value) for value in values)


def parsed(data: bytes) -> Iterable[Frame]:
    """The frames; there is nothing behind the last one."""
    at = 0
    while at < len(data):
        high, low, kind, flags, number = frames.FRAME.unpack_from(data, at)
        end = at + 9 + (high << 16 | low)
        assert end <= len(data)
        yield Frame(kind, flags, number, data[at + 9 : end])
        at = end


def told(event: Event[Stream]) -> tuple[Any, ...]:
    """An event as a value."""
    match event:
        case WholeRequest():
            return ("whole", event.number, event.data[event.begin : event.stop])
        case HeadReceived():
            return ("head", event.stream.id)
        case DataReceived():
            return ("data", event.stream.id, bytes(event.data), event.ended)
        case AllSent():
            return ("sent", event.stream.id)
        case StreamGone():
            return ("gone", event.stream.id)


def reset(number: int, code: int) -> Frame:
    """A RST_STREAM."""
    return Frame(frames.RST_STREAM, 0, number, struct.pack(">I", code))


def goaway(last: int, code: int, why: str = "") -> Frame:
    """A GOAWAY."""
    return Frame(frames.GOAWAY, 0, 0, struct.pack(">II", last, code) + why.encode())
