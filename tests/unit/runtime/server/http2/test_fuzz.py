"""Anything that a client can send: the connection answers or ends, keeps to the client's windows, and stays small.

`ONNXMODEL_FRAMES` is how many inputs each property is tried with.
"""

import itertools
import os
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import hpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http2 import connection, frames, heads, sending
from onnxmodel_runtime.server.http2.events import WholeRequest
from onnxmodel_runtime.server.http2.frames import ConnectionFailed, StreamFailed
from tests.unit.runtime.server.http2.talk import ANSWER, TRAILERS, Talk, parsed, told

EXAMPLES = int(os.environ.get("ONNXMODEL_FRAMES", "100"))
pytestmark = pytest.mark.timeout(max(600, EXAMPLES // 10))
tried = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 100,  # `make test` says the same of the same sources
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)

TRAFFIC = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parent / "traffic").glob("*.bin"))}
"""What clients sent in calls that were answered, streamed and cancelled: grpcio 1.85 and golang.org/x/net/http2."""
CODES = {getattr(frames, name) for name in dir(frames) if name.endswith("_ERROR")}
CODES |= {frames.STREAM_CLOSED, frames.ENHANCE_YOUR_CALM}
PATHS = {"/now": 20, "/small": 10, "/large": 60_000, "/early": 50_000, "/never": 0, "/stream": 0}
"""How many bytes an application answers to a request."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that short inputs reach."""
    for module, name, value in (
        (connection, "MAX_STREAMS", 6),
        (connection, "MAX_DROPPED", 2),
        (connection, "MAX_RESETS", 4),
        (connection, "WINDOW", 100_000),
        (heads, "MAX_REMEMBERED", 3),
        (limits, "MAX_HEAD", 2000),
        (sending, "MAX_UNSENT", 30_000),
    ):
        monkeypatch.setattr(module, name, value)


class Play:
    """A connection with an application that answers by paths, and all that must hold whatever the client sends."""

    def __init__(self) -> None:
        self.talk = Talk(None, prepare=lambda head: head[b":path"] == b"/now" or None)
        self.events: list[tuple[Any, ...]] = []
        self.written = b""
        self.received = self.owed = 0
        self.state: dict[int, str] = {}  # of a stream, by what was told of it
        self.begun: set[int] = set()  # streams that have a part of their answer
        self.ended: set[int] = set()  # streams that have all of it
        self.collect()

    def receive(self, data: bytes) -> None:
        """Feed bytes, and answer what comes of them. No exception gets here."""
        link = self.talk.connection
        closed = link.closed
        self.received += len(data)
        for event in link.receive(data):
            assert not closed
            if isinstance(event, WholeRequest):
                self.whole(event)
            else:
                self.events.append(told(event))
                self.follow(*self.events[-1])
        self.check()

    def whole(self, event: WholeRequest) -> None:
        """Answer at once, as the other way would."""
        assert event.number not in self.state
        link, body = self.talk.connection, b"." * PATHS["/now"]
        if event.stop - event.begin > 50:
            return
        event.answered = True
        self.events += [("head", event.number), ("data", event.number, event.data[event.begin : event.stop], True)]
        self.state[event.number] = "ended"
        link.out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, event.number, ANSWER))
        last = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, event.number, TRAILERS)
        self.owed += 100
        if link.sending.fits(len(body), event.window):
            link.out.append(frames.frame(frames.DATA, 0, event.number, body) + last)
        else:
            stream = link.open(event)
            link.send(stream, body)
            link.end(stream, last)

    def follow(self, kind: str, number: int, data: bytes = b"", ended: bool = False) -> None:
        """What is told of a stream is in order, and is answered."""
        link, before = self.talk.connection, self.state.get(number)
        if kind == "head":
            assert before is None
            self.state[number] = "open"
            return
        if kind == "gone":
            assert before in (None, "open", "ended")
            self.state[number] = "gone"
            return
        assert before == "open" or (kind == "sent" and before == "ended")
        stream = link.streams.get(number)
        if kind == "sent" or stream is None:
            return
        self.state[number] = "ended" if ended else "open"
        path = stream.head[b":path"].decode("latin-1")
        if path == "/stream" and not ended:
            self.owed += len(data)
            link.send(stream, data)
            stream.paused = len(data) % 2 == 1
        elif path == "/early" and not stream.queued_end:
            self.finish(stream, PATHS[path])
        elif ended and path != "/never":
            self.finish(stream, PATHS.get(path, 10))
        link.grant(stream)

    def finish(self, stream: Any, size: int) -> None:
        """Complete an answer."""
        link = self.talk.connection
        self.owed += size + 100
        link.out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream.id, ANSWER))
        link.send(stream, b"." * size)
        link.end(stream, frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.id, TRAILERS))

    def collect(self) -> bytes:
        """What was written since."""
        data = b"".join(self.talk.connection.out)
        self.talk.connection.out.clear()
        self.written += data
        return data

    def check(self) -> None:
        """What holds at any time."""
        link = self.talk.connection
        flow = link.sending
        assert len(link.streams) <= connection.MAX_STREAMS
        assert len(link._dropped) <= connection.MAX_DROPPED
        assert len(link._heads._remembered) <= heads.MAX_REMEMBERED
        assert link._heads.prepared.keys() <= link._heads._remembered.keys()
        assert link._resets <= connection.MAX_RESETS + link._answered + 1
        assert link.closed or len(link._rest) < 9 + connection.MAX_FRAME
        assert link.closed or link._block is None or len(link._block[2]) <= max(limits.MAX_HEAD, connection.MAX_FRAME)
        assert flow.blocked.keys() <= link.streams.keys()
        assert flow._ready.keys() == {number for number, stream in flow.blocked.items() if stream.window > 0}
        assert link.closed or flow.next is None, "the windows are open, and an answer waits"
        assert flow._queued == sum(len(part) for stream in flow.blocked.values() for part in stream.queued or ())
        assert link._events == []
        assert 0 <= link._granted <= connection.WINDOW or link.closed
        data = self.collect()
        for sent in parsed(data):
            if sent.kind in (frames.HEADERS, frames.DATA):
                assert sent.number not in self.ended, "a frame behind the last one"
                self.begun.add(sent.number)
            last = sent.kind == frames.HEADERS and sent.flags & frames.END_STREAM
            # A stream that is not begun may be reset because of a PRIORITY, and may begin after that.
            if last or (sent.kind == frames.RST_STREAM and sent.number in self.begun):
                self.ended.add(sent.number)
        # Frames of 9 bytes are answered by 13, and the rest is what the application answers.
        assert len(self.written) <= 200 + 1.5 * self.received + 2 * self.owed
        if link.closed and data and list(parsed(data))[-1].kind == frames.GOAWAY:
            assert struct.unpack_from(">I", list(parsed(data))[-1].payload, 4)[0] in CODES | {frames.NO_ERROR}


class Windows:
    """What a client lets the server send, by the frames that it sent."""

    def __init__(self) -> None:
        self.connection, self.initial, self.frame = 65535, 65535, 16384
        self.extra: Counter[int] = Counter()  # beyond the initial window
        self.used: Counter[int] = Counter()

    def allow(self, data: bytes) -> None:
        """Bytes that the client sends, none of them cut."""
        for kind, flags, number, payload in parsed(data):
            if kind == frames.WINDOW_UPDATE and len(payload) == 4:
                size = struct.unpack(">I", payload)[0] & frames.LARGEST
                number &= frames.LARGEST
                if number:
                    self.extra[number] += size
                else:
                    self.connection += size
            elif kind == frames.SETTINGS and not flags & frames.ACK and len(payload) % 6 == 0:
                for key, value in struct.iter_unpack(">HI", payload):
                    self.initial = value if key == 4 else self.initial
                    self.frame = value if key == 5 else self.frame

    def spend(self, data: bytes) -> None:
        """Bytes that the server sent on that."""
        for kind, _, number, payload in parsed(data):
            if kind == frames.DATA and payload:
                self.connection -= len(payload)
                self.used[number] += len(payload)
                assert len(payload) <= self.frame
                assert self.connection >= 0
                assert self.used[number] <= self.initial + self.extra[number]


SIZES = (0, 1, 5, 60, 61, 5000, 40_000)
WHICH = (0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 7, -1, -2)
"""A stream: a new one, or the last but so many; below that none, or one of a server's."""
EXTRA = ((), (), (), (), (("x", "1"),), (("x", "2"),), (("content-length", "5"),), (("te", "x"),), ((":path", "/"),))
WINDOWS = (0, 1, 100, 5000, 1 << 20, 1 << 30, (1 << 31) - 1)
MORE = (None, 13, 0, 13, 19, 13, 20, 1000, (1 << 31) - 1)
"""What a client opens a stream's window by between head and body."""
KEYS, VALUES = (1, 3, 4, 4, 4, 5, 6, 9), (0, 1, 50, 16384, 65535, 1 << 20)
KINDS: dict[str, tuple[Sequence[Any], ...]] = {
    "request": (WHICH, [*PATHS], EXTRA, SIZES, range(6)),
    "calls": (range(3, 6), (0, 5), MORE),
    "data": (WHICH, SIZES, (0, 1, 8, 9)),
    "reset": (WHICH, (4, 4, 4, 4, 4, 3)),
    "window": ((*WHICH, -1, -1, -1), WINDOWS),
    "settings": (range(3), KEYS, VALUES, KEYS, VALUES),
    "ping": ((0, 0, 1), (8, 8, 8, 7)),
    "priority": (WHICH, (5, 5, 4)),
    "parts": (WHICH, (0, 8, 0x20, 1), range(30), range(30)),
    "frame": (range(12), range(256), WHICH, range(12)),
    "sweep": ((1, 61, 700),),
    "drain": (),
    "writable": ((False, True),),
}
WEIGHTED = [*KINDS, *["request"] * 8, *["calls"] * 3, *["window", "data", "settings"] * 2]
Move = tuple[Any, ...]


def moves_of(data: bytes) -> list[Move]:
    """A byte is a choice: drawing those is ten times faster than drawing moves."""
    moves, left = [], iter(data)
    for byte in left:
        kind = WEIGHTED[byte % len(WEIGHTED)]
        moves.append((kind, *(options[next(left, 0) % len(options)] for options in KINDS[kind])))
    return moves


MOVES = st.binary(max_size=120).map(moves_of)


class Client:
    """Makes bytes of moves."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()
        self.last = -1

    def number(self, which: int) -> int:
        if which == 0:
            self.last += 2
        return {-1: 0, -2: 4}[which] if which < 0 else max(1, self.last - 2 * (which - 1)) if which else self.last

    def block(self, path: str, extra: Sequence[tuple[str, str]] = ()) -> bytes:
        return self.encoder.encode([(":method", "POST"), (":scheme", "http"), (":path", path), *extra])

    def call(self, size: int, more: int | None) -> bytes:
        """A request that is offered whole once its head is known."""
        number = self.number(0)
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, number, self.block("/now"))
        window = b"" if more is None else frames.window_update(number, more)
        return head + window + frames.frame(frames.DATA, frames.END_STREAM, number, bytes(size))

    def bytes_of(self, move: Move) -> bytes:
        """The frames of a move."""
        kind = move[0]
        if kind == "request":
            _, which, path, extra, size, shape = move
            number = self.number(which)
            flags = frames.END_HEADERS | (shape == 0)
            head = frames.frame(frames.HEADERS, flags, number, self.block(path, extra))
            if shape == 0:
                return head
            body = frames.frame(frames.DATA, shape != 1, number, bytes(size))
            trailers = frames.frame(frames.HEADERS, 5, number, self.encoder.encode([("t", "1")])) if shape == 1 else b""
            return head + body + trailers
        if kind == "calls":
            return b"".join(self.call(*move[2:]) for _ in range(move[1]))
        if kind == "data":
            return frames.frame(frames.DATA, move[3], self.number(move[1]), bytes(move[2]))
        if kind == "reset":
            return frames.frame(frames.RST_STREAM, 0, self.number(move[1]), bytes(move[2]))
        if kind == "window":
            return frames.window_update(self.number(move[1]), move[2])
        if kind == "settings":
            return frames.settings(*[(move[2], move[3]), (move[4], move[5])][: move[1]])
        if kind == "ping":
            return frames.frame(frames.PING, move[1], 0, bytes(move[2]))
        if kind == "priority":
            return frames.frame(frames.PRIORITY, 0, self.number(move[1]), bytes(move[2]))
        if kind == "parts":
            number, block, at = self.number(move[1]), self.block("/small", [("x", "y" * 20)]), 0
            made = frames.frame(frames.HEADERS, move[2], number, {8: b"\0", 0x20: bytes(5)}.get(move[2], b""))
            for size in move[3:]:
                made += frames.frame(frames.CONTINUATION, 0, number, block[at : at + size])
                at += size
            return made + frames.frame(frames.CONTINUATION, frames.END_HEADERS, number, block[at:])
        assert kind == "frame"
        return frames.frame(move[1], move[2], self.number(move[3]), bytes(move[4]))


CUTS = st.binary(max_size=6)


def cut(data: bytes, cuts: bytes, step: int = 0) -> Iterable[bytes]:
    """The bytes in parts. cuts: where, of 256; step: the size of all of them."""
    edges = range(0, len(data) + 1, step) if step else sorted(len(data) * edge // 256 for edge in cuts)
    for begin, end in itertools.pairwise([0, *edges, len(data)]):
        yield data[begin:end]


HELLO = frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, b"")


@tried
@given(MOVES, st.sampled_from([65535, 0, 7, 1 << 20]))
@example([("calls", 3, 0, 13)], 0)  # the window between head and body is too small for the answer
def test_any_sequence_of_frames(moves: list[Move], window: int) -> None:
    """Frames of any kind on streams in any state, with time passing and a client that reads or does not."""
    play, client, windows = Play(), Client(), Windows()
    first = frames.settings((4, window))
    play.receive(frames.PREFACE + first)
    windows.allow(first)
    seen = len(play.written)
    link = play.talk.connection
    for move in moves:
        if move[0] == "sweep":
            play.talk.now += move[1]
            for event in link.sweep(play.talk.now):
                play.follow(*told(event))
            play.check()
        elif move[0] == "drain":
            link.drain(play.talk.now, last=True)
        elif move[0] == "writable":
            link.set_writable(move[1])
        else:
            data = client.bytes_of(move)
            windows.allow(data)
            play.receive(data)
        play.check()
        windows.spend(play.written[seen:])
        seen = len(play.written)
    for stream in link.lost():
        play.follow("gone", stream.id)
    assert link.sending._queued == 0


@tried
@given(MOVES, CUTS, st.booleans())
def test_any_split_of_the_bytes(moves: list[Move], cuts: bytes, single: bool) -> None:
    """How the bytes arrive changes nothing of what is told and written."""
    client = Client()
    data = HELLO + b"".join(client.bytes_of(move) for move in moves if move[0] not in ("sweep", "drain", "writable"))
    whole, parts = Play(), Play()
    whole.receive(data)
    for part in cut(data, b"" if single else cuts, 1 if single and len(data) < 1000 else 0):
        parts.receive(part)
    assert parts.events == whole.events
    assert parts.written == whole.written
    assert parts.talk.connection.closed == whole.talk.connection.closed
    if not whole.talk.connection.closed:
        assert parts.talk.connection._rest == whole.talk.connection._rest


OPERATIONS = ("flip", "flip", "set", "delete", "repeat", "insert", "cut")
MUTATIONS = st.binary(max_size=40).map(
    lambda data: [
        (OPERATIONS[what % len(OPERATIONS)], high << 8 | low, size, bytes(more))
        for what, high, low, size, *more in (data[at : at + 8] for at in range(0, len(data) - 7, 8))
    ]
)


def mutated(data: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    """The bytes with each change made."""
    made = bytearray(data)
    for what, at, size, more in changes:
        at %= len(made) or 1
        match what:
            case "flip":
                made[at : at + 1] = bytes(byte ^ 1 << size % 8 for byte in made[at : at + 1])
            case "set":
                made[at : at + len(more)] = more
            case "delete":
                del made[at : at + size]
            case "repeat":
                made[at:at] = made[at : at + size] * 3
            case "insert":
                made[at:at] = more
            case "cut":
                del made[at:]
    return bytes(made)


@tried
@given(st.sampled_from(sorted(TRAFFIC)), MUTATIONS, CUTS)
def test_real_traffic_with_faults(name: str, changes: list[tuple[str, int, int, bytes]], cuts: bytes) -> None:
    """What clients really sent, with some bytes changed, lost, repeated or added."""
    data = mutated(TRAFFIC[name], changes)
    whole, parts = Play(), Play()
    whole.receive(data)
    for part in cut(data, cuts):
        parts.receive(part)
    assert (parts.events, parts.written) == (whole.events, whole.written)


@pytest.mark.parametrize("name", TRAFFIC)
def test_real_traffic(name: str) -> None:
    play = Play()
    play.receive(TRAFFIC[name])
    assert not play.talk.connection.closed
    assert play.talk.connection._rest == b""
    assert {event[0] for event in play.events} >= {"head", "data"}


@tried
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(data: bytes, greeted: bool) -> None:
    play = Play()
    play.receive((HELLO if greeted else b"") + data)


NAMES = (":path", ":method", ":scheme", "te", "x", "X", "y", "connection", "content-length", "x", "y", ":path")
VALUES_OF = ("", "a", "b", "POST", "trailers", "z" * 300, "c", "d")


def fields_of(data: bytes) -> list[tuple[str, str]]:
    """A byte is a field."""
    return [(NAMES[byte % len(NAMES)], VALUES_OF[byte // len(NAMES) % len(VALUES_OF)]) for byte in data]


@tried
@given(st.binary(max_size=60))
def test_heads_mean_what_hpack_says(data: bytes) -> None:
    """What is remembered of blocks is right, however the table changes in between."""
    encoder, decoder, taken = hpack.Encoder(), hpack.Decoder(), heads.Heads(lambda head: None)
    blocks, left = [b"\x82", b"\x82\x84", b"\x83\x86", b"\x87"], iter(data)
    for byte in left:  # a block as before, which may mean something else by now, or another one
        again = byte < 128
        blocks.append(
            blocks[-1 - byte % len(blocks)] if again else encoder.encode(fields_of(bytes(islice(left, byte % 4))))
        )
        try:
            fields = decoder.decode(blocks[-1], raw=True)
        except hpack.HPACKError:
            with pytest.raises(ConnectionFailed):
                taken.decode(blocks[-1])
            return
        expected = [(bytes(name), bytes(value)) for name, value in fields]
        if sum(len(name) + len(value) + 32 for name, value in expected) > limits.MAX_HEAD:
            with pytest.raises(ConnectionFailed):
                taken.decode(blocks[-1])
            return
        try:
            head = taken.decode(blocks[-1])
        except StreamFailed:
            assert malformed(expected)
        else:
            assert len(taken._remembered) <= heads.MAX_REMEMBERED
            assert head == dict(expected)
            assert not malformed(expected)


def malformed(fields: list[tuple[bytes, bytes]]) -> bool:
    """By RFC 9113, 8.2 and 8.3."""
    names = [name for name, _ in fields]
    pseudo = [name for name in names if name.startswith(b":")]
    return (
        names[: len(pseudo)] != pseudo
        or len(set(pseudo)) < len(pseudo)
        or any(name.lower() != name or name == b"connection" for name in names)
        or any(name == b"te" and value != b"trailers" for name, value in fields)
    )


@tried
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.binary(max_size=400)), max_size=5))
def test_literals_are_hpack(fields: list[tuple[bytes, bytes]]) -> None:
    decoded = hpack.Decoder(max_header_list_size=1 << 20).decode(frames.literal(*fields), raw=True)
    assert [(bytes(name), bytes(value)) for name, value in decoded] == fields
