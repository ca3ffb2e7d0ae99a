"""gRPC's parts on HTTP/2: heads, the prefix of a message, trailers, timeouts."""

import re
from struct import Struct
from urllib.parse import quote

from onnxmodel_runtime.server.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, frame, literal
from onnxmodel_runtime.server.http2.heads import Head

Trailers = tuple[tuple[bytes, bytes], ...]

PREFIX = Struct(">BI")
"""The prefix of a message: whether it is compressed, and its size."""
# :status 200 is entry 8 of HTTP/2's own table.
_HEAD = b"\x88" + literal((b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity, deflate, gzip"))
_HEAD_SIZE = len(_HEAD)
_OK = literal((b"grpc-status", b"0"))
_ANSWER = Struct(f">BHBBI{len(_HEAD)}sBHBBIBI")  # HEADERS, and DATA's and the message's own prefixes
_LAST = Struct(f">BHBBI{len(_OK)}s")
_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1.0, "M": 60.0, "H": 3600.0}
_TIMEOUT = re.compile(r"([0-9]{1,8})([numSMH])")


def is_call(head: Head) -> bool:
    """Return whether a request is a call of gRPC."""
    return head[b":method"] == b"POST" and head.get(b"content-type", b"").startswith(b"application/grpc")


def seconds(timeout: bytes) -> float | None:
    """Return the seconds of a grpc-timeout; None for one that is not understood."""
    found = _TIMEOUT.fullmatch(timeout.decode("latin-1"))
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def head(number: int) -> bytes:
    """Encode the head of a response."""
    return frame(HEADERS, END_HEADERS, number, _HEAD)


def answer_prefix(number: int, size: int) -> bytes:
    """Encode everything in front of the only message of a response. size: the message's, with its own prefix."""
    first, rest = size >> 16, size & 0xFFFF
    return _ANSWER.pack(0, _HEAD_SIZE, HEADERS, END_HEADERS, number, _HEAD, first, rest, DATA, 0, number, 0, size - 5)


def succeeded(number: int, trailers: Trailers, started: bool = True) -> bytes:
    """Encode the end of a response. started: whether its head was sent."""
    if started and not trailers:
        return _LAST.pack(0, len(_OK), HEADERS, END_HEADERS | END_STREAM, number, _OK)
    block = (b"" if started else _HEAD) + _OK + literal(*trailers)
    return frame(HEADERS, END_HEADERS | END_STREAM, number, block)


def failed(number: int, code: int, message: str, trailers: Trailers, started: bool) -> bytes:
    """Encode a status as the end of a response. started: whether its head was sent."""
    text = quote(message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^_`{|}~").encode()
    block = literal((b"grpc-status", b"%d" % code), (b"grpc-message", text), *trailers)
    return frame(HEADERS, END_HEADERS | END_STREAM, number, block if started else _HEAD + block)


def refused(number: int, status: bytes) -> tuple[bytes, bytes]:
    """Encode the head and the end of a response to a request that is no gRPC call."""
    block = literal((b":status", status), (b"content-type", b"text/plain"), (b"allow", b"POST"))
    return frame(HEADERS, END_HEADERS, number, block), frame(DATA, END_STREAM, number, b"")
