"""The probe against the real server, and against one that answers wrongly or not at all."""

import itertools
import os
import re
import select
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from dev.ports import reserved
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.probe import ProbeRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.measuring.client import over_grpc, over_http
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.probe import probe
from tests import models
from tests.unit.runtime import server_support as support


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbeRequest]:
    """A model with strings and numbers behind the real server."""
    directory = tmp_path_factory.mktemp("probe")
    path = models.save(models.strings(), directory)
    result = optimize(OptimizeRequest(str(path), digest(path), str(directory / "out"), variants=()))
    with reserved(3) as (http, grpc, metrics):
        request = ServeRequest(
            "words",
            str(path),
            digest(path),
            result.probe,
            host="127.0.0.1",
            http_port=http,
            grpc_port=grpc,
            metrics_port=metrics,
        )
        log = directory / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "onnxmodel_runtime", "serve", "--request", dumps(request)],
                stdout=output,
                stderr=output,
                env={**os.environ, "ONNXMODEL_TERMINATION_LOG": str(directory / "termination")},
            )
        try:
            yield ProbeRequest("words", "127.0.0.1", result.probe, http_port=http, grpc_port=grpc)
        finally:
            process.terminate()
            process.wait(60)


def test_the_right_answer_over_both_protocols(served: ProbeRequest) -> None:
    result = probe(served)
    assert result.http_milliseconds > 0
    assert result.grpc_milliseconds > 0
    assert result.max_absolute == 0
    assert result.provider is not None
    assert (result.provider.name, result.provider.share_percent) == ("CPU", 100.0)


def test_a_person_serves_and_asks_at_ports_of_their_own(served: ProbeRequest, tmp_path: Path) -> None:
    path = models.save(models.strings(), tmp_path)
    with reserved(3) as numbers:
        ports = dict(zip(("http", "grpc", "metrics"), map(str, numbers), strict=True))
        flags = {kind: f"--{kind}-port={port}" for kind, port in ports.items()}
        command = [sys.executable, "-m", "onnxmodel_cli"]
        serve = [*command, "serve", str(path), "--name=words", *flags.values()]
        ask = [*command, "probe", "127.0.0.1", "--name=words", f"--probe={served.probe}", flags["http"], flags["grpc"]]
        with subprocess.Popen(serve) as server:  # which makes a probe of its own
            try:
                done = subprocess.run(ask, capture_output=True, text=True, timeout=60)
                with urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=10) as answer:
                    told = answer.read().decode()
            finally:
                server.terminate()
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'nv_inference_request_success{model="words"' in told


def test_another_answer_is_refused(served: ProbeRequest, tmp_path: Path) -> None:
    given, expected = probefile.read(Path(served.probe))
    expected["echo"] = np.array([["something else"]], object)
    probefile.write(tmp_path / "probe.npz", given, expected)
    request = ProbeRequest(
        served.name, served.host, str(tmp_path / "probe.npz"), Tolerance(), served.http_port, served.grpc_port
    )
    with pytest.raises(StageError, match="ProbeMismatch") as caught:
        probe(request)
    assert not caught.value.retry
    assert "output 'echo'" in caught.value.failure.message


def test_a_refusal_is_final(served: ProbeRequest, tmp_path: Path) -> None:
    given, expected = probefile.read(Path(served.probe))
    given["number"] = given["number"].astype(np.int32)
    probefile.write(tmp_path / "probe.npz", given, expected)
    request = ProbeRequest(
        served.name, served.host, str(tmp_path / "probe.npz"), Tolerance(), served.http_port, served.grpc_port
    )
    with pytest.raises(StageError, match=r"ProbeRefused: .* rejects the probe over HTTP: \[400\]") as caught:
        probe(request)
    assert not caught.value.retry


def test_another_name_is_not_there(served: ProbeRequest) -> None:
    for client in (over_http(served.host, served.http_port), over_grpc(served.host, served.grpc_port)):
        with pytest.raises(StageError, match=r"NotServed: .* has no model 'others'; it serves words") as caught:
            client.wait_ready("others", "", time.monotonic() + 30)
        assert not caught.value.retry
        with pytest.raises(StageError, match=r"ServiceUnreachable: .* no such model; it serves words") as caught:
            client.wait_ready("others", "of-a-cluster", 0.0)
        assert caught.value.retry


def test_nobody_listens(served: ProbeRequest) -> None:
    with reserved(2) as (http, grpc):
        request = ProbeRequest(served.name, served.host, served.probe, Tolerance(), http, grpc)
        with pytest.raises(StageError, match="ServiceUnreachable") as caught:
            probe(request, wait=0)
    assert caught.value.retry
    assert str(http) in caught.value.failure.message


def test_a_server_of_another_protocol_is_told_without_a_tuple(served: ProbeRequest) -> None:
    client = over_http(served.host, served.grpc_port)
    with pytest.raises(StageError, match=r"ServiceUnreachable: .* is not ready over HTTP: [a-zA-Z]") as caught:
        client.wait_ready(served.name, "", 0.0)
    assert not re.search(r"[('\"]", caught.value.failure.message)


@contextmanager
def in_turns(*ports: int) -> Iterator[int]:
    """A Service in front of several pods: connection after connection goes to the next of them."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", next(turns))) as pod:
                ends = {self.request: pod, pod: self.request}
                while True:
                    for readable in select.select(list(ends), [], [])[0]:
                        data = readable.recv(1 << 16)
                        if not data:
                            return
                        ends[readable].sendall(data)

    turns = itertools.cycle(ports)
    with support.listening(Handler) as port:
        yield port


@pytest.fixture
def switching(tmp_path: Path) -> Iterator[ProbeRequest]:
    """A Service that still sends every other connection to the old revision, which answers otherwise."""
    (tmp_path / "old").mkdir()
    old = replace(support.request(support.centred(tmp_path / "old"), revision="old"), name="double")
    new = support.request(support.double(tmp_path), revision="new")
    given = np.array([[1, 2, 3]], np.float32)
    probefile.write(tmp_path / "probe.npz", {"x": given}, {"y": given + given})
    with (
        support.in_thread(old) as older,
        support.in_thread(new) as newer,
        in_turns(older.ports[0], newer.ports[0]) as http,
        in_turns(older.ports[1], newer.ports[1]) as grpc,
    ):
        yield ProbeRequest("double", "127.0.0.1", str(tmp_path / "probe.npz"), http_port=http, grpc_port=grpc)


def test_the_wanted_revision_answers(switching: ProbeRequest) -> None:
    for _ in range(2):  # whoever's turn it is
        assert probe(replace(switching, revision="new")).max_absolute == 0


def test_the_older_revision_is_not_asked_in_its_stead(switching: ProbeRequest) -> None:
    with pytest.raises(StageError, match="RevisionMismatch") as caught:
        probe(replace(switching, revision="newest"), wait=0)
    assert caught.value.retry
    assert "revision old responds instead of newest" in caught.value.failure.message


def test_a_server_without_a_revision_is_not_the_wanted_one(served: ProbeRequest) -> None:
    with pytest.raises(StageError, match="RevisionMismatch") as caught:
        probe(replace(served, revision="new"), wait=0)
    assert "(unknown)" in caught.value.failure.message
