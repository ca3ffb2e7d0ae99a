"""A server compares a share of its answers with a candidate's. Its clients notice nothing, whatever the candidate does."""

import asyncio
import json
import logging
import random
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from onnxmodel_runtime.contract.compare import HEADER, LEASE_SECONDS, MOST_ORDERS, CompareOrder
from onnxmodel_runtime.contract.model import Tensor, Tolerance
from onnxmodel_runtime.server import comparing, service
from onnxmodel_runtime.server.candidate import BusyError, Counterpart
from onnxmodel_runtime.server.comparing import Comparing, in_cluster
from onnxmodel_runtime.server.main import Server
from onnxmodel_runtime.server.protocol.request import InferRequest, ModelSpec
from tests.unit.runtime import server_support as support

ALL_ANSWERS = CompareOrder("0a0a0a0a", 100)
ALL = ALL_ANSWERS.text()
SECRET = 1234567
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [SECRET, 2, 3]}]}
RIGHT = {"name": "m", "version": "1", "outputs": [2 * SECRET, 4, 6]}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody rests."""
    for module in (comparing, service):
        monkeypatch.setattr(module, "REST", 0.0)
    monkeypatch.setattr(comparing, "_FAILED_SECONDS", 0.0)
    monkeypatch.setattr(comparing, "_BUSY_SECONDS", 0.05)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.double(tmp_path_factory.mktemp("models"))


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    with support.in_thread(support.request(path, name="m")) as running:
        yield running


def find(server: Server, port: int) -> Comparing:
    """Let the server find its candidates at this port."""
    found = server._service.comparing
    found._address = lambda _: (support.HOST, port)
    return found


def read(server: Server, order: str = "") -> str:
    status, text = support.call(server.ports[2], "GET", "/metrics", headers={HEADER: order} if order else {})
    assert status == 200
    return text.decode()


def counts(server: Server, order: CompareOrder = ALL_ANSWERS) -> dict[str, int]:
    """Counts of one order."""
    start, mine = "onnxmodel_compared_requests_total{", f'order="{order.key}"'
    lines = [line for line in read(server).splitlines() if line.startswith(start) and mine in line]
    return {line.split('result="')[1].split('"')[0]: int(line.split()[-1]) for line in lines}


def ask(server: Server) -> None:
    status, answer = support.call(server.ports[0], "POST", "/v2/models/m/infer", json.dumps(BODY))
    assert status == 200
    assert json.loads(answer)["outputs"][0]["data"] == RIGHT["outputs"]


def test_nothing_is_compared_and_nothing_said_without_an_order(server: Server, path: Path) -> None:
    find(server, server.ports[0])
    ask(server)
    assert "compared" not in read(server)
    assert not server._service.comparing.wanted
    assert server._service.comparing._thread is None


def test_answers_of_every_front_are_compared(server: Server, path: Path) -> None:
    with support.in_thread(support.request(path, name="m")) as candidate:
        find(server, candidate.ports[0])
        read(server, ALL)
        ask(server)
        for _ in range(3):  # of the same head, which is answered in the loop's own thread
            support.wait_until(lambda: sum(counts(server).values()) >= 1)
            ask(server)
        with triton_grpc.InferenceServerClient(f"{support.HOST}:{server.ports[1]}") as client:
            tensor = triton_grpc.InferInput("x", [1, 3], "FP32")
            tensor.set_data_from_numpy(np.ones((1, 3), np.float32))
            client.infer("m", [tensor])
        support.wait_until(lambda: sum(counts(server).values()) == 5)
        found = counts(server)
        assert found["agreed"] >= 2
        assert found["differed"] == found["failed"] == 0, found
        its = read(candidate)
        assert 'nv_inference_request_success{model="m",version="1"} 0' in its, "they are no client's"
        assert all(line.endswith(" 0") for line in its.splitlines() if line.startswith("nv_inference_request_failure"))
        executed = [line for line in its.splitlines() if line.startswith("nv_inference_exec_count")]
        assert int(executed[0].split()[-1]) == found["agreed"]


def test_another_answer_is_counted_with_the_largest_difference(server: Server, tmp_path: Path) -> None:
    other = support.biased(tmp_path)
    with support.in_thread(support.request(other, name="m")) as candidate:
        find(server, candidate.ports[0])
        read(server, ALL)
        ask(server)
        support.wait_until(lambda: counts(server)["differed"] == 1)
        largest = read(server).split("onnxmodel_compared_difference_max{")[1]
        assert float(largest.split()[1]) == pytest.approx(SECRET - 1, rel=0.01)
        # With another tolerance it is the same answer, and counted apart.
        before, lenient = counts(server), CompareOrder("0a0a0a0a", 100, Tolerance(1.0, 1e9, -1.0))
        read(server, lenient.text())
        ask(server)
        support.wait_until(lambda: counts(server, lenient)["agreed"] == 1)
        assert counts(server) == before


def test_counts_of_few_orders_are_kept_and_those_of_one_that_holds_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(comparing, "monotonic", lambda: now[0])
    found = comparing_alone(monkeypatch)
    found._tally.results["differed"] = 7
    for number in range(100):
        found.follow(CompareOrder(f"{number:08x}", 100).text())
    assert len(found._tallies) == MOST_ORDERS
    assert 'result="differed"} 7' in found.metrics()
    now[0] += LEASE_SECONDS + 1
    found.follow(ALL)
    for number in range(100, 200):
        found.follow(CompareOrder(f"{number:08x}", 100).text())
    assert [order.revision for order in found._tallies] == ["0a0a0a0a", "00000064", "00000065", "00000066"]
    assert found._tallies[ALL_ANSWERS].results["differed"] == 7


class Slow(socketserver.BaseRequestHandler):
    """A candidate that does not answer before it is told to end."""

    over = threading.Event()

    def handle(self) -> None:
        self.over.wait(60)


def test_a_candidate_that_does_not_answer_slows_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MOST_SAMPLES", 4)
    with support.listening(Slow) as port:
        found = find(server, port)
        read(server, ALL)
        began = time.monotonic()
        for _ in range(50):
            ask(server)
        assert time.monotonic() - began < 4, "a second's worth at most; the candidate's timeout is five"
        assert counts(server)["dropped"] >= 50 - 4 - 2
        assert found._samples.qsize() <= 4
        Slow.over.set()
        support.wait_until(lambda: counts(server)["failed"] >= 4)
        support.wait_until(lambda: found._added == found._removed)


def test_a_candidate_that_is_dead_harms_nobody(server: Server) -> None:
    with support.listening(Slow) as port:
        pass
    find(server, port)
    read(server, ALL)
    for _ in range(5):
        ask(server)
    support.wait_until(lambda: counts(server)["failed"] == 5)


def test_a_defect_ends_no_thread_and_quotes_no_data(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError(str(SECRET))

    monkeypatch.setattr(Counterpart, "differs", broken)
    find(server, 1)
    with caplog.at_level(logging.DEBUG):
        read(server, ALL)
        for _ in range(3):
            ask(server)
        support.wait_until(lambda: counts(server)["failed"] == 3)
    assert "RuntimeError" in caplog.text
    assert str(SECRET) not in caplog.text


def test_a_sample_that_cannot_be_taken_is_no_failed_request(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> int:
        raise RuntimeError(str(SECRET))

    monkeypatch.setattr(comparing, "size_of", broken)
    find(server, 1)
    read(server, ALL)
    ask(server)
    assert counts(server)["dropped"] == 1
    assert str(SECRET) not in caplog.text


def test_samples_keep_no_more_memory_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = comparing_alone(monkeypatch)
    x = np.zeros((1 << 18,), np.float32)
    for _ in range(100):
        found.offer(SPEC, InferRequest("", {"x": x}, ("y",), 1), {"y": x})
    assert found._added == 2 * x.nbytes * 16, "sixteen samples of two MiB fill it"
    assert 'result="dropped"} 84' in found.metrics()


SPEC = ModelSpec("m", (Tensor("x", "FP32", (-1,)),), (Tensor("y", "FP32", (-1,)),))


class _Loop:
    """Calls nothing: samples stay on their way."""

    def call_soon(self, *_: Any) -> None:
        """Do nothing."""


def comparing_alone(monkeypatch: pytest.MonkeyPatch, order: str = ALL) -> Comparing:
    """One that no thread empties."""
    monkeypatch.setattr(asyncio, "get_running_loop", _Loop)
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    found = Comparing("m", lambda _: (support.HOST, 1))
    found.follow(order)
    return found


def test_the_share_is_the_one_that_was_ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", iter([n / 1000 for n in range(1000)]).__next__)
    monkeypatch.setattr(comparing, "MOST_BYTES", 1 << 40)
    found = comparing_alone(monkeypatch, CompareOrder("0a0a0a0a", 10).text())
    x = np.zeros((1,), np.float32)
    for _ in range(1000):
        found.offer(SPEC, InferRequest("", {"x": x}, ("y",), 1), {"y": x})
    assert found._added == 100 * 2 * x.nbytes


def test_an_order_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(comparing, "monotonic", lambda: now[0])
    found = comparing_alone(monkeypatch)
    request, x = InferRequest("", {}, ("y",), 1), np.zeros((1,), np.float32)
    now[0] += LEASE_SECONDS
    found.offer(SPEC, request, {"y": x})
    assert (found.wanted, found._added) == (True, x.nbytes)
    now[0] += 0.1
    found.offer(SPEC, request, {"y": x})
    assert (found.wanted, found._added) == (False, x.nbytes)
    found.follow(ALL)
    assert found.wanted


def test_the_thread_ends_with_the_order(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "LEASE_SECONDS", 0.05)
    found = find(server, server.ports[0])
    read(server, ALL)
    thread = found._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    monkeypatch.setattr(comparing, "LEASE_SECONDS", 20)
    read(server, ALL)
    ask(server)
    support.wait_until(lambda: sum(counts(server).values()) == 1)
    assert found._thread is not thread


@pytest.mark.parametrize("order", ["", "nonsense", '["evil.example.com", 100, 0, 0, 0]', "[" * 1000])
def test_whoever_sends_something_else_gets_metrics_alone(server: Server, order: str) -> None:
    found = find(server, 1)
    assert "nv_inference_request_success" in read(server, order)
    assert not found.wanted


def test_a_candidate_is_asked_only_while_no_client_waits(path: Path, release: threading.Event) -> None:
    with support.in_thread(support.request(path, name="m")) as candidate:
        marked = {"onnxmodel-compared": "1"}
        client = threading.Thread(target=ask, args=(candidate,))
        client.start()
        support.wait_until(lambda: not candidate._service._scheduler.free)  # type: ignore[union-attr]
        status, _ = support.call(candidate.ports[0], "POST", "/v2/models/m/infer", json.dumps(BODY), marked)
        assert status == 503
        release.set()
        client.join()
        status, _ = support.call(candidate.ports[0], "POST", "/v2/models/m/infer", json.dumps(BODY), marked)
        assert status == 200
        its = read(candidate)
    assert 'nv_inference_request_success{model="m",version="1"} 1' in its
    assert all(line.endswith(" 0") for line in its.splitlines() if line.startswith("nv_inference_request_failure"))


def test_a_candidate_gives_them_a_hundredth_of_its_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, release: threading.Event
) -> None:
    monkeypatch.setattr(service, "REST", 99.0)
    marked = {"onnxmodel-compared": "1"}
    with support.in_thread(support.request(path, name="m")) as candidate:
        threading.Timer(0.2, release.set).start()
        body = json.dumps(BODY)
        assert support.call(candidate.ports[0], "POST", "/v2/models/m/infer", body, marked)[0] == 200
        assert candidate._service._rested > time.monotonic() + 10, "it took 0.2 s"
        assert support.call(candidate.ports[0], "POST", "/v2/models/m/infer", body, marked)[0] == 503
        ask(candidate)


def test_a_refused_compared_request_costs_no_body_and_says_how_long_to_wait(server: Server) -> None:
    server._service._rested = time.monotonic() + 7
    head = "POST /v2/models/m/infer HTTP/1.1\r\nHost: m\r\nonnxmodel-compared: 1\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection((support.HOST, server.ports[0]), timeout=10) as client:
        client.sendall(head.encode())
        said = client.recv(1 << 16).decode().lower()
    assert said.startswith("http/1.1 503 ")
    assert "\r\nretry-after: 7\r\n" in said
    assert "\r\nconnection: close\r\n" in said


@pytest.mark.parametrize(("seconds", "rest"), [(0.0, 1.0), (7.0, 7.0)])
def test_a_candidate_that_refuses_is_left_alone_for_a_while(
    seconds: float, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> Any:
        raise BusyError(seconds)

    monkeypatch.setattr(comparing, "_BUSY_SECONDS", 1.0)
    monkeypatch.setattr(Counterpart, "differs", busy)
    found = comparing_alone(monkeypatch)
    x = np.zeros((1,), np.float32)
    sample = comparing._Sample(ALL_ANSWERS, found._tally, SPEC, InferRequest("", {"x": x}, ("y",), 1), {"y": x}, 8)
    assert found._compared(sample) == rest
    assert found._tally.results["dropped"] == 1


def test_a_refused_compared_request_is_in_no_count(server: Server) -> None:
    marked = {"onnxmodel-compared": "1"}
    assert support.call(server.ports[0], "POST", "/v2/models/m/infer", b"{}", marked)[0] == 400
    assert support.call(server.ports[0], "POST", "/v2/models/n/infer", b"{}", marked)[0] == 400
    assert all(
        line.endswith(" 0") for line in read(server).splitlines() if line.startswith("nv_inference_request_failure")
    )


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("search team-a.svc.cluster.local svc.cluster.local\nnameserver 1.1.1.1\n", "m-0a.team-a.svc.cluster.local."),
        ("nameserver 1.1.1.1\nsearch corp.example a.svc.k8s.example\n", "m-0a.a.svc.k8s.example."),
        ("search corp.example\n", None),
        ("", None),
    ],
)
def test_a_candidate_is_found_in_its_own_namespace_alone(tmp_path: Path, text: str, host: str | None) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(text)
    found = in_cluster("m", 8000, resolver)
    assert (found("0a") if found else None) == ((host, 8000) if host else None)
    assert in_cluster("m", 8000, tmp_path / "none") is None
