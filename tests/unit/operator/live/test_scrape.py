"""Metrics of real servers of both runtimes, and of what an untrusted model may have made of one."""

import asyncio
import dataclasses
import json
import socketserver
import time
from pathlib import Path

import pytest
from aiohttp import ClientTimeout

from onnxmodel_operator.live import parse, scrape
from onnxmodel_operator.live.scrape import scraper
from onnxmodel_operator.live.windows import Compared, Counts
from onnxmodel_runtime.contract.compare import CompareOrder
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.stages.repository import repository as lay_out
from tests.triton.server import serving
from tests.unit.runtime import server_support as support
from tests.unit.runtime.triton import cases

BODY = json.dumps({"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [[1, 2, 3]] * 2}]}).encode()
WRONG = json.dumps({"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2]] * 2}]}).encode()


async def read(port: int, model: str = "m") -> Counts | None:
    async with scraper() as source:
        return await source.read(support.HOST, port, model)


def ask(port: int, model: str) -> None:
    """Ask for five inferences of two rows each, and one that is the client's mistake."""
    statuses = [support.call(port, "POST", f"/v2/models/{model}/infer", body)[0] for body in (*[BODY] * 5, WRONG)]
    assert statuses == [*[200] * 5, 400]


async def test_our_server_is_read(tmp_path: Path) -> None:
    with support.in_thread(support.request(support.double(tmp_path))) as server:
        before = await read(server.ports[2], "double")
        ask(server.ports[0], "double")
        found = await read(server.ports[2], "double")
        assert await read(server.ports[2], "other") is None
        assert await read(server.ports[0], "double") is None, "that port has no metrics"
    assert before is not None
    assert found is not None
    assert before.successes == 0
    assert (found.successes, found.failures, found.refused, found.rows) == (5, 0, 1, 10)
    assert found.latencies is not None
    assert found.latencies.all == 5
    assert found.run_seconds is not None
    assert 0 < found.run_seconds < found.seconds


async def test_our_server_follows_an_order(tmp_path: Path) -> None:
    order = CompareOrder("0a0a0a0a", 100)
    with support.in_thread(support.request(support.double(tmp_path))) as server:
        server._service.comparing._address = lambda _: (support.HOST, server.ports[0])
        async with scraper() as source:
            found = await source.read(support.HOST, server.ports[2], "double", order.text())
            assert found is not None
            assert found.compared == {order.key: Compared()}
            ask(server.ports[0], "double")
            while not (
                found and sum(map(int, (found.compared[order.key].agreed, found.compared[order.key].dropped))) == 5
            ):
                found = await source.read(support.HOST, server.ports[2], "double")
    assert found.compared[order.key].agreed >= 1
    assert found.compared[order.key].differed == found.compared[order.key].failed == 0


async def test_triton_is_read(tmp_path: Path) -> None:
    request: RepositoryRequest = cases.request("m", cases.Case(cases.rows, probe=cases.ROW), tmp_path / "model")
    lay_out(dataclasses.replace(request, directory=str(tmp_path / "repository")))
    with serving(tmp_path / "repository") as server:
        end = time.monotonic() + 10
        while (before := await read(server.metrics_port)) is None and time.monotonic() < end:
            await asyncio.sleep(0.1)  # it answers before its metrics do
        ask(server.http_port, "m")
        server.metric("nv_inference_request_success")  # waits until it has counted them
        found = await read(server.metrics_port)
    assert before is not None
    assert found is not None
    assert (found.successes - before.successes, found.rows - before.rows, found.failures) == (5, 10, 0)
    assert found.executions - before.executions == 5
    assert found.seconds > found.computing > 0
    assert (found.latencies, found.run_seconds) == (None, None)


def answering(*parts: bytes, wait: float = 0.0, times: int = 1) -> type[socketserver.BaseRequestHandler]:
    """A server that answers so, part by part, whatever it is asked."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            try:
                for part in (*parts[:1], *parts[1:] * times):
                    self.request.sendall(part)
                    time.sleep(wait)
            except OSError:
                pass

    return Handler


OK = b"HTTP/1.1 200 OK\r\n"
GOOD = b'nv_inference_request_success{model="m"} 1\n'


@pytest.mark.parametrize(
    "handler",
    [
        answering(b""),
        answering(b"\x00\xff" * 1000),
        answering(OK + b"A: " + b"a" * 100_000 + b"\r\n\r\n" + GOOD),
        answering(OK, *[b"A: a\r\n"], times=200_000),
        answering(OK + b"Content-Length: 99999999999\r\n\r\n", b"#" * (1 << 16), times=1000),
        answering(OK + b"Content-Length: 100\r\n\r\n" + GOOD),
        answering(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD),
        answering(OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + bytes(100)),
        answering(OK + b"\r\n", b"#", wait=0.05, times=1000),
        answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        answering(b"HTTP/1.1 500 Oops\r\nContent-Length: 42\r\n\r\n" + GOOD),
        answering(OK + b"Connection: close\r\n\r\n" + b"\xff" + GOOD),
    ],
)
async def test_a_hostile_server_gives_no_counts_and_takes_no_time(
    handler: type[socketserver.BaseRequestHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape, "TIMEOUT", ClientTimeout(total=0.5))
    began = time.monotonic()
    with support.listening(handler) as port:
        assert await read(port) is None
    assert time.monotonic() - began < 5


async def test_nobody_listens() -> None:
    with support.listening(answering(b"")) as port:
        pass
    assert await read(port) is None
    async with scraper() as source:
        assert await source.read("::1", port, "m") is None


async def test_a_plain_answer_is_read_and_a_redirect_not_followed() -> None:
    with support.listening(answering(OK + b"Connection: close\r\n\r\n" + GOOD)) as port:
        assert await read(port) == parse.parse(GOOD, "m")
        location = f"Location: http://{support.HOST}:{port}/metrics\r\n".encode()
        with support.listening(answering(b"HTTP/1.1 302 Found\r\n" + location + b"Content-Length: 0\r\n\r\n")) as other:
            assert await read(other) is None


async def test_servers_that_do_not_answer_cost_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "TIMEOUT", ClientTimeout(total=0.3))
    monkeypatch.setattr(scrape, "AT_A_TIME", 2)
    silent, good = answering(b"", wait=5), answering(OK + b"Connection: close\r\n\r\n" + GOOD)
    with support.listening(silent) as bad_port, support.listening(good) as port:
        async with scraper() as source:
            ports = [bad_port] * 6 + [port]
            found = await asyncio.gather(*(source.read(support.HOST, number, "m") for number in ports))
    assert found == [None] * 6 + [parse.parse(GOOD, "m")]
