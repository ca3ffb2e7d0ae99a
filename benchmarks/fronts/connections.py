"""Measure the cost of HTTP/2 itself, without sockets: this project's connection next to python-h2's.

Both get the same bytes of gRPC calls, and answer each call by a head, a message and trailers. Blocks of one alternate
with blocks of the other. In the environment of the fronts, with runtime-image on the path.
"""

import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from onnxmodel_runtime.server.http2 import events, frames
from onnxmodel_runtime.server.http2.connection import Connection
from onnxmodel_runtime.server.http2.streams import Stream

CALLS = 500  # of a block, on one connection
ROUNDS = 15
MESSAGE = b"\0\0\0\0\x80" + bytes(128)
FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/inference.GRPCInferenceService/ModelInfer")]
FIELDS += [(":authority", "model:8001"), ("te", "trailers"), ("content-type", "application/grpc")]
HEAD, TRAILERS = [(":status", "200"), ("content-type", "application/grpc")], [("grpc-status", "0")]
HELLO = frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, b"") + frames.window_update(0, 1 << 30)
_HEAD = b"\x88" + frames.literal((b"content-type", b"application/grpc"))
_OK = frames.literal((b"grpc-status", b"0"))


def calls(between: bool) -> list[bytes]:
    """Return the bytes that arrive at once.

    between: with WINDOW_UPDATE between head and message, as gRPC's clients do.
    """
    encoder, made = hpack.Encoder(), []
    for number in range(1, 2 * CALLS, 2):
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, number, encoder.encode(FIELDS))
        window = frames.window_update(number, 5) if between else b""
        made.append(head + window + frames.frame(frames.DATA, frames.END_STREAM, number, MESSAGE))
    return made


def ours(chunks: list[bytes], whole: bool = True) -> Iterator[bytes]:
    """Answers by our connection. whole: take what it offers in one piece."""
    connection = Connection(Stream, lambda head: whole or None, time.monotonic)
    for chunk in chunks:
        for event in connection.receive(chunk):
            if isinstance(event, events.WholeRequest):
                number, fits = event.number, connection.sending.fits(len(MESSAGE), event.window)
                assert fits
                event.answered = True
                connection.out.append(
                    frames.frame(frames.HEADERS, frames.END_HEADERS, number, _HEAD)
                    + frames.frame(frames.DATA, 0, number, MESSAGE)
                    + frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, _OK)
                )
            elif isinstance(event, events.DataReceived) and event.ended:
                number = event.stream.id
                connection.out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, number, _HEAD))
                connection.send(event.stream, MESSAGE)
                last = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, _OK)
                connection.end(event.stream, last)
        yield b"".join(connection.out)
        connection.out.clear()


def h2(chunks: list[bytes], checks: bool = True) -> Iterator[bytes]:
    """Answers by python-h2. checks: of heads, both ways, as it makes them unless told otherwise."""
    config = H2Configuration(
        client_side=False,
        header_encoding=None,
        validate_inbound_headers=checks,
        normalize_inbound_headers=checks,
        validate_outbound_headers=checks,
        normalize_outbound_headers=checks,
    )
    connection = H2Connection(config)
    connection.initiate_connection()
    for chunk in chunks:
        for event in connection.receive_data(chunk):
            if isinstance(event, DataReceived):
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                connection.send_headers(event.stream_id, HEAD)
                connection.send_data(event.stream_id, MESSAGE)
                connection.send_headers(event.stream_id, TRAILERS, end_stream=True)
        yield connection.data_to_send()


SUBJECTS: dict[str, Callable[[list[bytes]], Iterator[bytes]]] = {
    "ours": ours,
    "ours, by events alone": lambda chunks: ours(chunks, whole=False),
    "python-h2": h2,
    "python-h2 without checks of heads": lambda chunks: h2(chunks, checks=False),
}


def statuses(answers: list[bytes]) -> list[int]:
    """The streams whose trailers say OK, by another decoder than the subjects'."""
    data, decoder, ended = b"".join(answers), hpack.Decoder(), []
    at = 0
    while at < len(data):
        high, low, kind, _flags, number = frames.FRAME.unpack_from(data, at)
        end = at + 9 + (high << 16 | low)
        if kind == frames.HEADERS:
            fields = {str(name): str(value) for name, value in decoder.decode(data[at + 9 : end])}
            if fields.get("grpc-status") == "0":
                ended.append(number)
        at = end
    return ended


def main() -> int:
    """Print the table."""
    chunks = {"head and message": calls(False), "WINDOW_UPDATE between them": calls(True)}
    costs: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS):
        for what, made in chunks.items():
            for name in list(SUBJECTS)[:: 1 if turn % 2 else -1]:
                began = time.process_time()
                answers = list(SUBJECTS[name]([HELLO, *made]))
                costs.setdefault((what, name), []).append((time.process_time() - began) / CALLS * 1e6)
                if not turn and statuses(answers) != list(range(1, 2 * CALLS, 2)):
                    raise RuntimeError(f"{name} does not answer every call")
    print(f"| HTTP/2 alone, CPU of a call | {' | '.join(chunks)} |\n|---|" + "---:|" * len(chunks))
    for name in SUBJECTS:
        cells = []
        for what in chunks:
            pairs = zip(costs[what, name], costs[what, "ours"], strict=True)
            ratios = sorted(theirs / own for theirs, own in pairs)
            times = f", {median(ratios):.1f} times ours ({ratios[0]:.1f}–{ratios[-1]:.1f})" if name != "ours" else ""
            cells.append(f"{median(costs[what, name]):.1f} µs{times}")
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
