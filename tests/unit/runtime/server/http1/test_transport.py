"""HTTP/1.1, with clients that write bytes."""

import asyncio
import contextlib
import json
import re
import socket
import time
from threading import Event, Thread
from unittest.mock import Mock

import numpy as np
import pytest

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http1 import transport as http1
from onnxmodel_runtime.server.http1.parser import Incoming
from onnxmodel_runtime.server.http2 import frames
from onnxmodel_runtime.server.main import Server
from tests.unit.runtime import server_support as support
from tests.unit.runtime.server_support import connected, read_until

GOOD = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}).encode()
INFER = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    slow = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"  # takes a task, the inference does not
    with connected(server) as client:
        client.sendall((slow + INFER % (len(GOOD), GOOD)) * 3)
        seen = read_until(client, b"]}]}", 3)
    kinds = [b"extensions" in part for part in seen.split(b"HTTP/1.1 200 OK")[1:]]
    assert kinds == [True, False] * 3


@pytest.mark.parametrize("kind", ["with a task", "at once", "both"])
def test_any_number_of_pipelined_requests_is_answered_in_order(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """While too many wait, the connection is read no further, and the memory of the others is the client's."""
    most: list[int] = []
    take = http1.Http1._take

    def watched(self: http1.Http1, request: Incoming) -> None:
        take(self, request)
        most.append(len(self._waiting))

    monkeypatch.setattr(http1.Http1, "_take", watched)
    slow = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
    count = 1500
    requests, wanted = [], []
    for number in range(count):
        body = GOOD.replace(b"{", b'{"id":"%d",' % number, 1)
        task = kind == "with a task" or (kind == "both" and number % 3 == 0)
        requests.append(slow if task else INFER % (len(body), body))
        wanted.append(b"extensions" if task else b'"id":"%d"' % number)
    with connected(server) as client:
        sending = Thread(target=client.sendall, args=(b"".join(requests),))
        sending.start()
        seen = b""
        while seen.count(b"HTTP/1.1 200 OK") < count or not seen.endswith(b"}"):
            more = client.recv(1 << 20)
            assert more, "the connection was closed"
            seen += more
        sending.join()
        client.sendall(slow)  # and it goes on
        assert b"200 OK" in read_until(client, b"]}")
    parts = seen.split(b"HTTP/1.1 200 OK")[1:]
    assert all(mark in part for mark, part in zip(wanted, parts, strict=True))
    assert max(most) <= http1.MAX_PIPELINED + http1.PIECE // len(slow)


def test_pipelined_requests_before_the_end_are_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, release: Event
) -> None:
    """The server asks to close with the last of those that have arrived."""
    slow = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(server) as client:
        client.sendall((INFER % (len(GOOD), GOOD)) + slow * 200)
        scheduler = server._service._scheduler
        assert scheduler is not None
        support.wait_until(lambda: not scheduler._idle)
        monkeypatch.setattr(server._service, "draining", True)
        release.set()
        seen = b"".join(iter(lambda: client.recv(1 << 20), b""))
    assert seen.count(b"HTTP/1.1 200 OK") == 201
    assert seen.count(b"connection: close") == 1
    assert seen.rindex(b"connection: close") > seen.rindex(b"HTTP/1.1 200 OK")


def test_a_request_in_single_bytes(server: Server) -> None:
    with connected(server) as client:
        for byte in INFER % (len(GOOD), GOOD):
            client.sendall(bytes([byte]))
        assert b"200 OK" in read_until(client, b"]}]}")


def test_a_client_that_expects_to_be_asked(server: Server) -> None:
    with connected(server) as client:
        head = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % len(GOOD))
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(GOOD)
        assert read_until(client, b"]}]}").startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("version", "headers", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
        (b"1.1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", True),
        (b"1.1", b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n", False),
    ],
)
def test_whether_the_connection_goes_on(server: Server, version: bytes, headers: bytes, kept: bool) -> None:
    with connected(server) as client:
        for _ in range(2):
            client.sendall(b"GET /v2 HTTP/%s\r\nHost: x\r\n%s\r\n" % (version, headers))
            seen = read_until(client, b"]}")
            assert b"200 OK" in seen
            assert (b"connection: close" in seen) is not kept
            if not kept:
                assert client.recv(100) == b""
                break


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("slow", [b"", b"Accept-Encoding: gzip\r\n"], ids=["now", "later"])
@pytest.mark.parametrize("segments", [1, 2])
def test_an_offer_of_another_protocol(server: Server, slow: bytes, segments: int) -> None:
    """As Java's client makes it with each request: it is ignored, and the body is the body."""
    head = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\n" + OFFER + slow
    with connected(server) as client:
        for _ in range(3):
            for body in (GOOD, b"GET /v2/models/double/stats HTTP/1.1\r\nHost: x\r\n\r\n"):
                whole = head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                cut = len(whole) - len(body) if segments == 2 else len(whole)
                client.sendall(whole[:cut])
                if segments == 2:
                    time.sleep(0.02)
                    client.sendall(whole[cut:])
                seen = read_until(client, b"6.0]}]}" if body == GOOD else b'"}')
                assert seen.startswith(b"HTTP/1.1 200 OK" if body == GOOD else b"HTTP/1.1 400"), seen
                assert seen.count(b"HTTP/1.1") == 1, seen


def test_offers_among_other_requests(server: Server) -> None:
    infer, get = INFER % (len(GOOD), GOOD), b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    offers = [request.replace(b"Host: x\r\n", b"Host: x\r\n" + OFFER) for request in (infer, get)]
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    chunked = infer.split(b"Content-Length")[0] + OFFER + chunks
    requests = [offers[0], infer, offers[1], get, chunked, offers[1]]
    with connected(server) as client:
        client.sendall(b"".join(requests))
        seen = read_until(client, b"HTTP/1.1 200 OK", len(requests))
        client.sendall(offers[0])
        seen += read_until(client, b"6.0]}]}")
    assert seen.count(b"6.0]}]}") == 4
    with connected(server) as client:
        client.sendall(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + get)
        seen = b"".join(iter(lambda: client.recv(4096), b""))
    assert seen.startswith(b"HTTP/1.1 501")
    assert seen.count(b"HTTP/1.1") == 1


CHUNKED = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n"


@pytest.mark.parametrize("cut", [0, 1])
def test_trailers_are_not_headers(server: Server, cut: int) -> None:
    whole = CHUNKED % (len(GOOD), GOOD) + b"Content-Encoding: gzip\r\nInference-Header-Content-Length: 1\r\n\r\n"
    with connected(server) as client:
        for _ in range(2):
            client.sendall(whole[: len(whole) - cut])
            if cut:
                time.sleep(0.02)
                client.sendall(whole[-cut:])
            assert read_until(client, b"}").startswith(b"HTTP/1.1 200")


def refusal(client: socket.socket) -> tuple[int, str]:
    """The only answer, after which the connection ends."""
    return _refusal(b"".join(iter(lambda: client.recv(65536), b"")))


def _refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    return int(head.split(b" ")[1]), json.loads(body)["error"]


LARGE = limits.MAX_HEAD + 1


@pytest.mark.parametrize("field", [b"x: y\r\n" * 1000, b"x" * 10_000], ids=["many", "long"])
def test_endless_trailers(server: Server, field: bytes) -> None:
    with connected(server) as client:
        client.sendall(CHUNKED % (len(GOOD), GOOD))
        client.sendall(field * 2000)
        assert refusal(client) == (
            431,
            f"the request line and headers exceed the maximum allowed size of {LARGE - 1} bytes",
        )


@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize(
    ("head", "status", "message"),
    [
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: " + b"x" * LARGE + b"\r\n\r\n", 431, "exceed the maximum allowed size of"),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * LARGE + b"\r\n", 431, "exceed the maximum allowed size of"),
        (b"GET /v2?" + b"x" * LARGE + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "target is too long"),
        (b"GET /v2 HTTP/1.1\r\n\r\n", 400, "no Host header"),
        (b"GET /v2 HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "2 Host headers"),
        (b"GET /v2 HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, "2 Host headers"),
        (b"GET /v2 HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "Host header is not"),
        (b"GET /v2 HTTP/1.1\r\nHost: http://x\r\n\r\n", 400, "Host header is not"),
        (b"GET /v2 HTTP/1.1\r\nHost: x:y\r\n\r\n", 400, "Host header is not"),
        (b"GET /v2 HTTP/1.1\r\nHost: [zz]:80\r\n\r\n", 400, "Host header is not"),
        (b"GET http://[zz]/v2 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "neither a path nor an http URL"),
        (b"GET http:///v2 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "neither a path nor an http URL"),
        (b"GET ftp://x/v2 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "neither a path nor an http URL"),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400, "neither a path nor an http URL"),
        (b"GET /v2/models/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not HTTP/1.1: "),
        (b"GET /v2 HTTP/2.0\r\nHost: x\r\n\r\n", 505, "supports HTTP/1.1"),
    ],
)  # fmt: skip
def test_refused_heads(server: Server, head: bytes, status: int, message: str, segments: int) -> None:
    """RFC 9112's rules, and the bound of a head: a sentence, after the answers to what came before."""
    good = b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(server) as client:
        if segments == 1:
            client.sendall(good + head + good)
        else:
            client.sendall(good)
            client.sendall(head[:-1])
            client.sendall(head[-1:])
        seen = b"".join(iter(lambda: client.recv(65536), b""))
        first, last = re.split(rb"HTTP/1.1 (?=\d{3} )", seen)[1:]
        assert first.startswith(b"200 OK")
        found = _refusal(b"HTTP/1.1 " + last)
        assert found[0] == status
        assert message in found[1]


@pytest.mark.parametrize(
    "host", [b"", b"x", b"x:8000", b"x:", b"my_host.svc", b"10.0.0.7:80", b"[::1]:8000", b"[fe80::1%eth0]", b"a%20b"]
)
def test_accepted_hosts(server: Server, host: bytes) -> None:
    with connected(server) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
        assert b"200 OK" in read_until(client, b"]}")


def test_http_1_0_needs_no_host(server: Server) -> None:
    with connected(server) as client:
        client.sendall(b"GET /v2 HTTP/1.0\r\n\r\n")
        assert b"200 OK" in read_until(client, b"]}")


def test_a_refused_client_that_goes_on_sending(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets its answer although it listens only after it has sent, and does not keep the connection for ever."""
    with connected(server) as client:
        client.sendall(b"POST /v2/models/double/infer HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n")
        client.sendall(b" " * 4_000_000)
        assert refusal(client)[0] == 400
    monkeypatch.setattr(http1, "LINGER_SECONDS", 0.0)
    with connected(server) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                client.sendall(b" ")


ANNOUNCED = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{"


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        (b"/v2/models/double/infer", limits.MAX_REQUEST + 1, 413),
        (b"/v2/models/double/infer", 1 << 60, 413),
        (b"/v2/repository/index", limits.OFF_LOOP + 1, 413),
        (b"/v2/health/ready", 1 << 30, 405),
    ],
)
def test_an_answer_before_the_body(server: Server, path: bytes, length: int, status: int) -> None:
    """A body that is announced too large is refused at once, not when its time is over; and all who send on get the answer."""
    for more in (b"", b" " * (1 << 20)):
        with connected(server) as client:
            client.sendall(ANNOUNCED % (path, length) + more)
            found, message = refusal(client)
        assert found == status
        assert ("exceeds the maximum allowed input size of" in message) == (status == 413)


def test_a_broken_body(server: Server) -> None:
    with connected(server) as client:
        client.sendall(CHUNKED.split(b"%x")[0] + b"3\r\nabc\r\n")
        time.sleep(0.02)
        client.sendall(b"zz\r\n")
        assert refusal(client)[0] == 400


def test_a_large_body_in_chunks(server: Server) -> None:
    body = GOOD + b" " * (1 << 20)
    chunks = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    with connected(server) as client:
        client.sendall((CHUNKED % (len(chunks[0]), chunks[0]))[:-3])
        for chunk in chunks[1:]:
            client.sendall(b"%x\r\n" % len(chunk))
            time.sleep(0.005)
            client.sendall(chunk + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        assert read_until(client, b"}]}").startswith(b"HTTP/1.1 200")


def test_a_target_as_proxies_get_it(server: Server) -> None:
    for target, status in (
        (b"http://x/v2", b"200"),
        (b"HTTP://x:80/v2?a=b", b"200"),
        (b"http://[::1]:80/v2", b"200"),
        (b"http://[fe80::1%25eth0]/v2", b"200"),
        (b"http://x", b"404"),
        (b"/v2?a=b", b"200"),
    ):
        with connected(server) as client:
            client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
            assert read_until(client, b"}").startswith(b"HTTP/1.1 " + status)


def test_the_same_head_again(server: Server) -> None:
    """What is remembered of a head is right for the next request, whatever comes in between or behind."""
    wrong = GOOD.replace(b"[1, 2, 3]", b"[1, 2]   ")
    other = GOOD.replace(b"[1, 2, 3]", b"[4, 5, 6]")
    with connected(server) as client:
        for body, end in (
            (GOOD, b"[2.0,4.0,6.0]}]}"),
            (other, b"[8.0,10.0,12.0]}]}"),
            (wrong, b'"}'),
            (GOOD, b"6.0]}]}"),
        ) * 2:
            assert len(body) == len(GOOD)
            client.sendall(INFER % (len(body), body))
            read_until(client, end)
        client.sendall(INFER % (len(GOOD), GOOD) + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_until(client, b'{"live":true}').count(b"HTTP/1.1 200") == 2
        whole = INFER % (len(GOOD), GOOD)
        client.sendall(whole[:-5])
        time.sleep(0.05)
        client.sendall(whole[-5:])
        read_until(client, b"6.0]}]}")


def test_head_has_no_body(server: Server) -> None:
    with connected(server) as client:
        client.sendall(b"HEAD /v2 HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        seen = read_until(client, b"\r\n\r\n", 2)
    assert seen.split(b"\r\n\r\n")[1].startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        frames.PREFACE,
    ],
)
def test_requests_that_two_servers_would_read_differently(server: Server, request_: bytes) -> None:
    with connected(server) as client:
        client.sendall(request_)
        seen = b"".join(iter(lambda: client.recv(4096), b""))
    assert seen == b"" or seen.startswith(b"HTTP/1.1 400")


def test_slow_heads(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.1)
    with connected(server) as client, connected(server, 1) as other:
        client.sendall(b"GET /v2 HTTP/1.1\r\nHost:")
        other.sendall(frames.PREFACE[:5])
        for each in (client, other):
            with contextlib.suppress(ConnectionError):
                while each.recv(4096):
                    pass


def test_idle_connections(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with connected(server) as client, connected(server, 1) as other:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(client, b"\r\n\r\n")
        other.sendall(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, b""))
        monkeypatch.setattr(limits, "KEEP_ALIVE_SECONDS", 0.1)
        for each in (client, other):
            with contextlib.suppress(ConnectionError):
                while each.recv(4096):
                    pass


@pytest.mark.parametrize(("seconds", "cut_off"), [(limits.READ_SECONDS - 1, False), (limits.READ_SECONDS + 1, True)])
def test_a_head_after_an_idle_time_has_all_of_its_time(seconds: float, cut_off: bool) -> None:
    transport = Mock(is_closing=lambda: False, get_extra_info=lambda name: None)

    async def begin_late() -> None:
        connection = http1.Http1(Mock(), set())
        connection.connection_made(transport)
        now = asyncio.get_running_loop().time() + limits.KEEP_ALIVE_SECONDS - 1
        connection._loop = Mock(time=lambda: now)
        connection.data_received(b"GET /v2 HTTP/1.1\r\nHost:")
        connection.sweep(now + seconds)

    asyncio.run(begin_late())
    assert transport.abort.called is cut_off


def test_a_large_answer_to_a_slow_reader(server: Server) -> None:
    x = np.arange(4 << 20, dtype=np.float32)
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [1, x.size], "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    request = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (len(head) + x.nbytes)
    with connected(server) as client:
        client.sendall(request + b"Inference-Header-Content-Length: %d\r\n\r\n" % len(head) + head + x.tobytes())
        time.sleep(0.3)
        seen = read_until(client, b"\r\n\r\n")
        body = seen.index(b"\r\n\r\n") + 4
        length = int(seen.lower().split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
        while len(seen) < body + length:
            seen += client.recv(1 << 20)
    np.testing.assert_array_equal(np.frombuffer(seen[-x.nbytes :], np.float32), x * 2)
