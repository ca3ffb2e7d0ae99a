"""Models and running servers for the server's tests."""

import contextlib
import hashlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import uvloop
from onnx import TensorProto, helper

from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.models.datatypes import BY_NAME
from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.main import Server

HOST = "127.0.0.1"
START_SECONDS = 60.0  # on a machine that does much else; one that is ready is not waited for
DATATYPES = tuple(name for name, datatype in BY_NAME.items() if datatype.numpy)


def tensor(name: str, datatype: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, BY_NAME[datatype].onnx, shape)


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], initializers: Any = ()) -> Path:
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def pair(directory: Path) -> Path:
    """y = x + x, u = t: two inputs, of which one holds strings."""
    return save(
        directory / "pair.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Identity", ["t"], ["u"])],
        [tensor("x", "FP32", ["batch", 3]), tensor("t", "BYTES", ["batch", 1])],
        [tensor("y", "FP32", ["batch", 3]), tensor("u", "BYTES", ["batch", 1])],
    )


def double(directory: Path, columns: int | str = 3) -> Path:
    """y = x + x."""
    return save(
        directory / "double.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [tensor("x", "FP32", ["batch", columns])],
        [tensor("y", "FP32", ["batch", columns])],
    )


def biased(directory: Path) -> Path:
    """y = x + bias; bias is (1, 2, 3) unless a request gives another one."""
    return save(
        directory / "biased.onnx",
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        [tensor("x", "FP32", ["batch", 3]), tensor("bias", "FP32", [3])],
        [tensor("y", "FP32", ["batch", 3])],
        [helper.make_tensor("bias", TensorProto.FLOAT, [3], [1, 2, 3])],
    )


def two_outputs(directory: Path) -> Path:
    """y = x + x and z = -x, of any width."""
    return save(
        directory / "two.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
        [tensor("x", "FP32", ["batch", "n"])],
        [tensor("y", "FP32", ["batch", "n"]), tensor("z", "FP32", ["batch", "n"])],
    )


def identity(
    directory: Path, datatypes: tuple[str, ...] = DATATYPES, shape: tuple[int | str, ...] = ("batch", "n")
) -> Path:
    """in_D -> out_D for every datatype."""
    return save(
        directory / "identity.onnx",
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in datatypes],
        [tensor(f"in_{name}", name, list(shape)) for name in datatypes],
        [tensor(f"out_{name}", name, list(shape)) for name in datatypes],
    )


def crashing(directory: Path) -> Path:
    """y = -2**31 / x: for -1 no integer of 32 bits holds the answer, and the processor stops (SIGFPE)."""
    least = helper.make_tensor("least", TensorProto.INT32, [1], [-(1 << 31)])
    return save(
        directory / "crashing.onnx",
        [helper.make_node("Div", ["least", "x"], ["y"])],
        [tensor("x", "INT32", ["batch"])],
        [tensor("y", "INT32", ["batch"])],
        [least],
    )


def tall(directory: Path, most: int) -> Path:
    """y = x, and no more than so many rows."""
    limit = helper.make_tensor("limit", TensorProto.FLOAT, [most, 1], [0.0] * most)
    return save(
        directory / "tall.onnx",
        [
            helper.make_node("Shape", ["x"], ["shape"], end=1),
            helper.make_node("Sub", ["most", "shape"], ["room"]),
            helper.make_node("Gather", ["limit", "room"], ["zero"]),
            helper.make_node("Add", ["x", "zero"], ["y"]),
        ],
        [tensor("x", "FP32", ["batch", 1])],
        [tensor("y", "FP32", ["batch", 1])],
        [limit, helper.make_tensor("most", TensorProto.INT64, [1], [most])],
    )


def with_data(directory: Path, rows: int, columns: int = 64) -> Path:
    """y = table[x], a table of FP32 in a sparse file beside the model: zeros, but for sevens in the last row."""
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, columns])
    table.data_location = TensorProto.EXTERNAL
    size = rows * columns * 4
    for key, value in (("location", "model.onnx.data"), ("offset", "0"), ("length", str(size))):
        table.external_data.add(key=key, value=value)
    with (directory / "model.onnx.data").open("wb") as file:
        file.truncate(size)
        file.seek(size - columns * 4)
        file.write(np.full(columns, 7, np.float32).tobytes())
    return save(
        directory / "model.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [tensor("x", "INT64", ["batch"])],
        [tensor("y", "FP32", ["batch", columns])],
        [table],
    )


def reduced(directory: Path) -> Path:
    """The sum over the batch, which claims to have a row for each of its rows."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    return save(
        directory / "reduced.onnx",
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        [tensor("x", "FP32", ["batch", 3])],
        [tensor("y", "FP32", ["rows", 3])],
        [axes],
    )


def centred(directory: Path) -> Path:
    """y = x - the mean over the batch: the right shape, and yet rows influence each other."""
    return save(
        directory / "centred.onnx",
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [tensor("x", "FP32", ["batch", 3])],
        [tensor("y", "FP32", ["batch", 3])],
    )


def summed(directory: Path) -> Path:
    """y = the sum over the batch, for each of its rows."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    return save(
        directory / "summed.onnx",
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=1),
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Expand", ["sum", "shape"], ["y"]),
        ],
        [tensor("x", "FP32", ["batch", 3])],
        [tensor("y", "FP32", ["batch", 3])],
        [axes],
    )


def gather(directory: Path) -> Path:
    """y = table[x]: fails at run time when x is out of bounds."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [4], [0, 10, 20, 30])
    return save(
        directory / "gather.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [tensor("x", "INT64", ["batch", 1])],
        [tensor("y", "FP32", ["batch", 1])],
        [table],
    )


def picky(directory: Path) -> Path:
    """y = table[x] + z, and so many zeros as `size` says, if memory has them."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [4], [0, 10, 20, 30])
    return save(
        directory / "picky.onnx",
        [
            helper.make_node("Gather", ["table", "x"], ["row"], name="embedding"),
            helper.make_node("Add", ["row", "z"], ["y"], name="sum"),
            helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        ],
        [tensor("x", "INT64", ["n"]), tensor("z", "FP32", ["m"]), tensor("size", "INT64", [1])],
        [tensor("y", "FP32", ["k"]), tensor("zeros", "FP32", ["l"])],
        [table],
    )


def slow(directory: Path) -> Path:
    """Counts to n, which takes as long as n is large."""
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Add", ["sum_in", "one"], ["sum_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_in", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.INT64, [1]),
        ],
        [one],
    )
    return save(
        directory / "slow.onnx",
        [helper.make_node("Loop", ["n", "go", "zero"], ["y"], body=body)],
        [tensor("n", "INT64", [1])],
        [tensor("y", "INT64", [1])],
        [
            helper.make_tensor("go", TensorProto.BOOL, [], [True]),
            helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        ],
    )


def probe(path: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> str:
    arrays = {f"input:{name}": value for name, value in inputs.items()}
    arrays |= {f"output:{name}": value for name, value in outputs.items()}
    np.savez(path, **arrays)
    return str(path)


def request(path: Path, **fields: Any) -> ServeRequest:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    return ServeRequest(**{"name": path.stem, "model": str(path), "sha256": sha256, "host": HOST, **ports, **fields})


@contextlib.contextmanager
def in_thread(asked: ServeRequest, *, lame_duck: float = 0.0) -> Iterator[Server]:
    """A server in this process, on free ports. lame_duck: for how many seconds it waits at its end for clients to come back."""
    server = Server(asked)

    def run() -> None:
        loop = uvloop.new_event_loop()
        loop.run_until_complete(server.run())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "LAME_DUCK_SECONDS", lame_duck)
        thread.start()
        try:
            assert server.ready.wait(START_SECONDS)
            yield server
        finally:
            server.stop()
            thread.join()


@contextlib.contextmanager
def in_process(asked: ServeRequest, **environment: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A server of its own process, as it runs in a pod. Gives the process and its ports."""
    command = [sys.executable, "-m", "onnxmodel_runtime.server", "--request", dumps(asked)]
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if "is ready" in line:
                    break
            else:
                raise AssertionError(f"the server ended with {process.wait()}:\n{''.join(said)}")
            words = line.split(": HTTP ")[1].replace("gRPC ", "").replace("metrics ", "")
            yield process, [int(port) for port in words.split(", ")]
        finally:
            process.kill()


@contextlib.contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """A port of this process, where each connection is a handler's."""
    with socketserver.ThreadingTCPServer((HOST, 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def call(
    port: int, method: str, path: str, body: Any = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """One HTTP request without any client library's opinion."""
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.005)


@contextlib.contextmanager
def connected(server: Server, port: int = 0) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, server.ports[port]), timeout=10) as client:
        yield client


def read_until(client: socket.socket, end: bytes, times: int = 1) -> bytes:
    seen = b""
    while seen.count(end) < times:
        data = client.recv(65536)
        assert data, seen
        seen += data
    return seen
