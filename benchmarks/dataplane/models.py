"""Three models: one that does next to nothing, one of some 3.5 ms and one of some 33 ms, each on one thread."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from tritonclient.grpc import service_pb2
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

TARGETS = {"overhead": 0.0, "middle": 3.5e-3, "slow": 33e-3}
"""Seconds of a run."""
ROWS, WIDTH = 64, 512  # of the tensor that goes through the layers: 128 KiB


@dataclass(frozen=True)
class Request:
    """A request of the load program: a body, and what its responses must contain."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Case:
    """A model, an input and its output."""

    name: str
    path: Path
    what: str
    x: np.ndarray
    y: np.ndarray

    def http(self, binary: bool) -> Request:
        """The request with a binary tensor, and one back; or both within the JSON."""
        tensor = InferInput("x", list(self.x.shape), "FP32").set_data_from_numpy(self.x, binary)
        wanted = [InferRequestedOutput("y", binary)]
        body, head = InferenceServerClient.generate_request_body([tensor], outputs=wanted, request_id="1")
        headers = {"Content-Type": "application/json"}
        if binary:
            headers = {"Inference-Header-Content-Length": str(head), "Content-Type": "application/octet-stream"}
        return Request(f"/v2/models/{self.name}/infer", headers, bytes(body))

    def grpc(self) -> Request:
        """The same over gRPC."""
        message = service_pb2.ModelInferRequest(model_name=self.name, id="1")
        message.inputs.add(name="x", datatype="FP32", shape=self.x.shape)
        message.raw_input_contents.append(self.x.tobytes())
        return Request("/inference.GRPCInferenceService/ModelInfer", {}, message.SerializeToString())

    def check(self, protocol: str, answer: bytes, head: int) -> None:
        """Raises AssertionError when the answer is not the model's. head: length of its JSON part (HTTP)."""
        if protocol == "grpc":
            message = service_pb2.ModelInferResponse.FromString(answer)
            assert [output.name for output in message.outputs] == ["y"], message.outputs
            output = message.outputs[0]
            raw = message.raw_output_contents
            values = np.frombuffer(raw[0], np.float32) if raw else np.array(output.contents.fp32_contents, np.float32)
            found = values.reshape(output.shape)
        else:
            found = InferResult.from_response_body(answer, header_length=head or None).as_numpy("y")
        np.testing.assert_allclose(found, self.y, rtol=1e-4, atol=1e-4)


def case(name: str, directory: Path) -> Case:
    """Make the model."""
    path = directory / f"{name}.onnx"
    target = TARGETS[name]
    if target:
        layers = _layers(directory, target)
        chain(path, layers)
        what = f"{layers} times MatMul ({WIDTH}x{WIDTH}) and Relu on {ROWS}x{WIDTH}"
        x = np.random.default_rng(1).standard_normal((1, ROWS, WIDTH), np.float32)
    else:
        node = helper.make_node("Add", ["x", "x"], ["y"])
        _save(path, [node], [1, 16], [])
        what = "one Add of 16 numbers"
        x = np.arange(16, dtype=np.float32).reshape(1, 16)
    return Case(name, path, what, x, session(path).run(["y"], {"x": x})[0])


def session(path: Path) -> ort.InferenceSession:
    """As all subjects run it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _layers(directory: Path, target: float) -> int:
    """Return the number of layers that take so long here."""
    path = directory / "probe.onnx"
    chain(path, 10)
    measured, x = session(path), {"x": np.ones((1, ROWS, WIDTH), np.float32)}
    times = []
    for _ in range(50):
        began = time.perf_counter()
        measured.run(None, x)
        times.append(time.perf_counter() - began)
    return max(1, round(target / (sorted(times)[len(times) // 2] / 10)))


def chain(path: Path, layers: int) -> None:
    """Save a model of so many layers."""
    random = np.random.default_rng(0)
    nodes, weights = [], []
    for number in range(layers):
        weight = random.standard_normal((WIDTH, WIDTH), np.float32) * np.float32(np.sqrt(2 / WIDTH))
        weights.append(numpy_helper.from_array(weight, f"w{number}"))
        source = "x" if number == 0 else f"h{number - 1}"
        target = "y" if number == layers - 1 else f"h{number}"
        nodes.append(helper.make_node("MatMul", [source, f"w{number}"], [f"m{number}"]))
        nodes.append(helper.make_node("Relu", [f"m{number}"], [target]))
    _save(path, nodes, [1, ROWS, WIDTH], weights)


def _save(path: Path, nodes: list[onnx.NodeProto], shape: list[int], weights: list[onnx.TensorProto]) -> None:
    dims = ["batch", *shape[1:]]
    tensors = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims) for name in ("x", "y")]
    graph = helper.make_graph(nodes, path.stem, tensors[:1], tensors[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
