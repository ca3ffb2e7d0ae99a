"""Events of a connection, from the bytes that it receives."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from onnxmodel_runtime.server.http2.heads import Head
from onnxmodel_runtime.server.http2.streams import Stream

S = TypeVar("S", bound=Stream)


@dataclass(slots=True)
class WholeRequest:
    """A known head with all of its body behind it: data from begin to stop.

    Answer it before the next event is asked for, and set `answered`: then it needs no stream. Otherwise it comes again, as
    any other request does.
    """

    number: int
    head: Head
    prepared: Any  # by the application, for this head
    window: int  # that the client grants for the answer
    data: bytes
    begin: int
    stop: int
    answered: bool = False


@dataclass(slots=True)
class HeadReceived(Generic[S]):
    """A request has begun."""

    stream: S


@dataclass(slots=True)
class DataReceived(Generic[S]):
    """A part of a request's body; ended: the last one. For more than a window, `grant` must be called."""

    stream: S
    data: bytes
    ended: bool


@dataclass(slots=True)
class AllSent(Generic[S]):
    """All queued data of the stream has been sent: the response may continue."""

    stream: S


@dataclass(slots=True)
class StreamGone(Generic[S]):
    """The client no longer waits for the response."""

    stream: S


Event = WholeRequest | HeadReceived[S] | DataReceived[S] | AllSent[S] | StreamGone[S]
