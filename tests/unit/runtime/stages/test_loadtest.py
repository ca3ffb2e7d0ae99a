"""The load test against the real servers."""

import itertools
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.server.main import Server
from onnxmodel_runtime.stages.loadtest import loadtest
from tests.unit.runtime import server_support as support

pytestmark = pytest.mark.usefixtures("soon")
LOADS = (Load(1, 1), Load(8, 4))


@pytest.fixture
def asked(tmp_path: Path) -> LoadTestRequest:
    """Of a model that doubles rows of three numbers."""
    given = np.array([[1, 2, 3]], np.float32)
    probefile.write(tmp_path / "probe.npz", {"x": given}, {"y": given + given})
    return LoadTestRequest(
        "double",
        support.HOST,
        str(tmp_path / "probe.npz"),
        LOADS,
        variant="fp32",
        max_batch_size=32,
        revision="r",
        seconds=0.1,
        windows=4,
    )


@pytest.fixture
def served(tmp_path: Path, asked: LoadTestRequest) -> Iterator[tuple[Server, LoadTestRequest]]:
    with support.in_thread(support.request(support.double(tmp_path), revision="r")) as server:
        yield server, replace(asked, http_port=server.ports[0])


def counted(server: Server) -> tuple[int, int]:
    """Requests and rows that the server answered so far."""
    _, body = support.call(server.ports[0], "GET", "/v2/models/double/stats")
    (found,) = json.loads(body)["model_stats"]
    return found["inference_stats"]["success"]["count"], found["inference_count"]


def test_each_load_is_measured_as_the_server_counted_it(served):
    server, request = served
    before = counted(server)
    result = loadtest(request)
    requests, rows = (after - then for after, then in zip(counted(server), before, strict=True))
    single, many = result.points
    assert [(p.variant, p.batch_size, p.concurrency) for p in result.points] == [("fp32", 1, 1), ("fp32", 8, 4)]
    assert all(0 < p.p50 <= p.p90 <= p.p95 <= p.p99 for p in result.points)
    assert single.samples + many.samples <= requests, "only answers are counted"
    assert rows > requests, "of the second load each request had eight rows"


def test_a_refusal_under_load_is_said(served):
    _, request = served
    with pytest.raises(StageError, match="ProbeRefused") as caught:
        loadtest(replace(request, loads=(Load(64, 1),)))
    assert not caught.value.retry
    assert "32" in caught.value.failure.message, "the server's own words"


@pytest.fixture
def full(tmp_path: Path, asked: LoadTestRequest) -> Iterator[LoadTestRequest]:
    """A server in whose queue one request may wait."""
    served = support.request(
        support.double(tmp_path), revision="r", max_queue_size=1, max_queue_delay_microseconds=50_000
    )
    with support.in_thread(served) as server:
        yield replace(asked, http_port=server.ports[0])


def test_a_server_that_sheds_load_is_said_with_what_to_do(full):
    with pytest.raises(StageError, match="LoadRefused") as caught:
        loadtest(replace(full, loads=(Load(1, 8),)))
    assert caught.value.retry
    assert "status 503" in caught.value.failure.message
    assert "maxQueueSize" in caught.value.failure.hint


def test_an_answer_that_is_not_the_originals_is_said(served, tmp_path):
    _, request = served
    given = np.array([[1, 2, 3]], np.float32)
    probefile.write(tmp_path / "other.npz", {"x": given}, {"y": given})
    with pytest.raises(StageError, match="LoadTestMismatch") as caught:
        loadtest(replace(request, probe=str(tmp_path / "other.npz")))
    assert "returns different outputs from the original model for 1 row: output 'y'" in caught.value.failure.message


def test_rows_that_influence_each_other_are_compared_with_each_other(tmp_path, asked):
    """The mean over the batch is taken from each row: several equal rows give zeros, and so does one."""
    path = support.summed(tmp_path)
    given = np.array([[1, 2, 3]], np.float32)
    probefile.write(tmp_path / "probe.npz", {"x": given}, {"y": given})
    with support.in_thread(support.request(path, revision="r")) as server:
        request = replace(asked, name="summed", http_port=server.ports[0])
        assert len(loadtest(request).points) == 2


@contextmanager
def altering(server: int, after: int) -> Iterator[int]:
    """A way to a server on which, after some answers, the last byte of each is another."""
    answers = itertools.count()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((support.HOST, server)) as pod:
                while asked := self.request.recv(1 << 16):
                    pod.sendall(asked)
                    answer = bytearray(pod.recv(1 << 16))
                    if next(answers) >= after:
                        answer[-1] ^= 0x40
                    self.request.sendall(answer)

    with support.listening(Handler) as port:
        yield port


def test_an_answer_that_changes_under_load_is_found(served):
    server, request = served
    with altering(server.ports[0], after=20) as port, pytest.raises(StageError, match="LoadTestMismatch") as caught:
        loadtest(replace(request, http_port=port))
    assert "concurrent clients" in caught.value.failure.message


def test_a_name_without_an_address_is_said(asked):
    with pytest.raises(StageError, match="ServiceUnreachable") as caught:
        loadtest(replace(asked, host="nowhere.invalid"), wait=0)
    assert caught.value.retry
    assert "nowhere.invalid" in caught.value.failure.message


def test_another_revision_is_not_measured(served):
    _, request = served
    with pytest.raises(StageError, match="RevisionMismatch") as caught:
        loadtest(replace(request, revision="s"), wait=0)
    assert caught.value.retry


def test_all_of_five_windows_count_though_the_first_three_agree(served):
    _, request = served
    (point,) = loadtest(replace(request, loads=(Load(1, 1),), windows=10, stable_percent=1000)).points
    assert not point.noisy
    assert point.samples / point.throughput == pytest.approx(5 * request.seconds, rel=0.5)


def test_a_server_that_goes_away_under_load_is_asked_again_later(tmp_path, asked):
    with support.in_thread(support.request(support.double(tmp_path), revision="r")) as server:
        stop = threading.Timer(1.0, server.stop)
        stop.start()
        with pytest.raises(StageError, match="ServiceUnreachable") as caught:
            loadtest(
                replace(
                    asked, http_port=server.ports[0], loads=(Load(1, 2),), seconds=0.5, windows=100, stable_percent=0
                )
            )
        stop.join()
    assert caught.value.retry
