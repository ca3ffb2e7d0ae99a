"""The connection as a state machine: tables of RFC 9113's rules and of our bounds, without an event loop."""

import struct
from collections.abc import Callable
from typing import Any

import pytest

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http2 import connection, sending
from onnxmodel_runtime.server.http2.events import WholeRequest
from onnxmodel_runtime.server.http2.frames import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    LARGEST,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    frame,
    rst_stream,
    window_update,
)
from onnxmodel_runtime.server.http2.streams import STREAM_WINDOW, State, Stream
from tests.unit.runtime.server.http2.talk import REQUEST, Frame, Talk, data, goaway, reset, settings

PONG = Frame(PING, ACK, 0, bytes(8))


def in_state(state: State) -> Talk:
    """A connection whose stream 5 is in a state; streams 1 and 3 have been, and 7 has not."""
    talk = Talk()
    talk.receive(talk.head(1, ended=True), talk.head(3, ended=True))
    talk.answer(1)
    talk.answer(3)
    if state is not State.IDLE:
        talk.receive(talk.head(5, ended=state in (State.HALF_CLOSED, State.CLOSED)))
    if state is State.CLOSED:
        talk.answer(5)
    if state is State.RESET:
        talk.receive(frame(WINDOW_UPDATE, 0, 5, bytes(4)))
    talk.sent()
    return talk


def of_stream(code: int) -> Callable[[Talk, list[Any]], None]:
    """The stream ends, and the connection goes on."""

    def check(talk: Talk, events: list[Any]) -> None:
        assert events == [("gone", 5)]
        assert talk.sent() == [reset(5, code)]
        assert talk.receive(frame(PING, 0, 0, bytes(8))) == []
        assert talk.sent() == [PONG]

    return check


def of_connection(code: int, last: int) -> Callable[[Talk, list[Any]], None]:
    """The connection ends."""

    def check(talk: Talk, events: list[Any]) -> None:
        assert events == []
        (sent,) = talk.sent()
        assert (sent.kind, sent.payload[:8]) == (GOAWAY, struct.pack(">II", last, code))
        assert sent.payload[8:]  # says why
        assert talk.connection.closed
        assert talk.receive(frame(PING, 0, 0, bytes(8))) == []
        assert talk.sent() == []

    return check


def ignored(talk: Talk, events: list[Any]) -> None:
    assert events == []
    assert talk.sent() == []
    assert not talk.connection.closed


def tells(*expected: tuple[Any, ...]) -> Callable[[Talk, list[Any]], None]:
    def check(talk: Talk, events: list[Any]) -> None:
        assert events == [*expected]
        assert talk.sent() == []
        assert not talk.connection.closed

    return check


FRAMES = {
    "HEADERS": lambda talk: talk.head(5),
    "HEADERS, ended": lambda talk: talk.head(5, [("t", "1")], ended=True),
    "DATA": lambda talk: data(5, b"x"),
    "DATA, ended": lambda talk: data(5, b"x", True),
    "RST_STREAM": lambda talk: rst_stream(5, CANCEL),
    "WINDOW_UPDATE": lambda talk: window_update(5, 1),
    "PRIORITY": lambda talk: frame(PRIORITY, 0, 5, bytes(5)),
}
IDLE, OPEN, HALF, RESET, CLOSED = State
REACTIONS = {
    (IDLE, "HEADERS"): tells(("head", 5)),
    (IDLE, "HEADERS, ended"): of_stream(PROTOCOL_ERROR),  # it lacks what a request must have
    (IDLE, "DATA"): of_connection(PROTOCOL_ERROR, 3),
    (IDLE, "DATA, ended"): of_connection(PROTOCOL_ERROR, 3),
    (IDLE, "RST_STREAM"): of_connection(PROTOCOL_ERROR, 3),
    (IDLE, "WINDOW_UPDATE"): of_connection(PROTOCOL_ERROR, 3),
    (OPEN, "HEADERS"): of_stream(PROTOCOL_ERROR),  # trailers must end the stream
    (OPEN, "HEADERS, ended"): tells(("data", 5, b"", True)),
    (OPEN, "DATA"): tells(("data", 5, b"x", False)),
    (OPEN, "DATA, ended"): tells(("data", 5, b"x", True)),
    (OPEN, "RST_STREAM"): tells(("gone", 5)),
    (OPEN, "WINDOW_UPDATE"): tells(),
    (HALF, "HEADERS"): of_stream(STREAM_CLOSED),
    (HALF, "HEADERS, ended"): of_stream(STREAM_CLOSED),
    (HALF, "DATA"): of_stream(STREAM_CLOSED),
    (HALF, "DATA, ended"): of_stream(STREAM_CLOSED),
    (HALF, "RST_STREAM"): tells(("gone", 5)),
    (HALF, "WINDOW_UPDATE"): tells(),
    (RESET, "HEADERS"): ignored,
    (RESET, "HEADERS, ended"): ignored,
    (RESET, "DATA"): ignored,
    (RESET, "DATA, ended"): ignored,
    (RESET, "RST_STREAM"): ignored,
    (RESET, "WINDOW_UPDATE"): ignored,
    (CLOSED, "HEADERS"): of_connection(STREAM_CLOSED, 5),
    (CLOSED, "HEADERS, ended"): of_connection(STREAM_CLOSED, 5),
    (CLOSED, "DATA"): of_connection(STREAM_CLOSED, 5),
    (CLOSED, "DATA, ended"): of_connection(STREAM_CLOSED, 5),
    (CLOSED, "RST_STREAM"): ignored,
    (CLOSED, "WINDOW_UPDATE"): ignored,
    **{(state, "PRIORITY"): ignored for state in State},
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("state", State)
def test_a_frame_in_each_state(state: State, kind: str) -> None:
    """RFC 9113, 5.1."""
    talk = in_state(state)
    REACTIONS[state, kind](talk, talk.receive(FRAMES[kind](talk)))


@pytest.mark.parametrize("kind", [DATA, HEADERS, RST_STREAM, WINDOW_UPDATE])
@pytest.mark.parametrize("number", [2, 4, 100])
def test_streams_that_only_a_server_opens_are_idle(kind: int, number: int) -> None:
    talk = in_state(State.OPEN)
    payload = {DATA: b"", HEADERS: talk.encoder.encode(REQUEST)}.get(kind, bytes(3) + b"\1")
    of_connection(PROTOCOL_ERROR, 5)(talk, talk.receive(frame(kind, END_HEADERS, number, payload)))


BROKEN = {
    "a push": (frame(PUSH_PROMISE, 4, 5, bytes(4)), PROTOCOL_ERROR),
    "a push on no stream": (frame(PUSH_PROMISE, 4, 0, bytes(4)), PROTOCOL_ERROR),
    "RST_STREAM of no stream": (rst_stream(0, CANCEL), PROTOCOL_ERROR),
    "RST_STREAM, short": (frame(RST_STREAM, 0, 5, bytes(3)), FRAME_SIZE_ERROR),
    "RST_STREAM, long": (frame(RST_STREAM, 0, 5, bytes(5)), FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 5, b""), PROTOCOL_ERROR),
    "SETTINGS, cut": (frame(SETTINGS, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "SETTINGS, acknowledged with a payload": (frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    "ENABLE_PUSH": (frame(SETTINGS, 0, 0, settings((2, 2))), PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE": (frame(SETTINGS, 0, 0, settings((4, 1 << 31))), FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE, small": (frame(SETTINGS, 0, 0, settings((5, 16383))), PROTOCOL_ERROR),
    "MAX_FRAME_SIZE, large": (frame(SETTINGS, 0, 0, settings((5, 1 << 24))), PROTOCOL_ERROR),
    "PING on a stream": (frame(PING, 0, 5, bytes(8)), PROTOCOL_ERROR),
    "PING, short": (frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 5, bytes(8)), PROTOCOL_ERROR),
    "WINDOW_UPDATE, short": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
    "WINDOW_UPDATE with an increment of 0": (window_update(0, 0), PROTOCOL_ERROR),
    "WINDOW_UPDATE beyond the largest": (window_update(0, LARGEST), FLOW_CONTROL_ERROR),
    "PRIORITY without a stream": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    "DATA on no stream": (data(0, b"x"), PROTOCOL_ERROR),
    "DATA, all padding": (frame(DATA, PADDED, 5, b"\1"), PROTOCOL_ERROR),
    "DATA, padded without a length": (frame(DATA, PADDED, 5, b""), PROTOCOL_ERROR),
    "HEADERS on no stream": (frame(HEADERS, END_HEADERS, 0, b"\x82"), PROTOCOL_ERROR),
    "HEADERS, all padding": (frame(HEADERS, END_HEADERS | PADDED, 7, b"\5abc"), PROTOCOL_ERROR),
    "HEADERS, cut in its priority": (frame(HEADERS, END_HEADERS | PRIORITIZED, 7, bytes(4)), FRAME_SIZE_ERROR),
    "HEADERS that depend on themselves": (
        frame(HEADERS, END_HEADERS | PRIORITIZED, 7, b"\0\0\0\7\1\x82"),
        PROTOCOL_ERROR,
    ),
    "HEADERS that cannot be decompressed": (frame(HEADERS, END_HEADERS, 7, b"\xff\xff\xff"), COMPRESSION_ERROR),
    "HEADERS that name no entry": (frame(HEADERS, END_HEADERS, 7, b"\x80"), COMPRESSION_ERROR),
    "CONTINUATION without HEADERS": (frame(CONTINUATION, END_HEADERS, 7, b""), PROTOCOL_ERROR),
    "a frame in a head": (frame(HEADERS, 0, 7, b"\x82") + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    "an unknown frame in a head": (frame(HEADERS, 0, 7, b"\x82") + frame(77, 0, 0, b""), PROTOCOL_ERROR),
    "CONTINUATION of another head": (
        frame(HEADERS, 0, 7, b"\x82") + frame(CONTINUATION, END_HEADERS, 9, b""),
        PROTOCOL_ERROR,
    ),
    "a large frame": (frame(77, 0, 0, bytes(connection.MAX_FRAME + 1))[:9], FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("what", BROKEN)
def test_frames_that_end_the_connection(what: str) -> None:
    talk = in_state(State.OPEN)
    broken, code = BROKEN[what]
    of_connection(code, 5)(talk, talk.receive(broken))


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (frame(PRIORITY, 0, 5, bytes(4)), FRAME_SIZE_ERROR),
        (frame(PRIORITY, 0, 5, b"\0\0\0\5\0"), PROTOCOL_ERROR),
        (window_update(5, 0), PROTOCOL_ERROR),
        (window_update(5, LARGEST), FLOW_CONTROL_ERROR),
    ],
)
def test_frames_that_end_the_stream(broken: bytes, code: int) -> None:
    talk = in_state(State.OPEN)
    of_stream(code)(talk, talk.receive(broken))


@pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), data(1), frame(77, 0, 0, b""), window_update(0, 1)])
def test_the_first_frame_is_settings(first: bytes) -> None:
    talk = Talk(None)
    talk.sent()
    of_connection(PROTOCOL_ERROR, 0)(talk, talk.receive(PREFACE + first))


def test_the_greeting() -> None:
    talk = Talk(None)
    own, window = talk.sent()
    values = dict(struct.iter_unpack(">HI", own.payload))
    assert values == {3: connection.MAX_STREAMS, 4: STREAM_WINDOW, 5: connection.MAX_FRAME, 6: limits.MAX_HEAD}
    assert window == Frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", connection.WINDOW - 65535))
    for byte in PREFACE:
        assert talk.receive(bytes([byte])) == []
    assert talk.sent() == []
    talk.receive(frame(SETTINGS, 0, 0, b""))
    assert talk.sent() == [Frame(SETTINGS, ACK, 0, b"")]
    talk.receive(frame(SETTINGS, ACK, 0, b""))
    assert talk.sent() == []


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"PRI * HTTP/1.1"])
def test_what_is_not_http2(data: bytes) -> None:
    talk = Talk(None)
    talk.sent()
    talk.receive(data)
    if PREFACE.startswith(data):
        assert not talk.connection.closed
        talk.receive(b"!")
    assert talk.sent() == [goaway(0, PROTOCOL_ERROR, "this port expects HTTP/2 (gRPC)")]


def test_unknown_frames_and_settings_are_ignored() -> None:
    talk = in_state(State.OPEN)
    talk.receive(frame(77, 255, 5, b"x"), frame(SETTINGS, 0, 0, settings((99, 1))), frame(GOAWAY, 0, 0, bytes(8)))
    assert talk.sent() == [Frame(SETTINGS, ACK, 0, b"")]


# Heads.


@pytest.mark.parametrize(
    "fields",
    [
        [],
        REQUEST[1:],
        (REQUEST[0], *REQUEST[2:]),
        REQUEST[:2],
        [*REQUEST[:2], (":path", "")],
        [*REQUEST, (":authority", "late")],
        [REQUEST[0], *REQUEST],
        [*REQUEST[:3], (":status", "200")],
        [*REQUEST[:3], (":protocol", "x")],
        *([*REQUEST[:3], (name, "x")] for name in ("connection", "keep-alive", "proxy-connection", "upgrade")),
        [*REQUEST[:3], ("transfer-encoding", "chunked")],
        [*REQUEST[:3], ("te", "gzip")],
        [*REQUEST[:3], ("Upper", "x")],
        [*REQUEST[:3], ("", "x")],
    ],
)
def test_malformed_requests_end_their_stream(fields: list[Any]) -> None:
    """RFC 9113, 8: and the connection goes on, with the table that their heads left."""
    talk = Talk()
    block = talk.encoder.encode(fields)
    assert talk.receive(talk.head(1, block=block) if block else frame(HEADERS, END_HEADERS, 1, b"")) == [("gone", 1)]
    assert talk.sent() == [reset(1, PROTOCOL_ERROR)]
    assert talk.receive(talk.head(3, ended=True)) == [("head", 3), ("data", 3, b"", True)]


@pytest.mark.parametrize("fields", [[(":path", "/")], [("connection", "x")], [("Upper", "x")]])
def test_malformed_trailers_end_their_stream(fields: list[Any]) -> None:
    talk = in_state(State.OPEN)
    of_stream(PROTOCOL_ERROR)(talk, talk.receive(talk.head(5, fields, ended=True)))


@pytest.mark.parametrize(
    ("length", "bodies", "right"),
    [("3", [b"abc"], True), ("3", [b"a", b"", b"bc"], True), ("0", [b""], True), ("3", [b"ab"], False),
     ("3", [b"ab", b"cd"], False), ("x", [b"abc"], False), ("03", [b"abc"], False)],
)  # fmt: skip
@pytest.mark.parametrize("by_trailers", [False, True])
def test_a_body_has_its_announced_length(length: str, bodies: list[bytes], right: bool, by_trailers: bool) -> None:
    talk = Talk()
    talk.receive(talk.head(1, [*REQUEST, ("content-length", length)]))
    *first, last = bodies if not by_trailers else [*bodies, b""]
    talk.receive(*(data(1, body) for body in first))
    end = talk.head(1, [("t", "1")], ended=True) if by_trailers else data(1, last, True)
    assert talk.receive(end) == ([("data", 1, last, True)] if right else [("gone", 1)])
    assert talk.sent() == ([] if right else [reset(1, PROTOCOL_ERROR)])


@pytest.mark.parametrize("sizes", [(0,), (1,), (5, 5), (1, 0, 3), (200,)])
@pytest.mark.parametrize("padding", [b"", b"p" * 10])
def test_a_head_in_parts(sizes: tuple[int, ...], padding: bytes) -> None:
    talk = Talk()
    block = talk.encoder.encode([*REQUEST, ("x", "y" * 300)])
    parts, at = [], 0
    for size in sizes:
        parts.append(block[at : at + size])
        at += size
    first = bytes([len(padding)]) + b"\0\0\0\0\5" + parts[0] + padding
    sent = frame(HEADERS, PADDED | PRIORITIZED | END_STREAM, 1, first)
    sent += b"".join(frame(CONTINUATION, 0, 1, part) for part in parts[1:] if part)
    assert talk.receive(sent) == []
    assert talk.receive(frame(CONTINUATION, END_HEADERS, 1, block[at:])) == [("head", 1), ("data", 1, b"", True)]
    assert talk.stream(1).head[b"x"] == b"y" * 300


def test_padding_is_not_data_but_counts() -> None:
    talk = in_state(State.OPEN)
    assert talk.receive(frame(DATA, PADDED, 5, b"\3abcppp")) == [("data", 5, b"abc", False)]
    assert talk.stream(5).granted == STREAM_WINDOW - 7
    assert talk.stream(5).received == 3


# Requests in one piece.


def whole_talk() -> Talk:
    """One that has seen a head, so that the next one of the kind can be offered whole."""
    talk = Talk(prepare=lambda head: "prepared")
    for number in (1, 3):
        talk.receive(talk.head(number), data(number, b"x", True))
        talk.answer(number)
    talk.sent()
    return talk


@pytest.mark.parametrize("answered", [True, False])
def test_a_request_in_one_piece(answered: bool) -> None:
    talk = whole_talk()
    seen = []

    def answers(request: WholeRequest) -> bool:
        seen.append(request.prepared)
        return answered

    talk.answers = answers
    events = talk.receive(talk.head(5), data(5, b"abc", True), frame(PING, 0, 0, bytes(8)))
    rest = [] if answered else [("head", 5), ("data", 5, b"abc", True)]
    assert events == [("whole", 5, b"abc"), *rest]
    assert seen == ["prepared"]
    assert talk.sent() == [PONG]
    assert (5 in talk.connection.streams) is not answered
    talk.receive(rst_stream(5, CANCEL))  # known either way
    assert not talk.connection.closed


@pytest.mark.parametrize("more", [b"", window_update(5, 7)])
def test_the_window_of_a_request_in_one_piece(more: bytes) -> None:
    """gRPC's own clients open it further in front of the body."""
    talk = whole_talk()
    talk.receive(frame(SETTINGS, 0, 0, settings((4, 3))))
    talk.sent()

    def answers(request: WholeRequest) -> bool:
        stream = talk.connection.open(request)
        talk.connection.send(stream, bytes(20))
        return True

    talk.answers = answers
    assert talk.receive(talk.head(5), more, data(5, b"abc", True)) == [("whole", 5, b"abc")]
    assert talk.sent() == [Frame(DATA, 0, 5, bytes(10 if more else 3))]


@pytest.mark.parametrize(
    "more", [window_update(5, 0), window_update(5, LARGEST), window_update(3, 7), frame(WINDOW_UPDATE, 0, 5, b"x")]
)
def test_a_window_that_is_judged_as_a_frame(more: bytes) -> None:
    talk = whole_talk()
    assert talk.receive(talk.head(5), more, data(5, b"abc", True))[0] == ("head", 5)


NOT_WHOLE = {
    "another head": lambda talk: talk.head(5, [*REQUEST, ("x", "y")]) + data(5, b"a", True),
    "more than one frame": lambda talk: talk.head(5) + data(5, b"a") + data(5, b"b", True),
    "padding": lambda talk: talk.head(5) + frame(DATA, END_STREAM | PADDED, 5, b"\0a"),
    "trailers": lambda talk: talk.head(5) + talk.head(5, [("t", "1")], ended=True),
    "another stream's body": lambda talk: talk.head(5) + data(3, b"a", True),
    "a body that is cut": lambda talk: talk.head(5) + data(5, b"abc", True)[:-1],
}


@pytest.mark.parametrize("what", NOT_WHOLE)
def test_requests_in_more_pieces(what: str) -> None:
    talk = whole_talk()
    events = talk.receive(NOT_WHOLE[what](talk))
    assert "whole" not in [event[0] for event in events]
    assert events[0] == ("head", 5)


@pytest.mark.parametrize("prepared", [None, "prepared"])
def test_what_an_application_wants_whole(prepared: str | None) -> None:
    """It says so once for each head; a body of announced length is never offered so."""
    asked: list[dict[bytes, bytes]] = []

    def prepare(head: dict[bytes, bytes]) -> str | None:
        asked.append(head)
        return prepared

    talk = Talk(prepare=prepare)
    for fields in (REQUEST, [*REQUEST, ("content-length", "1")]):
        for _ in range(3):
            number = talk.connection._last + 2 if talk.connection._last else 1
            events = talk.receive(talk.head(number, fields), data(number, b"x", True))
        assert (events[0][0] == "whole") is (prepared is not None and fields is REQUEST)
    assert len(asked) == 1


def test_a_head_is_forgotten_once_it_means_something_else() -> None:
    """Its block names entries of the table by their numbers, which every new entry moves."""
    talk = whole_talk()
    block = talk.encoder.encode(REQUEST)
    assert talk.receive(talk.head(5, block=block), data(5, b"x", True))[0] == ("whole", 5, b"x")
    talk.receive(talk.head(7, [*REQUEST, ("x", "y")]), data(7, b"x", True))
    assert talk.receive(talk.head(9, block=block), data(9, b"x", True))[0] != ("whole", 9, b"x")
    assert talk.receive(talk.head(11), data(11, b"x", True))[0] == ("head", 11)


# Flow control of what is received.


def test_a_stream_s_window() -> None:
    """It is opened again once half of it is used and the application wants more."""
    talk = in_state(State.OPEN)
    stream, part = talk.stream(5), bytes(1 << 17)
    talk.receive(*[data(5, part)] * 4)
    talk.connection.grant(stream)
    assert talk.sent() == []
    talk.receive(data(5, b"x"))
    stream.paused = True
    talk.connection.grant(stream)
    assert talk.sent() == []
    stream.paused = False
    talk.connection.grant(stream)
    assert talk.sent() == [Frame(WINDOW_UPDATE, 0, 5, struct.pack(">I", 4 * len(part) + 1))]
    talk.receive(*[data(5, part)] * 8)
    talk.sent()
    of_stream(FLOW_CONTROL_ERROR)(talk, talk.receive(data(5, b"x")))


def test_the_connection_s_window() -> None:
    """It is opened by itself; and data of streams that are gone takes from it as well."""
    talk = in_state(State.RESET)
    size, part = 1 << 17, bytes(1 << 17)
    for _ in range(connection.WINDOW // 2 // size):
        talk.receive(data(5, part))
    assert talk.sent() == []
    talk.receive(data(5, b"x"))
    assert talk.sent() == [Frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", connection.WINDOW // 2 + 1))]


def test_more_than_the_connection_s_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WINDOW", 70_000)
    talk = in_state(State.OPEN)
    of_connection(FLOW_CONTROL_ERROR, 5)(talk, talk.receive(data(5, bytes(70_001))))


def test_nothing_is_granted_to_a_complete_request() -> None:
    talk = in_state(State.OPEN)
    stream = talk.stream(5)
    talk.receive(*[data(5, bytes(1 << 17))] * 5, data(5, b"", True))
    talk.connection.grant(stream)
    assert talk.sent() == []


# Flow control of what is sent.


def test_answers_keep_to_the_windows() -> None:
    talk = Talk(settings((4, 10)))
    talk.receive(talk.head(1, ended=True))
    talk.answer(1, b"0123456789abcdef")
    assert talk.sent() == [Frame(DATA, 0, 1, b"0123456789")]
    talk.receive(window_update(0, 100))
    assert talk.sent() == []
    assert talk.receive(window_update(1, 4)) == []
    assert talk.sent() == [Frame(DATA, 0, 1, b"abcd")]
    talk.receive(window_update(1, 4))
    assert talk.sent() == [Frame(DATA, 0, 1, b"ef"), Frame(HEADERS, 5, 1, b"\x89")]
    assert talk.connection.streams == {}


def test_an_answer_that_goes_on() -> None:
    """AllSent comes for what had to wait, and for nothing else."""
    talk = Talk(settings((4, 10)))
    talk.receive(talk.head(1, ended=True))
    stream = talk.stream(1)
    talk.connection.send(stream, b"x" * 10)
    assert stream.queued is None
    talk.connection.send(stream, b"y" * 10)
    talk.connection.send(stream, b"z")
    assert talk.receive(window_update(1, 10)) == []
    assert talk.receive(window_update(1, 10)) == [("sent", 1)]
    assert [sent.payload for sent in talk.sent()] == [b"x" * 10, b"y" * 10, b"z"]


def test_an_empty_part_fits_below_nothing() -> None:
    talk = Talk(settings((4, 10)))
    talk.receive(talk.head(1, ended=True))
    talk.connection.send(talk.stream(1), bytes(10))
    talk.receive(frame(SETTINGS, 0, 0, settings((4, 0))))
    talk.sent()
    talk.connection.send(talk.stream(1), b"")
    assert talk.sent() == [Frame(DATA, 0, 1, b"")]
    assert talk.stream(1).window == -10


def test_settings_move_the_windows_of_open_streams() -> None:
    """RFC 9113, 6.9.2: even below nothing."""
    talk = Talk(settings((4, 10)))
    talk.receive(talk.head(1, ended=True))
    talk.answer(1, b"0123456789abcdef")
    talk.receive(frame(SETTINGS, 0, 0, settings((4, 0))))
    assert talk.stream(1).window == -10
    talk.receive(window_update(1, 10))
    assert [sent for sent in talk.sent() if sent.kind == DATA] == [Frame(DATA, 0, 1, b"0123456789")]
    talk.receive(frame(SETTINGS, 0, 0, settings((4, 6))))
    assert [sent.payload for sent in talk.sent() if sent.kind == DATA] == [b"abcdef"]


@pytest.mark.parametrize("values", [[(4, 11)], [(4, 11), (4, 10)]])
def test_settings_that_make_a_window_too_large(values: list[tuple[int, int]]) -> None:
    """Even if a later value of the same frame makes it smaller again."""
    talk = Talk(settings((4, 10)))
    talk.receive(talk.head(1, ended=True), window_update(1, LARGEST - 10))
    assert not talk.connection.closed
    talk.receive(frame(SETTINGS, 0, 0, settings(*values)))
    assert talk.sent() == [goaway(1, FLOW_CONTROL_ERROR, "a window is too large")]


@pytest.mark.parametrize(("most", "expected"), [(16384, 16384), (20000, 20000), (1 << 20, 1 << 17)])
def test_frames_are_as_large_as_the_client_takes_them(most: int, expected: int) -> None:
    talk = Talk(settings((4, 1 << 20), (5, most)))
    talk.receive(window_update(0, 1 << 20), talk.head(1, ended=True))
    body = bytes(range(256)) * 1024
    talk.answer(1, body)
    *parts, end = talk.sent()
    assert {len(part.payload) for part in parts[:-1]} == {expected}
    assert b"".join(part.payload for part in parts) == body
    assert end.kind == HEADERS


def test_the_connection_s_window_is_shared() -> None:
    talk = Talk()
    talk.receive(talk.head(1, ended=True), talk.head(3, ended=True))
    talk.answer(1, bytes(60_000))
    talk.answer(3, bytes(60_000))
    assert sum(len(sent.payload) for sent in talk.sent() if sent.kind == DATA) == 65535
    talk.receive(window_update(0, 60_000))
    assert talk.connection.streams == {}


def test_a_connection_is_clogged_by_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is, no request is offered whole; what is no longer waited for does not count."""
    monkeypatch.setattr(sending, "MAX_UNSENT", 100)
    talk = whole_talk()
    talk.receive(frame(SETTINGS, 0, 0, settings((4, 0))))
    talk.receive(talk.head(5, ended=True), talk.head(7, ended=True))
    for number in (5, 7):
        assert not talk.connection.clogged
        talk.answer(number, bytes(60))
    assert talk.connection.clogged
    assert talk.receive(talk.head(9), data(9, b"x", True)) == [("head", 9), ("data", 9, b"x", True)]
    talk.receive(rst_stream(5, CANCEL))
    assert not talk.connection.clogged
    assert talk.receive(talk.head(11), data(11, b"x", True))[0] == ("whole", 11, b"x")


# Abuse.


def test_rapid_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2023-44487: as many as were answered are forgiven."""
    monkeypatch.setattr(connection, "MAX_RESETS", 10)
    talk = Talk()
    for number in range(1, 11, 2):
        talk.receive(talk.head(number, ended=True))
        talk.answer(number)
    for number in range(11, 41, 2):
        talk.receive(talk.head(number), rst_stream(number, CANCEL))
    assert not talk.connection.closed
    talk.sent()
    talk.receive(talk.head(41))
    assert talk.receive(rst_stream(41, CANCEL), talk.head(43)) == [("gone", 41)]
    assert talk.sent() == [goaway(41, ENHANCE_YOUR_CALM, "too many requests were cancelled")]


@pytest.mark.parametrize(
    "made",
    [
        lambda talk, number: talk.head(number) + window_update(number, 0),
        lambda talk, number: talk.head(number, [("te", "x")]),
        lambda talk, number: talk.head(number, ended=True) + data(number, b"x"),
        lambda talk, number: talk.head(number) + frame(PRIORITY, 0, number, bytes(4)),
    ],
)
def test_resets_that_the_client_makes_us_send(
    made: Callable[[Talk, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2025-8671."""
    monkeypatch.setattr(connection, "MAX_RESETS", 10)
    talk = Talk()
    talk.receive(*(made(talk, number) for number in range(1, 101, 2)))
    *resets, end = talk.sent()
    assert len(resets) == 11
    assert end.payload[4:8] == struct.pack(">I", ENHANCE_YOUR_CALM)


def test_streams_beyond_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused and what the client still sends on them is ignored, for as many as it may not have known of."""
    monkeypatch.setattr(connection, "MAX_STREAMS", 2)
    monkeypatch.setattr(connection, "MAX_DROPPED", 3)
    talk = Talk()
    assert talk.receive(*map(talk.head, (1, 3, 5, 7))) == [("head", 1), ("head", 3)]
    assert talk.sent() == [reset(5, REFUSED_STREAM), reset(7, REFUSED_STREAM)]
    assert talk.receive(data(5, b"x"), data(7, b"x", True), data(1, b"", True)) == [("data", 1, b"", True)]
    talk.answer(1)
    assert talk.receive(talk.head(9)) == [("head", 9)]
    talk.sent()
    talk.receive(*map(talk.head, (11, 13)))  # 5 is the oldest, and forgotten
    talk.sent()
    of_connection(STREAM_CLOSED, 13)(talk, talk.receive(data(5, b"x")))


@pytest.mark.parametrize(
    ("part", "count"), [(bytes(16000), 5), (b"", 1), (b"\x82" * 1000, 66)], ids=["large", "empty", "many"]
)
def test_heads_without_end(part: bytes, count: int) -> None:
    """CVE-2024-27316."""
    talk = Talk()
    for _ in range(count - 1):
        talk.receive(frame(HEADERS, 0, 1, b"") if _ == 0 else frame(CONTINUATION, 0, 1, part))
        assert not talk.connection.closed
    talk.receive(*([frame(HEADERS, 0, 1, b"")] if count == 1 else []), frame(CONTINUATION, 0, 1, part))
    talk.receive(frame(CONTINUATION, 0, 1, part))
    assert talk.sent() == [goaway(0, ENHANCE_YOUR_CALM, "a header block is too large")]


def test_a_head_that_is_one_large_frame() -> None:
    talk = Talk()
    talk.receive(frame(HEADERS, 0, 1, b"\x20" * (limits.MAX_HEAD + 1)))
    assert talk.sent() == [goaway(0, ENHANCE_YOUR_CALM, "a header block is too large")]


def test_a_head_that_unpacks_to_too_much() -> None:
    talk = Talk()
    block = talk.encoder.encode([("x", "y" * 4000)]) + b"\xbe" * 1000
    talk.receive(frame(HEADERS, END_HEADERS, 1, block))
    assert talk.sent() == [goaway(0, ENHANCE_YOUR_CALM, "a header block is too large")]


@pytest.mark.parametrize("flood", [frame(PING, 0, 0, bytes(8)), frame(SETTINGS, 0, 0, b""), frame(PRIORITY, 0, 9, b"")])
def test_a_flood_gets_no_more_than_it_sends(flood: bytes) -> None:
    """CVE-2019-9512, 9515: no state grows, and the transport reads no further while the client does not."""
    talk = Talk()
    talk.receive(*[flood] * 1000)
    sent = talk.sent()
    assert len(sent) == 1000
    assert sum(9 + len(each.payload) for each in sent) <= 1000 * max(len(flood), 13)
    assert not talk.connection.closed


_WINDOW: Any = Stream.window  # the slot


class Watched(Stream):
    """Counts how often somebody looks at a window, or changes it."""

    looks = 0

    @property
    def window(self) -> int:
        Watched.looks += 1
        return int(_WINDOW.__get__(self))

    @window.setter
    def window(self, value: int) -> None:
        Watched.looks += 1
        _WINDOW.__set__(self, value)


def some_settings(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, settings(*values))


@pytest.mark.parametrize(
    "flood",
    [
        some_settings(*[(4, 1), (4, 0)] * 1000),
        some_settings(*[(4, 0)] * 1000) * 100,
        some_settings((4, 5)) + some_settings((4, 5)) * 1000,
        some_settings((5, 20000)) * 1000,
        some_settings() * 1000,
        window_update(0, 1) * 1000,
        window_update(1, 1) * 1000,
        frame(PING, 0, 0, bytes(8)) * 1000,
    ],
    ids=["windows in one frame", "same windows", "a window, then the same", "frame sizes", "empty settings",
         "the connection's window", "a stream's window", "pings"],
)  # fmt: skip
@pytest.mark.parametrize("closed", ["streams", "connection"])
def test_the_cost_of_a_frame_is_not_multiplied_by_the_streams(flood: bytes, closed: str) -> None:
    """All streams have an answer that waits. A frame may look at all of them once for what it changes."""
    streams = 200
    talk = Talk(settings((4, 0 if closed == "streams" else 100_000)), make=Watched)
    if closed == "streams":
        talk.receive(window_update(0, 1 << 20))
    for number in range(1, 2 * streams, 2):
        talk.receive(talk.head(number))
        talk.connection.send(talk.stream(number), bytes(1000))
    Watched.looks = 0
    talk.receive(flood)
    assert not talk.connection.closed
    assert Watched.looks <= 10 * (streams + 1000)


@pytest.mark.parametrize("values", [[(4, 1)], [(4, 1), (4, 0)]])
def test_windows_that_change_too_often(values: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change walks all streams. The next sweep forgives them."""
    monkeypatch.setattr(connection, "MAX_RESIZES", 10)
    talk = Talk(settings((4, 0)))
    talk.receive(talk.head(1))

    def changes(count: int) -> None:
        talk.receive(*(some_settings(*values) + some_settings((4, 0)) for _ in range(count)))

    changes(4)
    talk.connection.sweep(talk.now)
    changes(5)
    assert not talk.connection.closed
    changes(10)
    assert talk.sent()[-1] == goaway(1, ENHANCE_YOUR_CALM, "INITIAL_WINDOW_SIZE changes too often")


def test_heads_that_resize_their_table() -> None:
    """RFC 7541, 4.2: twice at most."""
    talk = Talk()
    block = talk.encoder.encode(REQUEST)
    assert talk.receive(talk.head(1, block=b"\x20\x3f\xe1\x1f" + block)) == [("head", 1)]
    of_connection(COMPRESSION_ERROR, 1)(talk, talk.receive(talk.head(3, block=b"\x20\x20\x3f\xe1\x1f" + block)))


# The end.


def test_draining() -> None:
    """Requests that the client sends until it confirms are answered, and the last answer closes the connection."""
    talk = Talk()
    talk.receive(talk.head(1, ended=True))
    assert talk.connection.drain(talk.now)
    assert not talk.connection.drain(talk.now)
    assert talk.sent() == [goaway(LARGEST, NO_ERROR), Frame(PING, 0, 0, bytes(8))]
    talk.answer(1)
    talk.sent()
    assert talk.receive(talk.head(3, ended=True), frame(PING, ACK, 0, bytes(8))) == [
        ("head", 3),
        ("data", 3, b"", True),
    ]
    assert talk.sent() == [goaway(3, NO_ERROR)]
    assert not talk.connection.closed
    talk.connection.drained()  # the timer comes too late, and changes nothing
    talk.answer(3)
    assert talk.connection.closed
    assert [sent.kind for sent in talk.sent()] == [HEADERS]


def test_a_client_that_does_not_confirm() -> None:
    talk = Talk()
    talk.receive(talk.head(1, ended=True))
    talk.connection.drain(talk.now)
    talk.connection.drained()
    assert talk.receive(rst_stream(1, CANCEL)) == [("gone", 1)]
    assert talk.connection.closed
    assert talk.sent()[-1] == goaway(1, NO_ERROR)


def test_a_new_connection_may_have_its_first_request() -> None:
    talk = Talk()
    assert not talk.connection.drain(talk.now)
    assert talk.sent() == []
    assert talk.connection.drain(talk.now + limits.LAME_DUCK_SECONDS)
    assert Talk().connection.drain(talk.now, last=True)


def test_an_answer_before_the_end_of_the_request() -> None:
    talk = in_state(State.OPEN)
    talk.answer(5, b"no")
    assert talk.sent() == [Frame(DATA, 0, 5, b"no"), Frame(HEADERS, 5, 5, b"\x89"), reset(5, NO_ERROR)]
    ignored(talk, talk.receive(data(5, b"more"), data(5, b"", True), rst_stream(5, CANCEL)))


def test_a_client_that_is_gone() -> None:
    talk = in_state(State.OPEN)
    talk.receive(talk.head(7, ended=True))
    assert [stream.id for stream in talk.connection.lost()] == [5, 7]
    assert talk.receive(data(5, b"x")) == []
    assert talk.connection.lost() == []


LATE = limits.READ_SECONDS + 1
WAITING = {
    "idle": (b"", LATE, False),
    "idle for very long": (b"", limits.KEEP_ALIVE_SECONDS + 1, True),
    "a frame that is cut": (frame(PING, 0, 0, bytes(8))[:-1], LATE, True),
    "a request under way": (frame(HEADERS, END_HEADERS, 1, b"\x83\x86\x84"), limits.KEEP_ALIVE_SECONDS + 1, False),
}


@pytest.mark.parametrize("what", WAITING)
def test_what_waits_too_long(what: str) -> None:
    """An idle connection may wait longer than one that owes us the rest of a frame."""
    received, seconds, overdue = WAITING[what]
    talk = Talk()
    talk.receive(received)
    talk.now += seconds
    assert talk.connection.sweep(talk.now) == []
    assert talk.connection.overdue is overdue


def test_a_preface_that_does_not_come() -> None:
    talk = Talk(None)
    talk.connection.sweep(talk.now + LATE)
    assert talk.connection.overdue


def test_a_client_that_does_not_read() -> None:
    talk = in_state(State.OPEN)
    talk.connection.set_writable(False)
    talk.connection.sweep(talk.now + LATE)
    assert talk.connection.overdue
    talk.connection.set_writable(True)
    talk.connection.sweep(talk.now + LATE)
    assert not talk.connection.overdue


def test_a_stream_whose_window_stays_closed() -> None:
    talk = Talk(settings((4, 10)))
    talk.receive(talk.head(1, ended=True))
    talk.answer(1, bytes(20))
    talk.sent()
    assert talk.connection.sweep(talk.now + LATE - 2) == []
    (gone,) = talk.connection.sweep(talk.now + LATE)
    assert gone.stream.id == 1
    assert talk.sent() == [reset(1, CANCEL)]
    assert not talk.connection.overdue


def test_a_connection_whose_window_stays_closed() -> None:
    talk = Talk(settings((4, 1 << 20)))
    talk.receive(talk.head(1, ended=True))
    talk.answer(1, bytes(70_000))
    talk.connection.sweep(talk.now + LATE)
    assert talk.connection.overdue
