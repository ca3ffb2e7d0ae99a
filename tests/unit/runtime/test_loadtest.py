"""The load test against the real servers."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxmodel_runtime import probefile
from onnxmodel_runtime.contract import Load, LoadTestRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.loadtest import loadtest
from onnxmodel_runtime.server.main import Server
from tests.unit.runtime import server_support as support

LOADS = (Load(1, 1), Load(8, 4))


@pytest.fixture
def asked(tmp_path: Path) -> LoadTestRequest:
    """Of a model that doubles rows of three numbers."""
    given = np.array([[1, 2, 3]], np.float32)
    probefile.write(tmp_path / "probe.npz", {"x": given}, {"y": given + given})
    return LoadTestRequest(
        "double", support.HOST, str(tmp_path / "probe.npz"), LOADS, "fp32", 2, revision="r", seconds=0.1, windows=4
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
    assert result.replicas == 2
    assert single.samples + many.samples <= requests, "only answers are counted"
    assert rows > requests, "of the second load each request had eight rows"


def test_a_refusal_under_load_is_said(served):
    _, request = served
    with pytest.raises(StageError, match="LoadRefused") as caught:
        loadtest(replace(request, loads=(Load(64, 1),)))
    assert not caught.value.retry
    assert "status 400" in caught.value.failure.message
    assert "32" in caught.value.failure.message, "the server's own words"


def test_another_revision_is_not_measured(served):
    _, request = served
    with pytest.raises(StageError, match="RevisionMismatch") as caught:
        loadtest(replace(request, revision="s"), wait=0)
    assert caught.value.retry


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
