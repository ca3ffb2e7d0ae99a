"""Requests that no client library sends: the server answers each with a sentence, and goes on."""

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from ml_dtypes import bfloat16 as BFLOAT16  # noqa: N812
from tritonclient.utils import InferenceServerException

from onnxmodel_runtime.contract.model import BATCH_NONE
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import runtime_words
from onnxmodel_runtime.models.datatypes import BY_NAME
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.bodies import Bodies, Gone
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.main import Server
from onnxmodel_runtime.server.model import Instance
from onnxmodel_runtime.server.protocol import compression, describe
from tests.unit.runtime import server_support as support

GOOD = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}).encode()
INFER = "/v2/models/double/infer"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with support.in_thread(support.request(support.double(tmp_path_factory.mktemp("models")))) as running:
        yield running


def test_paths_and_methods(server: Server) -> None:
    port = server.ports[0]
    for method, path, status in (
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("POST", "/v2/health/ready", 405),
        ("GET", "/v2", 200),
        ("GET", "/v2/", 200),
        ("DELETE", "/v2", 405),
        ("GET", "/v2/models/double", 200),
        ("GET", "/v2/models/d%6fuble/versions/1/ready", 200),
        ("GET", "/v2/models/double/", 200),
        ("GET", "/v2/models/double/versions/1/ready/", 200),
        ("POST", INFER + "/", 400),
        ("GET", "/v2/models/double//", 404),
        ("GET", "/v2/models/double/versions", 404),
        ("GET", "/v2/models/double/nothing", 404),
        ("POST", "/v2/models/double/generate", 501),
        ("GET", INFER, 405),
        ("HEAD", "/v2/health/ready", 200),
        ("HEAD", INFER, 405),
        ("POST", "/v2/models/double", 405),
        ("GET", "/v2/repository/index", 405),
        ("POST", "/v2/repository/index", 200),
        ("POST", "/v2/repository/models/double/load", 501),
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v2/../v2", 404),
    ):
        found, body = support.call(port, method, path)
        assert found == status, (method, path)
        if status > 400 and method != "HEAD":
            assert json.loads(body)["error"]
        if status == 405 and method != "HEAD":
            wanted = "POST" if path in (INFER, "/v2/repository/index") else "GET"
            assert json.loads(body)["error"] == f"this path does not allow {method}: use {wanted}"
    with socket.create_connection((support.HOST, port), timeout=10) as client:
        for path, allowed in ((INFER, b"POST"), ("/v2", b"GET, HEAD")):
            client.sendall(b"DELETE %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
            assert b"allow: %s\r\n" % allowed in client.recv(4096)
        client.sendall(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"allow: GET, HEAD, POST\r\n" in answer


def test_repository_index(server: Server) -> None:
    port, path = server.ports[0], "/v2/repository/index"
    assert json.loads(support.call(port, "POST", path, b'{"ready":true}')[1])[0]["state"] == "READY"
    for body in (b"{", b"[1]", b'{"ready":1}', b"[" * 60_000):
        status, answer = support.call(port, "POST", path, body)
        wanted = "failed to parse the request JSON" if body == b"{" else "Invalid value for 'ready': expected a boolean"
        assert (status, wanted in json.loads(answer)["error"]) == (400, True)


def test_metrics_port(server: Server) -> None:
    assert support.call(server.ports[2], "GET", "/metrics")[0] == 200
    assert support.call(server.ports[2], "HEAD", "/metrics") == (200, b"")
    assert support.call(server.ports[2], "POST", "/metrics")[0] == 405
    assert support.call(server.ports[2], "GET", "/v2")[0] == 404


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (
            GOOD,
            {"Inference-Header-Content-Length": str(len(GOOD) + 1)},
            400,
            "inference header size should be in range",
        ),
        (GOOD, {"Inference-Header-Content-Length": "-5"}, 400, "inference header size should be in range"),
        (GOOD + b"x", {"Inference-Header-Content-Length": str(len(GOOD))}, 400, "unexpected additional input data"),
        (GOOD, {"Content-Encoding": "gzip"}, 400, "failed to decompress"),
        (GOOD, {"Content-Encoding": "br"}, 501, "Unsupported compression type 'br'"),
        (gzip.compress(GOOD, mtime=0)[:-4], {"Content-Encoding": "gzip"}, 400, "it is truncated"),
        (b"[" * 100_000, {}, 400, "JSON nesting depth"),
        (b"", {}, 400, "failed to parse the request JSON"),
        (b"\xff\xfe", {}, 400, "failed to parse the request JSON"),
        (b"1234", {"Inference-Header-Content-Length": "0"}, 400, "input byte size mismatch"),
    ],
)
def test_broken_bodies(server: Server, body: bytes, headers: dict[str, str], status: int, message: str) -> None:
    found, answer = support.call(server.ports[0], "POST", INFER, body, headers)
    assert found == status
    assert message in json.loads(answer)["error"]


def test_raw_body(server: Server) -> None:
    values = np.float32([1, 2, 3])
    status, body = support.call(
        server.ports[0], "POST", INFER, values.tobytes(), {"Inference-Header-Content-Length": "0"}
    )
    assert status == 200
    head = len(body) - values.nbytes
    assert json.loads(body[:head])["outputs"][0]["parameters"] == {"binary_data_size": 12}
    np.testing.assert_array_equal(np.frombuffer(body[head:], np.float32), values * 2)


def test_chunked_body(server: Server) -> None:
    chunks = iter([GOOD[:10], GOOD[10:]])
    assert support.call(server.ports[0], "POST", INFER, chunks)[0] == 200


def test_large_bodies(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    port = server.ports[0]
    monkeypatch.setattr(limits, "MAX_REQUEST", 100_000)
    for sent, headers in (
        (b"x" * 3_000_000, {}),
        (iter([b"x" * 60_000] * 50), {}),
        (gzip.compress(bytes(10 << 20)), {"Content-Encoding": "gzip"}),
    ):
        status, body = support.call(port, "POST", INFER, sent, headers)
        assert status == 413
        assert "exceeds the maximum allowed input size of 100000 bytes" in json.loads(body)["error"]
    monkeypatch.setattr(limits, "MAX_BODIES", 10)
    status, body = support.call(port, "POST", INFER, GOOD)
    assert (status, json.loads(body)) == (503, {"error": "the server holds too many large requests"})
    monkeypatch.undo()
    assert support.call(port, "POST", INFER, gzip.compress(GOOD), {"Content-Encoding": "gzip"})[0] == 200


async def test_memory_of_bodies_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODIES", 10)
    bodies = Bodies()

    def client(*chunks: bytes) -> Any:
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        messages[-1]["more_body"] = False
        left = iter(messages)

        async def receive() -> Any:
            return next(left, {"type": "http.disconnect"})

        return receive

    async with bodies.read(client(b"1234", b"5678"), "", 8) as first:
        assert (first, bodies.held) == (b"12345678", 8)
        with pytest.raises(ServerError, match="too many large requests"):
            async with bodies.read(client(b"12", b"3", b"4"), "", 8):
                pass
        assert bodies.held == 8
        with pytest.raises(ServerError, match="exceeds the maximum allowed input size of 1 bytes"):
            async with bodies.read(client(b"1", b"2"), "", 1):
                pass
        gone = client(b"1")
        await gone()
        with pytest.raises(Gone):
            async with bodies.read(gone, "", 8):
                pass
    assert bodies.held == 0
    monkeypatch.setattr(limits, "MAX_BODIES", 100)
    async with bodies.read(client(gzip.compress(bytes(50))), "gzip", 100) as body:
        assert (len(body), bodies.held) == (50, 50)
    assert bodies.held == 0
    reads, read = [], compression.Decompression.read

    def counted(self: compression.Decompression) -> bytes:
        reads.append(1)
        return read(self)

    monkeypatch.setattr(compression, "PIECE", 10)
    monkeypatch.setattr(compression.Decompression, "read", counted)
    with pytest.raises(ServerError, match="too many large requests"):
        async with bodies.read(client(gzip.compress(bytes(10_000))), "gzip", 10_000):
            pass
    assert bodies.held == 0
    assert len(reads) < 12  # no more of it was decompressed


def test_slow_bodies(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.05)
    with socket.create_connection((support.HOST, server.ports[0])) as client:
        client.sendall(b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
        answer = b"".join(iter(lambda: client.recv(4096), b""))  # until the connection is closed
    assert b"did not arrive within" in answer


def test_endless_headers(server: Server) -> None:
    with socket.create_connection((support.HOST, server.ports[0])) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\n")
        client.sendall((b"X-Header: " + b"x" * 10_000 + b"\r\n") * 1000)
        assert client.recv(4096).startswith(b"HTTP/1.1 431")
    with socket.create_connection((support.HOST, server.ports[0])) as client:  # and large bodies are no headers
        body = GOOD + b" " * 500_000
        head = b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        for _ in range(2):
            client.sendall(head + body)
            answer = b""
            while not answer.endswith(b"]}]}"):
                answer += client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")


def test_no_http_at_all(server: Server) -> None:
    with socket.create_connection((support.HOST, server.ports[0])) as client:
        client.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")


def test_broken_grpc_messages(server: Server) -> None:
    with grpc.insecure_channel(f"{support.HOST}:{server.ports[1]}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for body in (b"\xff\xff\xff", b""):
            with pytest.raises(grpc.RpcError):
                call(body)
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_client_that_leaves(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    started, leave = threading.Event(), threading.Event()
    run = Instance.run

    def held(self: Instance, *arguments: Any) -> Any:
        started.set()
        leave.wait(60)
        return run(self, *arguments)

    monkeypatch.setattr(Instance, "run", held)
    with socket.create_connection((support.HOST, server.ports[0])) as client:
        client.sendall(
            b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(GOOD)) + GOOD
        )
        assert started.wait(60)
    leave.set()
    assert support.call(server.ports[0], "POST", INFER, GOOD)[0] == 200


def test_a_client_that_leaves_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its place in the queue is free at once, and it is told in the access log and the metrics."""
    started, release = threading.Event(), threading.Event()
    run = Instance.run
    request = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(GOOD)) + GOOD
    with support.in_thread(support.request(support.double(tmp_path), max_queue_size=1, access_log=True)) as server:
        runs = []

        def held(self: Instance, *arguments: Any) -> Any:
            runs.append(1)
            started.set()
            release.wait(60)
            return run(self, *arguments)

        monkeypatch.setattr(Instance, "run", held)
        recorder = server._service.recorder
        with socket.create_connection((support.HOST, server.ports[0])) as running:
            running.sendall(request)
            assert started.wait(60)
            with socket.create_connection((support.HOST, server.ports[0])) as waiting:
                waiting.sendall(request)
                support.wait_until(lambda: recorder.pending == 1)
            support.wait_until(lambda: recorder.pending == 0)
        support.wait_until(lambda: 'reason="CANCELED"} 2' in recorder.metrics())
        release.set()
        assert support.call(server.ports[0], "POST", INFER, GOOD)[0] == 200
        assert len(runs) == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["CANCELLED", "CANCELLED", "OK"]


def test_a_defect_is_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(Instance, "run", broken)
    status, body = support.call(server.ports[0], "POST", INFER, GOOD)
    assert (status, json.loads(body)) == (500, {"error": "the inference failed: see the server's log for the reason"})
    monkeypatch.setattr(describe, "server", broken)
    status, body = support.call(server.ports[0], "GET", "/v2")
    assert (status, json.loads(body)) == (500, {"error": "internal error"})
    with grpc.insecure_channel(f"{support.HOST}:{server.ports[1]}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")(b"")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "secret" in caplog.text


def test_a_full_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INLINE_NS", 0)
    started, release = threading.Event(), threading.Event()
    run = Instance.run

    with support.in_thread(support.request(support.double(tmp_path), max_queue_size=1)) as server:

        def held(self: Instance, *arguments: Any) -> Any:
            started.set()
            release.wait(60)
            return run(self, *arguments)

        monkeypatch.setattr(Instance, "run", held)
        answers: list[int] = []
        ask = [
            threading.Thread(target=lambda: answers.append(support.call(server.ports[0], "POST", INFER, GOOD)[0]))
            for _ in range(2)
        ]
        ask[0].start()
        assert started.wait(60)
        ask[1].start()
        pending = server._service.recorder
        support.wait_until(lambda: pending.pending == 1)
        status, body = support.call(server.ports[0], "POST", INFER, GOOD)
        assert (status, json.loads(body)["error"]) == (503, "[request id: <id_unknown>] Exceeds maximum queue size")
        assert 'reason="REJECTED"} 1' in support.call(server.ports[2], "GET", "/metrics")[1].decode()
        release.set()
        for thread in ask:
            thread.join()
        assert answers == [200, 200]


@pytest.mark.parametrize("default", [0, 20_000])
def test_a_request_that_waits_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: int) -> None:
    """By the request's own parameter, or by the server's default."""
    monkeypatch.setattr(limits, "INLINE_NS", 0)
    started, release = threading.Event(), threading.Event()
    run = Instance.run
    asked = support.request(support.double(tmp_path), default_timeout_microseconds=default)
    with support.in_thread(asked) as server:

        def held(self: Instance, *arguments: Any) -> Any:
            started.set()
            release.wait(60)
            return run(self, *arguments)

        monkeypatch.setattr(Instance, "run", held)
        first = threading.Thread(target=support.call, args=(server.ports[0], "POST", INFER, GOOD))
        first.start()
        assert started.wait(60)
        own = None if default else 20_000
        for module, port, status in (
            (triton_http, server.ports[0], "503"),
            (triton_grpc, server.ports[1], "StatusCode.UNAVAILABLE"),
        ):
            with module.InferenceServerClient(f"{support.HOST}:{port}") as client:
                value = module.InferInput("x", [1, 3], "FP32").set_data_from_numpy(np.ones((1, 3), np.float32))
                with pytest.raises(InferenceServerException, match="Request timeout expired") as caught:
                    client.infer("double", [value], timeout=own)
                assert caught.value.status() == status
        page = support.call(server.ports[2], "GET", "/metrics")[1].decode()
        assert 'reason="REJECTED"} 2' in page
        assert 'pending_request_count{model="double",version="1"} 0' in page
        release.set()
        first.join()


def test_onnx_runtime_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that a node refuses are the client's, memory is not; and nobody reads C++."""
    with support.in_thread(support.request(support.picky(tmp_path), batch=BATCH_NONE)) as server:
        for x, z, size, status, message in (
            (3, [1.0], 2, 200, ""),
            (
                7,
                [1.0],
                2,
                400,
                "Gather node 'embedding': indices element out of data bounds, idx=7 must be within "
                "the inclusive range [-4,3]",
            ),
            (
                3,
                [1.0] * 3,
                2,
                400,
                "Add node 'sum': Attempting to broadcast an axis by a dimension other than 1. 2 by 3",
            ),
            (
                3,
                [1.0],
                1 << 50,
                500,
                f"ConstantOfShape node: Failed to allocate memory for requested buffer of size {1 << 52}",
            ),
            (1, [1.0], 0, 200, ""),
        ):
            inputs = [
                {"name": "x", "shape": [2], "datatype": "INT64", "data": [x, 0]},
                {"name": "z", "shape": [len(z)], "datatype": "FP32", "data": z},
                {"name": "size", "shape": [1], "datatype": "INT64", "data": [size]},
            ]
            body = json.dumps({"inputs": inputs}).encode()
            found, answer = support.call(server.ports[0], "POST", "/v2/models/picky/infer", body)
            assert found == status
            assert json.loads(answer).get("error", "") == (message and f"onnx runtime error: {message}")
        page = support.call(server.ports[2], "GET", "/metrics")[1].decode()
        assert 'reason="OTHER"} 2' in page
        assert 'reason="BACKEND"} 1' in page
        with triton_grpc.InferenceServerClient(f"{support.HOST}:{server.ports[1]}") as client:
            given = [
                triton_grpc.InferInput(name, [1], datatype).set_data_from_numpy(np.array([9], dtype))
                for name, datatype, dtype in (("x", "INT64", "i8"), ("z", "FP32", "f4"), ("size", "INT64", "i8"))
            ]
            with pytest.raises(
                InferenceServerException, match="Gather node 'embedding': indices element out"
            ) as caught:
                client.infer("picky", given)
            assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:180 "
         "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::Path&) Unsupported model IR version: 99",
         "Load model from m.onnx failed:Unsupported model IR version: 99"),
        ("matmul_helper.h:59 Compute MatMul dimension mismatch", "MatMul dimension mismatch"),
        ("/onnxruntime_src/onnxruntime/core/a.cc:1 void onnxruntime::f(int) const [with T = float] cannot (really) do",
         "cannot (really) do"),
        ("/onnxruntime_src/onnxruntime/core/a.cc:1 onnxruntime::A::f(int)::<lambda(int)>::operator()(int) const no a > b",
         "no a > b"),
        ("/onnxruntime_src/onnxruntime/core/a.cc:1 onnxruntime::A::A(int) a < b was false. ", "A: a check failed"),
        ("/onnxruntime_src/onnxruntime/core/a.cc:1 onnxruntime::A::A(int) a < b was false. why\nStacktrace:\nhere", "A: why"),
        ("Exception during initialization: /onnxruntime_src/onnxruntime/core/providers/cpu/rnn/lstm_base.h:53 "
         "onnxruntime::LSTMBase::LSTMBase(const onnxruntime::OpKernelInfo&) layout_ == 0 was false. Batchwise is not supported. ",
         "Exception during initialization: LSTM: Batchwise is not supported."),
        ("/onnxruntime_src/onnxruntime/core/providers/cpu/rnn/deep_cpu_gru.h:56 onnxruntime::DeepCpuGruOp::DeepCpuGruOp(const "
         "onnxruntime::OpKernelInfo&) layout_ == 0 was false. no", "Gru: no"),
        ("/onnxruntime_src/onnxruntime/core/providers/cpu/rnn/rnn.h:48 onnxruntime::RNN<T>::RNN(const onnxruntime::OpKernelInfo&)"
         " [with T = float] layout_ == 0 was false. no", "RNN: no"),
        ("[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. Name:'r' Status Message: "
         "/onnxruntime_src/onnxruntime/core/a.h:9 onnxruntime::ReshapeHelper::ReshapeHelper(bool) a == b was false. no shape",
         "Reshape node 'r': no shape"),
        ("/onnxruntime_src/onnxruntime/core/cuda_call.cc:129 std::conditional_t<T, void, S> onnxruntime::Call(int) [with E = "
         "e; S = std::t<void>] CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; file=/a/b.cc ; line=4 ; expr=f(&a, b); ",
         "CUDA failure 2: out of memory ; GPU=0"),
        ("std::bad_alloc", "out of memory"),
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Cast node. Name:'' Status "
         "Message: stoll", "Cast node: a string that is not a number"),
    ],
)  # fmt: skip
def test_words_of_onnx_runtime(said: str, kept: str) -> None:
    """What was seen, and what CUDA says; the stages use the same words."""
    assert runtime_words(Exception(said)) == kept


FAILED = "Non-zero status code returned while running Gather node. Name:{!r} Status Message: {}"
OUT_OF_BOUNDS = "indices element out of data bounds, idx=99"


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        *((status, FAILED.format(name, OUT_OF_BOUNDS), Code.INVALID) for status, name in (
            ("2 : INVALID_ARGUMENT", "tensorrt_head"), ("1 : FAIL", "cuda_free/Gather"), ("1 : FAIL", "out of memory"))),
        ("2 : INVALID_ARGUMENT", FAILED.format("n", "a value that no list has"), Code.INVALID),
        ("2 : INVALID_ARGUMENT", "Got invalid dimensions for input: cuda for the following indices", Code.INVALID),
        ("1 : FAIL", FAILED.format("loop", FAILED.format("openvino", OUT_OF_BOUNDS)), Code.INVALID),
        ("1 : FAIL", FAILED.format("broadcast of a shape", "graph execute error 6031"), Code.INTERNAL),
        ("1 : FAIL", FAILED.format("n", "TRT EP failed to create execution context for a shape"), Code.INTERNAL),
        ("2 : INVALID_ARGUMENT", FAILED.format("n", "CUDA failure 1: invalid argument ; GPU=0"), Code.INTERNAL),
        ("6 : RUNTIME_EXCEPTION", FAILED.format("n", "std::system_error: Resource temporarily unavailable"), Code.INTERNAL),
        ("6 : RUNTIME_EXCEPTION", FAILED.format("n", "stoll"), Code.INVALID),
        ("1 : FAIL", "Exiting due to terminate flag being set to true.", Code.INTERNAL),
    ],
)  # fmt: skip
def test_whose_fault_a_failed_run_is(status: str, said: str, code: Code) -> None:
    """A node's words decide, not its name; and what is not known is ours."""

    class Failing:
        def run(self, *_: Any) -> Any:
            raise RuntimeError(f"[ONNXRuntimeError] : {status} : {said}")

    with pytest.raises(ServerError) as caught:
        Instance(Failing()).run(["y"], {})
    assert caught.value.code is code


def test_every_datatype_through_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {
        name: np.array([[b"a\0b"], ["ü".encode()]], np.object_)
        if name == "BYTES"
        else np.array([[1], [0]], BY_NAME[name].numpy)
        for name in support.DATATYPES
    }
    with support.in_thread(support.request(support.identity(tmp_path))) as server:
        values = []
        for name, array in arrays.items():
            values.append(triton_http.InferInput(f"in_{name}", [2, 1], name).set_data_from_numpy(array))
        with triton_http.InferenceServerClient(f"{support.HOST}:{server.ports[0]}") as client:
            result = client.infer("identity", values)
        for name, array in arrays.items():
            np.testing.assert_array_equal(result.as_numpy(f"out_{name}"), array)


@pytest.mark.parametrize(
    ("axes", "shapes"),
    [
        ((), [()]),
        (("batch",), [(3,), (0,)]),
        (("a", "b", "c"), [(2, 1, 3), (1, 0, 2), (0, 0, 0)]),
        ((2, "n"), [(2, 4), (2, 0)]),
        ((1, 2), [(1, 2)]),
    ],
)
def test_every_shape_through_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: tuple[int | str, ...], shapes: list[tuple[int, ...]]
) -> None:
    """Scalars, empty tensors, dynamic and fixed axes: over HTTP in JSON and binary form, and over gRPC."""
    names = ("FP32", "INT64", "BOOL", "BYTES")
    with support.in_thread(support.request(support.identity(tmp_path, names, axes))) as server:
        for shape in shapes:
            arrays = {
                name: np.full(shape, b"\xc3\xa9", np.object_)
                if name == "BYTES"
                else np.ones(shape, BY_NAME[name].numpy)
                for name in names
            }
            forms: list[tuple[Any, int, dict[str, bool]]] = [
                (triton_http, server.ports[0], {"binary_data": True}),
                (triton_http, server.ports[0], {"binary_data": False}),
                (triton_grpc, server.ports[1], {}),
            ]
            for module, port, form in forms:
                values = [
                    module.InferInput(f"in_{name}", list(shape), name).set_data_from_numpy(array, **form)
                    for name, array in arrays.items()
                ]
                wanted = [module.InferRequestedOutput(f"out_{name}", **form) for name in names]
                with module.InferenceServerClient(f"{support.HOST}:{port}") as client:
                    result = client.infer("identity", values, outputs=wanted)
                for name, array in arrays.items():
                    found = result.as_numpy(f"out_{name}")
                    assert found.shape == shape
                    plain = [each.encode() if isinstance(each, str) else each for each in found.flat]
                    assert plain == list(array.flat)


def test_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In binary form, in batches, empty, over HTTP and gRPC."""
    path = support.identity(tmp_path, ("BF16", "FP32"))
    with support.in_thread(support.request(path, max_queue_delay_microseconds=1000)) as server:
        for module, port in ((triton_http, server.ports[0]), (triton_grpc, server.ports[1])):
            with module.InferenceServerClient(f"{support.HOST}:{port}") as client:
                for array in (np.float32([[1.5, -2], [0, 3e38]]), np.zeros((2, 0), np.float32)):
                    shape = list(array.shape)
                    values = [
                        module.InferInput("in_BF16", shape, "BF16").set_data_from_numpy(array.astype(BFLOAT16)),
                        module.InferInput("in_FP32", shape, "FP32").set_data_from_numpy(array),
                    ]
                    result = client.infer("identity", values)
                    found = result.as_numpy("out_BF16").astype(np.float32).reshape(shape)
                    np.testing.assert_array_equal(found, array.astype(BFLOAT16).astype(np.float32))
                    np.testing.assert_array_equal(result.as_numpy("out_FP32").reshape(shape), array)
        body = {
            "inputs": [
                {"name": f"in_{name}", "shape": [1, 1], "datatype": name, "data": [1]} for name in ("BF16", "FP32")
            ]
        }
        status, answer = support.call(server.ports[0], "POST", "/v2/models/identity/infer", json.dumps(body).encode())
        assert status == 400
        assert "receiving BF16 data via JSON is not supported" in json.loads(answer)["error"]


def test_bound_runs_give_what_plain_runs_give(tmp_path: Path) -> None:
    """As on GPUs."""
    names = tuple(name for name in support.DATATYPES if name != "BYTES")
    session = open_session(support.identity(tmp_path, names), Providers()).session
    for shape in ((2, 3), (0, 3), (1, 0)):
        inputs = {f"in_{name}": np.ones(shape, BY_NAME[name].numpy) for name in names}
        inputs["in_FP32"] = np.asfortranarray(inputs["in_FP32"])
        outputs = [f"out_{name}" for name in reversed(names)]
        plain = Instance(session).run(outputs, inputs)
        bound = Instance(session, bound=True).run(outputs, inputs)
        for name in outputs:
            np.testing.assert_array_equal(bound[name], plain[name])
            assert bound[name].dtype == plain[name].dtype
    with pytest.raises(ServerError, match="onnx runtime error"):
        Instance(session, bound=True).run(outputs, {"in_FP32": np.ones((1, 1), np.float32)})


def test_errors_are_bounded() -> None:
    assert len(str(ServerError("x" * 100_000))) < 3000
