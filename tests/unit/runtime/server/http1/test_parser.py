"""Requests from bytes, without a connection."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http1.heads import Refused
from onnxmodel_runtime.server.http1.parser import Incoming, RequestParser

PLAIN = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
SIZED = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
)
OLD = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
OFFER = b"POST /h2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi"
KINDS = {PLAIN: ("GET", b""), SIZED: ("POST", b"hello"), CHUNKED: ("POST", b"abcde"), OLD: ("GET", b"")}
KINDS |= {OFFER: ("POST", b"hi")}
NONSENSE = b"\x00\x01 nonsense\r\n\r\n"
TUNNEL = b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n"

Seen = list[tuple[object, ...]]


def parsed(pieces: Sequence[bytes]) -> tuple[Seen, int | None]:
    """Return what is told of each request, and the status with which the connection is refused."""
    seen: Seen = []

    def whole(request: Incoming) -> None:
        assert request.complete
        assert request.size == len(request.body())
        head = (request.method, request.target, request.version, request.headers, request.keep_alive)
        seen.append((*head, request.expects, request.body()))

    parser = RequestParser(whole)
    try:
        for piece in pieces:
            parser.feed(piece)
    except Refused as refused:
        return seen, refused.status
    assert parser.incoming is None
    assert not parser.in_head
    return seen, None


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return the bytes in pieces that end at these places."""
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(at) if begin < end]


@settings(deadline=None, derandomize=True)
@given(
    requests=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 1000), max_size=20),
    last=st.sampled_from([b"", NONSENSE, TUNNEL]),
)
def test_pieces_change_nothing(requests: list[bytes], cuts: list[int], last: bytes) -> None:
    data = b"".join(requests) + last
    seen, status = parsed(split(data, cuts))
    assert [(request[0], request[-1]) for request in seen] == [KINDS[request] for request in requests]
    assert status == {b"": None, NONSENSE: 400, TUNNEL: 501}[last]
    assert (seen, status) == parsed([data])


def test_an_offer_of_another_protocol_is_left_out() -> None:
    (request,), _ = parsed([OFFER])
    assert request[3] == [(b"host", b"x"), (b"connection", b"Upgrade"), (b"content-length", b"2")]


def test_the_request_that_is_not_complete() -> None:
    parser = RequestParser(lambda request: pytest.fail("none is complete"))
    parser.feed(SIZED[:10])
    assert parser.in_head
    assert parser.incoming is not None
    assert not parser.incoming.method
    parser.feed(SIZED[10:-1])
    assert not parser.in_head
    assert (parser.incoming.method, parser.incoming.body()) == ("POST", b"hell")
    parser.forget()
    assert parser.incoming is None


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_a_head_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(limits, "MAX_HEAD", 2000)
    head = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9_000
    assert parsed([head[at : at + size] for at in range(0, len(head), size)]) == ([], 431)
