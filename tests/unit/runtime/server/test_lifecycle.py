"""From the first byte of the model to the last answer after SIGTERM."""

import dataclasses
import json
import signal
import socket
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from onnxmodel_runtime.contract.outcome import ExitCode, Failure, decode
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import artifact
from onnxmodel_runtime.sandbox import termination
from onnxmodel_runtime.server import limits, main, selftest
from onnxmodel_runtime.server import model as models
from onnxmodel_runtime.server.__main__ import main as command
from tests.models import model, save, save_external
from tests.unit.runtime import server_support as support

X = np.array([[1, 2, 3]], np.float32)


@pytest.fixture(autouse=True)
def _no_lame_duck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAME_DUCK_SECONDS", 0.0)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("ONNXMODEL_TERMINATION_LOG", str(path))
    return path


def failure(asked: ServeRequest, log: Path, code: ExitCode = ExitCode.REFUSED) -> Failure:
    assert main.serve(asked) == code
    left = decode(log.read_text())
    assert (left.command, left.retry) == ("serve", code == ExitCode.RETRY)
    assert left.failure is not None
    assert left.failure.hint
    return left.failure


def test_another_file_is_not_loaded(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = dataclasses.replace(support.request(support.double(tmp_path)), sha256="0" * 64)
    found = failure(asked, log)
    assert found.reason == "DigestMismatch"
    assert "0" * 64 in found.message
    assert "DigestMismatch [sha256]: " in capsys.readouterr().err


def test_a_defect_leaves_its_reason(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("what")

    monkeypatch.setattr(models, "load", broken)
    assert main.serve(support.request(support.double(tmp_path))) == termination.INTERNAL
    left = decode(log.read_text())
    assert left.failure is not None
    assert left.failure.reason == "InternalError"


def test_a_missing_file_may_come(tmp_path: Path, log: Path) -> None:
    asked = dataclasses.replace(support.request(support.double(tmp_path)), model=str(tmp_path / "missing.onnx"))
    assert failure(asked, log, ExitCode.RETRY).reason == "ModelUnreadable"


def test_a_file_that_is_no_model(tmp_path: Path, log: Path) -> None:
    path = tmp_path / "page.onnx"
    path.write_text("<html>")
    assert failure(support.request(path), log).reason == "LoadFailed"


def test_memory_that_runs_out_is_named(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")

    monkeypatch.setattr(models, "open_session", full)
    found = failure(support.request(support.double(tmp_path)), log)
    assert found.reason == "OutOfMemory"
    assert "GPU=0" in found.message


def test_a_provider_that_is_not_there(tmp_path: Path, log: Path) -> None:
    path = support.double(tmp_path)
    found = failure(support.request(path, providers=Providers(("CUDA", "CPU"))), log)
    assert found.reason == "ProviderUnavailable"
    assert "CUDA" in found.message
    assert "CPU" in found.message


def test_fallback_serves_on_the_next_and_says_so(tmp_path: Path) -> None:
    asked = support.request(support.double(tmp_path), providers=Providers(("CUDA", "CPU"), "Allow"))
    with support.in_thread(asked) as server:
        config = json.loads(support.call(server.ports[0], "GET", "/v2/models/double/config")[1])
    assert config["parameters"]["execution_provider"] == {"string_value": "CPU"}


def test_datatypes_that_cannot_be_exchanged(tmp_path: Path, log: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", 1, None)
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["y"])]
    path = support.save(tmp_path / "sequence.onnx", nodes, [support.tensor("x", "FP32", ["batch"])], [sequence])
    found = failure(support.request(path), log)
    assert found.reason == "UnsupportedDatatype"
    assert "output 'y' is a seq(tensor(float))" in found.message
    found = failure(support.request(support.identity(tmp_path, ("BF16", "BYTES"))), log)
    assert found.reason == "UnsupportedDatatype"
    assert "'in_BF16' is BF16 and 'in_BYTES' is a string tensor" in found.message


def test_self_test(tmp_path: Path, log: Path) -> None:
    path = support.double(tmp_path)
    good = support.probe(tmp_path / "good.npz", {"x": X}, {"y": X * 2 + 0.001})
    with support.in_thread(support.request(path, probe=good)):
        pass
    bad = support.probe(tmp_path / "bad.npz", {"x": X}, {"y": X * 2 + [0, 0.5, 0]})
    found = failure(support.request(path, probe=bad), log)
    assert found.reason == "SelfTestFailed"
    assert "instance 0 returns different outputs for the probe: output 'y' differs by up to 0.5" in found.message
    unknown = support.probe(tmp_path / "unknown.npz", {"q": X}, {"y": X})
    assert failure(support.request(path, probe=unknown), log).reason == "SelfTestFailed"


def test_probe_files(tmp_path: Path, log: Path) -> None:
    path = support.double(tmp_path)
    assert failure(support.request(path, probe="/nothing.npz"), log, ExitCode.RETRY).reason == "ProbeUnreadable"
    (tmp_path / "text.npz").write_text("text")
    assert failure(support.request(path, probe=str(tmp_path / "text.npz")), log).reason == "ProbeUnreadable"
    empty = support.probe(tmp_path / "empty.npz", {"x": X}, {})
    assert failure(support.request(path, probe=empty), log).reason == "ProbeUnreadable"


def test_probes_of_strings(tmp_path: Path) -> None:
    words = np.array([["café"], [""]])
    stored = np.char.encode(words, "utf-8")
    probe = support.probe(tmp_path / "probe.npz", {"x": X[[0, 0]], "t": stored}, {"u": stored, "y": X[[0, 0]] * 2})
    asked = support.request(support.pair(tmp_path), probe=probe, max_queue_delay_microseconds=1)
    assert selftest.run(models.load(asked), asked) == ""


def test_without_a_probe_a_warm_up_proves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = support.save(
        tmp_path / "reshape.onnx",
        [helper.make_node("Reshape", ["x", "s"], ["y"])],
        [support.tensor("x", "FP32", ["batch", 4]), support.tensor("s", "INT64", [2])],
        [support.tensor("y", "FP32", None)],
        [],
    )
    broken = support.gather(tmp_path)
    for path in (one, broken):
        with support.in_thread(support.request(path)) as server:
            assert support.call(server.ports[0], "GET", "/v2/health/ready")[0] == 200
    asked = support.request(one)
    model = models.load(asked)
    assert model.spec.max_batch_size == 0


def runs(asked: ServeRequest, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Rows of each execution of the self-test, with the instance that ran it."""
    model = models.load(asked)
    names = {id(instance): str(number) for number, instance in enumerate(model.instances)}
    seen: list[tuple[str, int]] = []
    run = models.Instance.run

    def watched(instance: models.Instance, outputs: Any, inputs: Any) -> Any:
        seen.append((names[id(instance)], len(next(iter(inputs.values())))))
        return run(instance, outputs, inputs)

    monkeypatch.setattr(models.Instance, "run", watched)
    selftest.run(model, asked)
    return seen


def test_every_instance_is_warm_at_one_row_and_at_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = support.pair(tmp_path)
    words = np.array([["café"], [""]])
    probe = support.probe(tmp_path / "p.npz", {"x": X[[0, 0]], "t": words}, {"y": X[[0, 0]] * 2})
    asked = support.request(path, probe=probe, instances=2, max_batch_size=5)
    trial = [("0", 2)] * 4 + [("0", 4)] * 3  # rows alone, and beside others
    assert runs(asked, monkeypatch) == [("0", 2), ("1", 2), *trial, ("0", 1), ("0", 5), ("1", 1), ("1", 5)]
    monkeypatch.undo()
    asked = dataclasses.replace(asked, probe="")
    assert runs(asked, monkeypatch) == [], "inputs that a model takes are not made up in the server"


def test_a_model_that_cannot_run_the_largest_batch_is_not_served(tmp_path: Path, log: Path) -> None:
    path, one = support.tall(tmp_path, 4), np.ones((1, 1), np.float32)
    probe = support.probe(tmp_path / "probe.npz", {"x": one}, {"y": one})
    with support.in_thread(support.request(path, probe=probe, max_batch_size=4)):
        pass
    found = failure(support.request(path, probe=probe, max_batch_size=9), log)
    assert (found.reason, found.field) == ("WarmUpFailed", "spec.serving.batching.maxBatchSize")
    assert "cannot run a batch of 9 rows: onnx runtime error" in found.message


def test_a_model_that_answers_otherwise_at_the_largest_batch_is_not_served(tmp_path: Path, log: Path) -> None:
    """Validation and parity knew a smaller one. What counts its rows stands for a defect: by its own graph it is served."""
    nodes = [
        helper.make_node("Shape", ["x"], ["rows"], end=1),
        helper.make_node("Greater", ["rows", "four"], ["many"]),
        helper.make_node("Cast", ["many"], ["wrong"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "wrong"], ["y"]),
    ]
    ends = [("x", TensorProto.FLOAT, ["n", 3])], [("y", TensorProto.FLOAT, ["n", 3])]
    path = save(model(nodes, *ends, {"four": np.array([4], np.int64)}), tmp_path)
    probe = support.probe(tmp_path / "probe.npz", {"x": X}, {"y": X})
    for asked in (
        support.request(path, probe=probe, max_batch_size=4, unjoined=""),
        support.request(path, probe=probe, max_batch_size=9),
    ):
        with support.in_thread(asked):
            pass
    found = failure(support.request(path, probe=probe, max_batch_size=9, unjoined=""), log)
    assert (found.reason, found.field) == ("SelfTestFailed", "spec.serving.batching.maxBatchSize")
    assert (
        "instance 0 returns different outputs for a batch of 9 rows: output 'y' differs by up to 1 absolute"
    ) in found.message


def test_weights_of_more_than_two_gigabytes(tmp_path: Path) -> None:
    """They lie beside the model, in a file with holes here, and are mapped, not read."""
    rows = 9_000_000
    asked = support.request(support.with_data(tmp_path, rows))
    assert (tmp_path / "model.onnx.data").stat().st_size > 1 << 31
    with support.in_process(asked) as (process, ports):
        body = {"inputs": [{"name": "x", "shape": [2], "datatype": "INT64", "data": [0, rows - 1]}]}
        status, answer = support.call(ports[0], "POST", "/v2/models/model/infer", json.dumps(body).encode())
        assert status == 200
        assert json.loads(answer)["outputs"][0]["data"] == [0.0] * 64 + [7.0] * 64
        assert peak(process.pid) < 512 << 20


def peak(pid: int) -> int:
    """Bytes of memory that the process had at its most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_loading_holds_the_weights_once(tmp_path: Path) -> None:
    """Several tensors: ONNX Runtime may rearrange one at a time, and that needs the room of one more."""
    size, count = 3072, 4
    weights = [helper.make_tensor(f"w{n}", 1, [size, size], bytes(size * size * 4), raw=True) for n in range(count)]
    chain = ["x", *(f"h{n}" for n in range(count - 1)), "y"]
    path = support.save(
        tmp_path / "heavy.onnx",
        [helper.make_node("MatMul", [chain[n], f"w{n}"], [chain[n + 1]]) for n in range(count)],
        [support.tensor("x", "FP32", ["batch", size])],
        [support.tensor("y", "FP32", ["batch", size])],
        weights,
    )
    del weights
    with support.in_process(support.request(support.double(tmp_path), max_batch_size=1)) as (process, _):
        empty = peak(process.pid)
    with support.in_process(support.request(path, max_batch_size=1)) as (process, _):
        assert peak(process.pid) - empty < 1.6 * path.stat().st_size


def test_a_taken_port(tmp_path: Path, log: Path) -> None:
    with socket.create_server((support.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        for name in ("http_port", "grpc_port", "metrics_port"):
            asked = support.request(support.double(tmp_path), **{name: port})
            found = failure(asked, log, ExitCode.RETRY)
            assert found.reason == "PortUnavailable"
            assert str(port) in found.message


def test_a_token_of_the_account(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXMODEL_IDENTITY", "refused")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/a/file")
    found = failure(support.request(support.double(tmp_path)), log)
    assert found.reason == "CredentialExposed"


def test_alive_but_not_ready_while_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, release = threading.Event(), threading.Event()
    load = models.load

    def held(asked: ServeRequest) -> models.Model:
        loading.set()
        assert release.wait(60)
        return load(asked)

    monkeypatch.setattr(models, "load", held)
    server_is: list[main.Server] = []
    asked = support.request(support.double(tmp_path))

    def watch() -> None:
        assert loading.wait(60)
        port = server_is[0].ports[0]
        seen.extend(
            support.call(port, method, path)[0]
            for method, path in (
                ("GET", "/v2/health/live"),
                ("GET", "/v2/health/ready"),
                ("GET", "/v2/models/double/ready"),
                ("GET", "/v2/models/double"),
                ("POST", "/v2/models/double/infer"),
                ("GET", "/v2"),
            )
        )
        seen.append(json.loads(support.call(port, "POST", "/v2/repository/index")[1])[0]["reason"])
        seen.extend(json.loads(support.call(port, "GET", f"/v2/health/{name}")[1]) for name in ("live", "ready"))
        release.set()

    seen: list[Any] = []
    create = main.Server.__init__

    def remember(self: main.Server, request: ServeRequest) -> None:
        create(self, request)
        server_is.append(self)

    monkeypatch.setattr(main.Server, "__init__", remember)
    watcher = threading.Thread(target=watch)
    watcher.start()
    with support.in_thread(asked) as server:
        watcher.join()
        assert support.call(server.ports[0], "GET", "/v2/health/ready")[0] == 200
    assert seen == [200, 400, 400, 503, 503, 200, "loading", {"live": True}, {"ready": False}]


def test_stopped_while_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process does not wait for a load that takes minutes, and does not unload the library under it."""
    release = threading.Event()

    def held(asked: ServeRequest) -> models.Model:
        threading.Timer(0.05, signal.raise_signal, [signal.SIGTERM]).start()
        release.wait(60)
        raise StageError("Late", "too late", "none")

    monkeypatch.setattr(models, "load", held)
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    began = time.monotonic()
    assert main.serve(support.request(support.double(tmp_path))) == ExitCode.OK
    assert codes == [0]
    assert time.monotonic() - began < 3
    release.set()


def test_sigterm_lets_requests_finish(tmp_path: Path) -> None:
    path = support.slow(tmp_path)

    def ask(port: int, steps: int) -> tuple[int, bytes]:
        body = {"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [steps]}]}
        return support.call(port, "POST", "/v2/models/slow/infer", json.dumps(body).encode())

    with support.in_process(support.request(path)) as (process, ports):
        began = time.monotonic()
        assert ask(ports[0], 20_000)[0] == 200
        steps = round(20_000 * 1.8 / (time.monotonic() - began))  # longer than the lame duck, shorter than the drain
        answers: list[tuple[int, bytes]] = []
        client = threading.Thread(target=lambda: answers.append(ask(ports[0], steps)))
        client.start()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        support.wait_until(lambda: support.call(ports[0], "GET", "/v2/health/ready")[0] == 400)
        assert support.call(ports[0], "GET", "/v2/health/live")[0] == 200
        assert process.wait(60) == 0
        client.join()
        status, body = answers[0]
        assert status == 200
        assert json.loads(body)["outputs"][0]["data"] == [steps]


def test_no_request_of_a_busy_server_is_lost(tmp_path: Path) -> None:
    """SIGTERM in the middle of load. Clients come until readiness is gone, as through a Service."""
    asked = support.request(support.double(tmp_path), max_queue_delay_microseconds=2000, instances=2)
    with support.in_process(asked) as (process, ports):
        leave = threading.Event()
        done: list[int] = []
        lost: list[str] = []

        def client(module: Any, port: int) -> None:
            x = np.full((1, 3), port, np.float32)
            count = 0
            with module.InferenceServerClient(f"{support.HOST}:{port}") as asking:
                while not leave.is_set():
                    try:
                        given = [module.InferInput("x", [1, 3], "FP32").set_data_from_numpy(x)]
                        np.testing.assert_array_equal(asking.infer("double", given).as_numpy("y"), 2 * x)
                        count += 1
                    except Exception as error:
                        lost.append(repr(error))
                        break
            done.append(count)

        clients = [
            threading.Thread(target=client, args=args)
            for args in [(triton_http, ports[0]), (triton_grpc, ports[1])]
            for _ in range(4)
        ]
        for thread in clients:
            thread.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        support.wait_until(lambda: support.call(ports[0], "GET", "/v2/health/ready")[0] == 400)
        time.sleep(0.3)  # the news takes its time
        leave.set()
        for thread in clients:
            thread.join(10)
        assert process.wait(60) == 0
        assert lost == []
        assert len(done) == 8
        assert min(done) > 0


def test_clients_are_answered_until_they_leave_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over connections that they had, and over new ones; what does not end in time is UNAVAILABLE, and nothing breaks."""
    monkeypatch.setattr(limits, "DRAIN_SECONDS", 2.0)
    monkeypatch.setattr(limits, "STOP_SECONDS", 5.0)
    release = threading.Event()
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}).encode()
    held: list[Any] = []

    def over_http(port: int) -> None:
        held.append(support.call(port, "POST", "/v2/models/double/infer", body))

    def over_grpc(port: int) -> None:
        with triton_grpc.InferenceServerClient(f"{support.HOST}:{port}") as client:
            given = [triton_grpc.InferInput("x", [1, 3], "FP32").set_data_from_numpy(X)]
            with pytest.raises(InferenceServerException) as caught:
                client.infer("double", given)
            held.append((caught.value.status(), caught.value.message()))

    with support.in_thread(support.request(support.double(tmp_path), instances=2), lame_duck=2.0) as server:
        monkeypatch.setattr(models.Instance, "run", lambda *_: release.wait(10))
        monkeypatch.setattr(limits, "INLINE_NS", 0)
        asking = [
            threading.Thread(target=over_http, args=(server.ports[0],)),
            threading.Thread(target=over_grpc, args=(server.ports[1],)),
        ]
        for thread in asking:
            thread.start()
        scheduler = server._service._scheduler
        assert scheduler is not None
        support.wait_until(lambda: not scheduler._idle)
        kept = HTTPConnection(support.HOST, server.ports[0], timeout=10)
        kept.request("GET", "/v2")
        assert kept.getresponse().read()
        server.stop()
        support.wait_until(lambda: server._service.draining)
        for connection in (kept, HTTPConnection(support.HOST, server.ports[0], timeout=10)):
            connection.request("GET", "/v2")
            answer = connection.getresponse()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            answer.read()
            connection.close()
        with triton_grpc.InferenceServerClient(f"{support.HOST}:{server.ports[1]}") as client:
            assert client.is_server_live()
            assert not client.is_server_ready()
        for thread in asking:
            thread.join()
        release.set()
    stopping = json.dumps({"error": "the server is stopping"}, separators=(",", ":")).encode()
    assert sorted(held, key=str) == [("StatusCode.UNAVAILABLE", "the server is stopping"), (503, stopping)]


def test_clients_that_never_leave_are_answered_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request over a new connection: none is open now and then. None that was accepted has no answer."""
    monkeypatch.setattr(limits, "DRAIN_SECONDS", 1.2)
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}).encode()
    answered: list[float] = []
    ends: list[Any] = []

    def client(pause: float) -> None:
        status: Any = 200
        while status == 200:
            try:
                status = support.call(server.ports[0], "POST", "/v2/models/double/infer", body)[0]
            except OSError as error:
                status = type(error)
            else:
                answered.append(time.monotonic())
            time.sleep(pause)
        ends.append(status)

    clients = [threading.Thread(target=client, args=(pause,)) for pause in (0.05, 0.0, 0.0, 0.0)]
    with support.in_thread(support.request(support.double(tmp_path)), lame_duck=0.2) as server:
        for thread in clients[:1]:
            thread.start()
        support.wait_until(lambda: answered)
        server.stop()
        began = time.monotonic()
        time.sleep(0.7)
        for thread in clients[1:]:
            thread.start()
    for thread in clients:
        thread.join()
    assert max(answered) > began + 1.0
    assert len(ends) == 4
    assert set(ends) <= {503, ConnectionRefusedError}


def test_a_native_crash_ends_the_process(tmp_path: Path) -> None:
    """Nothing catches it: Kubernetes restarts the container, and its exit code (136) is what the operator reports."""
    with support.in_process(support.request(support.crashing(tmp_path))) as (process, ports):
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT32", "data": [-1]}]}
        with pytest.raises(OSError, match=r"closed|reset"):
            support.call(ports[0], "POST", "/v2/models/crashing/infer", json.dumps(body).encode())
        assert process.wait(60) == -signal.SIGFPE


def test_a_request_that_never_ends_does_not_keep_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DRAIN_SECONDS", 0.2)
    monkeypatch.setattr(limits, "INLINE_NS", 0)
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    started, release = threading.Event(), threading.Event()
    ports: list[int] = []
    answers: list[int] = []

    def held(self: models.Instance, *_: Any) -> Any:
        started.set()
        release.wait(60)

    def ask() -> None:
        support.wait_until(lambda: ports)
        body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
        threading.Thread(target=stop).start()
        answers.append(support.call(ports[0], "POST", "/v2/models/double/infer", json.dumps(body).encode())[0])

    def stop() -> None:
        assert started.wait(60)
        signal.raise_signal(signal.SIGTERM)

    run = main.Server._load

    async def load(self: main.Server) -> bool:
        loaded = await run(self)
        monkeypatch.setattr(models.Instance, "run", held)
        ports.extend(self.ports)
        return loaded

    monkeypatch.setattr(main.Server, "_load", load)
    client = threading.Thread(target=ask)
    client.start()
    assert main.serve(support.request(support.double(tmp_path))) == ExitCode.OK
    release.set()
    client.join()
    assert codes == [0]
    assert answers == [503]


def test_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["server", "--request", "{}"])
    with pytest.raises(SystemExit):
        command()
    assert "ServeRequest.name: missing" in capsys.readouterr().err


def test_weights_beside_the_model_are_those_that_were_proven(tmp_path: Path, log: Path) -> None:
    path = save_external(tmp_path)
    asked = dataclasses.replace(support.request(path), data_sha256=artifact.data_digest(path))
    (weights,) = (file for file in tmp_path.iterdir() if file.suffix == ".bin")
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    found = failure(asked, log)
    assert found.reason == "DigestMismatch"
    assert "with its weights" in found.message


def test_termination_log_is_not_made_outside_of_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    monkeypatch.delenv("ONNXMODEL_TERMINATION_LOG")
    monkeypatch.setattr(termination, "TERMINATION_LOG", str(log))
    asked = dataclasses.replace(support.request(support.double(tmp_path)), sha256="")
    assert main.serve(asked) == ExitCode.REFUSED
    assert not log.exists()
    log.touch()
    assert failure(asked, log).reason == "DigestMismatch"
