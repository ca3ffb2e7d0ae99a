"""How a Triton pod ends: the real tritonserver, and the preStop of the operator's Deployment, while clients ask."""

import contextlib
import json
import signal
import socket
import socketserver
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.stages.repository import repository as lay_out
from tests.builders import Cluster, body
from tests.triton.server import Triton, serving
from tests.unit.runtime import server_support as support


def hook(triton: Triton, least: int, quiet: int, most: int) -> list[str]:
    """The preStop's command, for this server and with other times."""
    cluster = Cluster(body(serving={"runtime": "triton"}))
    cluster.live()
    (deployment,) = cluster.deployments()
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    *command, _, _, _, _ = server["lifecycle"]["preStop"]["exec"]["command"]
    return [*command, *map(str, (triton.metrics_port, least, quiet, most))]


class Address:
    """A port that leads somewhere, as a Service's does: connections stay where they were made to."""

    def __init__(self) -> None:
        self.target = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[int]:
        address = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), socket.create_connection((support.HOST, address.target)) as other:
                    back = threading.Thread(target=pump, args=(other, self.request), daemon=True)
                    back.start()
                    pump(self.request, other)
                    back.join()

        with support.listening(Connection) as port:
            yield port


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def asking(**clients: Callable[[], contextlib.AbstractContextManager[Callable[[], None]]]) -> Iterator[dict[str, int]]:
    """Clients that ask all the time. Raises AssertionError when one was not answered; the counts are of answers."""
    leave, lost = threading.Event(), []
    counts = dict.fromkeys(clients, 0)

    def run(name: str) -> None:
        with clients[name]() as ask:
            while not leave.is_set():
                try:
                    ask()
                    counts[name] += 1
                except Exception as error:
                    lost.append(f"{name}: {error!r}")
                time.sleep(0.005)

    threads = [threading.Thread(target=run, args=(name,)) for name in clients]
    for thread in threads:
        thread.start()
    try:
        support.wait_until(lambda: all(counts.values()), 20)
        yield counts
    finally:
        leave.set()
        for thread in threads:
            thread.join()
    assert lost == []


X = np.ones((1, 3), np.float32)


@contextlib.contextmanager
def grpc_kept(port: int) -> Iterator[Callable[[], None]]:
    """One channel for all."""
    given = [over_grpc.InferInput("x", [1, 3], "FP32").set_data_from_numpy(X)]
    with over_grpc.InferenceServerClient(f"{support.HOST}:{port}") as client:
        yield lambda: np.testing.assert_array_equal(client.infer("double", given).as_numpy("y"), X + X)


@contextlib.contextmanager
def http_kept(port: int) -> Iterator[Callable[[], None]]:
    """One connection for all, while the server lets it."""
    given = [over_http.InferInput("x", [1, 3], "FP32").set_data_from_numpy(X)]
    with over_http.InferenceServerClient(f"{support.HOST}:{port}") as client:
        yield lambda: np.testing.assert_array_equal(client.infer("double", given).as_numpy("y"), X + X)


@contextlib.contextmanager
def http_anew(port: int) -> Iterator[Callable[[], None]]:
    """A connection for each request."""
    data = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 1, 1]}]}).encode()

    def ask() -> None:
        with urllib.request.urlopen(f"http://{support.HOST}:{port}/v2/models/double/infer", data, timeout=10) as answer:
            assert json.load(answer)["outputs"][0]["data"] == [2, 2, 2]

    yield ask


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drain")
    path = support.double(folder)
    probe = support.probe(folder / "probe.npz", {"x": X}, {"y": X + X})
    asked = support.request(path, probe=probe, max_queue_size=0)
    lay_out(RepositoryRequest(asked, str(folder / "repository")))
    return folder / "repository"


def test_a_switch_from_triton_loses_no_request(repository: Path, tmp_path: Path) -> None:
    http, grpc = Address(), Address()
    with (
        serving(repository, "--grpc-max-connection-age=1000") as old,
        support.in_thread(support.request(support.double(tmp_path))) as new,
        http.open() as http_port,
        grpc.open() as grpc_port,
    ):
        http.target, grpc.target = old.http_port, old.grpc_port
        with asking(grpc=lambda: grpc_kept(grpc_port), http=lambda: http_anew(http_port)) as counts:
            support.wait_until(lambda: min(counts.values()) > 20, 20)
            http.target, grpc.target = new.ports[:2]
            began = time.monotonic()
            subprocess.run(hook(old, 2, 2, 60), check=True, timeout=100)
            assert time.monotonic() - began < 60  # it saw that nobody asks any more
            assert old.process.poll() is None
            old.process.send_signal(signal.SIGTERM)
            assert old.process.wait(20) is not None
            before = dict(counts)
            support.wait_until(lambda: all(counts[name] > before[name] + 20 for name in counts), 20)


def test_triton_stays_while_somebody_asks(repository: Path) -> None:
    """A client that keeps its HTTP connection goes on asking the pod that is to end, and is answered."""
    with serving(repository) as old, asking(http=lambda: http_kept(old.http_port)) as counts:
        before = counts["http"]
        began = time.monotonic()
        subprocess.run(hook(old, 0, 2, 6), check=True, timeout=60)
        assert time.monotonic() - began > 4.5  # bash counts whole seconds
        assert counts["http"] > before


def test_a_server_whose_metrics_nobody_answers_does_not_stay_for_ever(repository: Path) -> None:
    with socket.create_server((support.HOST, 0)) as closed:
        port = closed.getsockname()[1]
    nobody = Triton(subprocess.Popen(["true"]), 0, 0, port, repository)
    nobody.process.wait()
    subprocess.run(hook(nobody, 0, 1, 1000), check=True, timeout=60)
