"""Streams: their states, and what a frame means in each.

A server has fewer states than RFC 9113, 5.1 draws: one that pushes nothing reserves no stream, and one whose last frame
ends the stream never half-closes its own side.

    IDLE --HEADERS--> OPEN --END_STREAM--> HALF_CLOSED --answered--> CLOSED
                        |                       |
                        +-- RST_STREAM by the client ------------->  CLOSED
                        +-- RST_STREAM by the server ------------->  RESET

Streams with even numbers, which only a server could open, stay IDLE. A frame on a RESET stream may have been sent before
the client knew: it is ignored, but its header block still changes the HPACK table, and its data still takes from the
connection's window. PRIORITY is allowed in every state and changes nothing.
"""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from onnxmodel_runtime.server.http2.frames import (
    DATA,
    HEADERS,
    PROTOCOL_ERROR,
    RST_STREAM,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    ConnectionFailed,
    StreamFailed,
)
from onnxmodel_runtime.server.http2.heads import Head

STREAM_WINDOW = 1 << 20
"""Bytes that a client may send on a stream before it gets a window update."""


class State(IntEnum):
    """The state of a stream."""

    IDLE = 0
    OPEN = 1
    HALF_CLOSED = 2
    RESET = 3
    CLOSED = 4


@dataclass(frozen=True, slots=True)
class Fail:
    """The frame breaks the protocol."""

    error: type[ConnectionFailed] | type[StreamFailed]
    code: int
    why: str


TAKE, IGNORE = "take", "ignore"
Reaction = str | Fail
_COMPLETE = Fail(StreamFailed, STREAM_CLOSED, "the request is complete")
_NOT_OPEN = "DATA on a stream that is not open"
IDLE, OPEN, HALF_CLOSED, RESET, CLOSED = State

RULES: dict[int, dict[State, Reaction]] = {
    HEADERS: {
        IDLE: TAKE,  # a request
        OPEN: TAKE,  # trailers
        HALF_CLOSED: _COMPLETE,
        RESET: IGNORE,
        CLOSED: Fail(ConnectionFailed, STREAM_CLOSED, "HEADERS on a closed stream"),
    },
    DATA: {
        IDLE: Fail(ConnectionFailed, PROTOCOL_ERROR, _NOT_OPEN),
        OPEN: TAKE,
        HALF_CLOSED: _COMPLETE,
        RESET: IGNORE,
        CLOSED: Fail(ConnectionFailed, STREAM_CLOSED, _NOT_OPEN),
    },
    RST_STREAM: {
        IDLE: Fail(ConnectionFailed, PROTOCOL_ERROR, "RST_STREAM of an idle stream"),
        OPEN: TAKE,
        HALF_CLOSED: TAKE,
        RESET: IGNORE,
        CLOSED: IGNORE,
    },
    WINDOW_UPDATE: {
        IDLE: Fail(ConnectionFailed, PROTOCOL_ERROR, "WINDOW_UPDATE of an idle stream"),
        OPEN: TAKE,
        HALF_CLOSED: TAKE,
        RESET: IGNORE,
        CLOSED: IGNORE,
    },
}


def admit(kind: int, state: State) -> bool:
    """Return whether a frame is taken; if not, it is ignored. Raises ConnectionFailed and StreamFailed."""
    rule = RULES[kind][state]
    if rule is TAKE:
        return True
    if isinstance(rule, Fail):
        raise rule.error(rule.code, rule.why)
    return False


class Stream:
    """State of a stream that is OPEN or HALF_CLOSED."""

    __slots__ = (
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

    def __init__(self, number: int, head: Head, window: int) -> None:
        self.id = number
        self.head = head
        self.window = window  # what the client lets us send
        self.granted = STREAM_WINDOW  # what we let it send
        self.paused = False  # while it is, the client is not told to go on
        self.received = 0  # bytes of the body
        self.remote_ended = False
        self.queued: deque[bytes] | None = None  # what its window does not allow yet
        self.queued_end = b""  # the frame behind that
