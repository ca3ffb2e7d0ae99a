"""What Triton can be asked for: one case for each rule, with a model that Triton can load.

python -m tests.unit.runtime.triton.cases      writes the golden files again, beside this file
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.stages.repository import described, open_model
from onnxmodel_runtime.triton import config as configs
from tests.unit.runtime import server_support as support

GOLDEN = Path(__file__).with_name("golden")
ENGINES = "/artifacts/engines/0123456789abcdef"
tensor, node = support.tensor, helper.make_node


def model(nodes: Any, inputs: Any, outputs: Any, initializers: Any = ()) -> Callable[[Path], Path]:
    return lambda folder: support.save(folder / "model.onnx", nodes, inputs, outputs, initializers)


rows = model([node("Add", ["x", "x"], ["y"])], [tensor("x", "FP32", ["b", 3])], [tensor("y", "FP32", ["b", 3])])
image = model(
    [node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
    [tensor("x", "FP32", ["b", 3, 8, 8])],
    [tensor("y", "FP32", ["b", 3])],
)
image_any = model(
    [node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
    [tensor("x", "FP32", ["b", 3, "height", "width"])],
    [tensor("y", "FP32", ["b", 3])],
)
words = model(
    [node("Mul", ["ids", "mask"], ["y"])],
    [tensor("ids", "INT64", ["b", "length"]), tensor("mask", "INT64", ["b", "length"])],
    [tensor("y", "INT64", ["b", "length"])],
)
label = model(
    [node("ArgMax", ["x"], ["label"], axis=1, keepdims=0), node("Softmax", ["x"], ["scores"], axis=1)],
    [tensor("x", "FP32", ["b", 4])],
    [tensor("label", "INT64", ["b"]), tensor("scores", "FP32", ["b", 4])],
)
column = model([node("Add", ["x", "x"], ["y"])], [tensor("x", "FP32", ["b"])], [tensor("y", "FP32", ["b"])])
scalar = model([node("Add", ["x", "x"], ["y"])], [tensor("x", "FP32", [])], [tensor("y", "FP32", [])])
total = model([node("ReduceSum", ["x"], ["y"], keepdims=0)], [tensor("x", "FP32", ["b", 3])], [tensor("y", "FP32", [])])
fixed = model([node("Add", ["x", "x"], ["y"])], [tensor("x", "FP32", [1, 3])], [tensor("y", "FP32", [1, 3])])
detections = model(
    [node("NonZero", ["x"], ["found"]), node("Transpose", ["found"], ["y"], perm=[1, 0])],
    [tensor("x", "FP32", [4])],
    [tensor("y", "INT64", ["found", 1])],
)
inferred = model([node("Add", ["x", "x"], ["y"])], [tensor("x", "FP32", ["b", 3])], [tensor("y", "FP32", ["b", "n"])])
unnamed = model([node("Add", ["x", "x"], ["y"])], [tensor("x", "FP32", [None, 3])], [tensor("y", "FP32", [None, 3])])
colon = model(
    [node("Add", ["x:0", "x:0"], ["y:0"])], [tensor("x:0", "FP32", ["b", 3])], [tensor("y:0", "FP32", ["b", 3])]
)
strings = model([node("Identity", ["t"], ["u"])], [tensor("t", "BYTES", ["b", 1])], [tensor("u", "BYTES", ["b", 1])])
pair = support.pair


def every_datatype(folder: Path) -> Path:
    return support.identity(folder)


@dataclass(frozen=True)
class Case:
    """model: makes the file; request: fields of the ServeRequest; probe: rows that warm it up."""

    model: Callable[[Path], Path]
    request: dict[str, Any] = field(default_factory=dict)
    gpus: int = 0
    engines: str = ""
    probe: dict[str, Any] = field(default_factory=dict)


def gpu(*names: str, tensorrt: dict[str, str] | None = None, cuda: dict[str, str] | None = None) -> dict[str, Any]:
    options = {"TensorRT": tensorrt, "CUDA": cuda}
    return {"providers": Providers(names, options={key: value for key, value in options.items() if value})}


def cpu(threads: int, *names: str) -> dict[str, Any]:
    return {"providers": Providers(names or ("CPU",), threads=threads)}


ROW = {"x": np.ones((1, 3), np.float32)}
JOINED = {"max_queue_delay_microseconds": 500}
TENSORRT = ("TensorRT", "CUDA", "CPU")

CASES: dict[str, Case] = {
    "rows": Case(rows),
    "rows-joined": Case(rows, JOINED),
    "rows-preferred": Case(rows, {**JOINED, "preferred_batch_sizes": (16, 4), "max_batch_size": 16}),
    "rows-queue": Case(rows, {**JOINED, "default_timeout_microseconds": 20000, "max_queue_size": 64}),
    "rows-queue-unjoined": Case(rows, {"default_timeout_microseconds": 20000, "max_queue_size": 64}),
    "rows-one-at-a-time": Case(rows, {**JOINED, "max_batch_size": 1}),
    "rows-warm": Case(rows, {"max_batch_size": 8}, probe=ROW),
    "rows-warm-joined": Case(rows, {**JOINED, "max_batch_size": 8}, probe=ROW),
    "rows-revision": Case(rows, {"revision": "0123abcd"}),
    "image": Case(image, probe={"x": np.ones((1, 3, 8, 8), np.float32)}),
    "image-any-size": Case(image_any, JOINED, probe={"x": np.ones((1, 3, 8, 8), np.float32)}),
    "words": Case(words, JOINED, probe={"ids": np.ones((1, 5), np.int64), "mask": np.ones((1, 5), np.int64)}),
    "label": Case(label, probe={"x": np.ones((1, 4), np.float32)}),
    "label-joined": Case(label, {**JOINED, "max_batch_size": 4}, probe={"x": np.ones((1, 4), np.float32)}),
    "column": Case(column, probe={"x": np.ones(1, np.float32)}),
    "column-joined": Case(column, {**JOINED, "max_batch_size": 4}, probe={"x": np.ones(1, np.float32)}),
    "scalar": Case(scalar, JOINED, probe={"x": np.array(1, np.float32)}),
    "total": Case(total, JOINED, probe=ROW),
    "fixed": Case(fixed, JOINED, probe=ROW),
    "detections": Case(detections, JOINED, probe={"x": np.ones(4, np.float32)}),
    "inferred-output": Case(inferred),
    "unnamed-axes": Case(unnamed),
    "strings": Case(strings, {**JOINED, "max_batch_size": 4}, probe={"t": np.array([["grüße"]], object)}),
    "two-inputs": Case(pair, probe={**ROW, "t": np.array([["a"]], object)}),
    "every-datatype": Case(every_datatype, JOINED),
    "threads": Case(rows, cpu(4)),
    "threads-by-runtime": Case(rows, cpu(0)),
    "instances": Case(rows, {"instances": 2}),
    "graph-none": Case(rows, {"graph_level": "None"}),
    "graph-basic": Case(rows, {"graph_level": "Basic"}),
    "graph-extended": Case(rows, {"graph_level": "Extended"}),
    "openvino": Case(rows, cpu(2, "OpenVINO", "CPU")),
    "cpu-before-openvino": Case(rows, cpu(2, "CPU", "OpenVINO")),
    "cuda": Case(rows, gpu("CUDA", "CPU"), gpus=1),
    "cuda-options": Case(
        rows,
        gpu("CUDA", "CPU", cuda={"cudnn_conv_use_max_workspace": "0", "use_ep_level_unified_stream": "True"}),
        gpus=1,
    ),
    "cuda-top-level-options": Case(
        rows,
        gpu(
            "CUDA",
            "CPU",
            cuda={
                "cudnn_conv_algo_search": "HEURISTIC",
                "gpu_mem_limit": "4294967296",
                "arena_extend_strategy": "kSameAsRequested",
                "do_copy_in_default_stream": "False",
            },
        ),
        gpus=1,
    ),
    "cuda-two-gpus": Case(rows, {**gpu("CUDA", "CPU"), "instances": 2}, gpus=2),
    "tensorrt": Case(rows, {**gpu(*TENSORRT), **JOINED}, gpus=1, engines=ENGINES),
    "tensorrt-unjoined": Case(rows, gpu(*TENSORRT), gpus=1, engines=ENGINES),
    "tensorrt-uncached": Case(rows, gpu(*TENSORRT), gpus=1),
    "tensorrt-cache-off": Case(
        rows, gpu(*TENSORRT, tensorrt={"trt_engine_cache_enable": "0"}), gpus=1, engines=ENGINES
    ),
    "tensorrt-fp16": Case(image, gpu(*TENSORRT, tensorrt={"trt_fp16_enable": "1"}), gpus=4, engines=ENGINES),
    "tensorrt-bf16": Case(image, gpu(*TENSORRT, tensorrt={"trt_bf16_enable": "true"}), gpus=1, engines=ENGINES),
    "tensorrt-int8": Case(
        image,
        gpu(
            *TENSORRT,
            tensorrt={
                "trt_int8_enable": "1",
                "trt_int8_calibration_table_name": "calibration.flatbuffers",
                "trt_int8_use_native_calibration_table": "0",
                "trt_max_workspace_size": "4294967296",
                "trt_builder_optimization_level": "5",
            },
        ),
        gpus=1,
        engines=ENGINES,
    ),
    "tensorrt-dynamic-image": Case(image_any, gpu(*TENSORRT), gpus=1, engines=ENGINES),
    "tensorrt-own-profiles": Case(
        image_any,
        gpu(
            *TENSORRT,
            tensorrt={
                "trt_profile_min_shapes": "x:1x3x8x8",
                "trt_profile_opt_shapes": "x:4x3x224x224",
                "trt_profile_max_shapes": "x:8x3x512x512",
            },
        ),
        gpus=1,
        engines=ENGINES,
    ),
    "tensorrt-colon-in-a-name": Case(colon, gpu(*TENSORRT), gpus=1, engines=ENGINES),
    "tensorrt-label": Case(label, {**gpu(*TENSORRT), **JOINED}, gpus=1, engines=ENGINES),
    "tensorrt-alone-with-cuda-options": Case(
        rows, gpu("TensorRT", "CUDA", cuda={"tunable_op_enable": "1"}), gpus=1, engines=ENGINES
    ),
}


def request(name: str, case: Case, folder: Path) -> RepositoryRequest:
    """Where the case's model is in `folder`, made there. Equal files have equal digests."""
    folder.mkdir(parents=True, exist_ok=True)
    path = case.model(folder)
    probe = ""
    if case.probe:
        probe = str(folder / "probe.npz")
        probefile.write(Path(probe), case.probe, {})
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    serve = ServeRequest(name, str(path), sha256, probe, **{"max_queue_size": 0, **case.request})
    return RepositoryRequest(serve, str(folder / "repository"), case.gpus, "triton:1")


def golden(name: str) -> Path:
    return GOLDEN / f"{name}.pbtxt"


def rendered(name: str, folder: Path) -> str:
    """The configuration of a case; nothing in it depends on where the model is."""
    case = CASES[name]
    asked = request(name, case, folder)
    inputs, outputs = described(open_model(Path(asked.serve.model), asked.serve.providers))
    given = {tensor.name: number for number, tensor in enumerate(inputs)}
    samples = {key: configs.WarmUpInput(row.shape, str(given[key])) for key, row in case.probe.items()} or None
    message = configs.build(asked.serve, inputs, outputs, gpus=case.gpus, engines=case.engines, samples=samples)
    return configs.text(message)


def main() -> None:
    """Write every golden file, and remove those of no case."""
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.glob("*.pbtxt"):
        if path.stem not in CASES:
            path.unlink()
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            golden(name).write_text(rendered(name, Path(folder) / name), encoding="utf-8")
    print(f"{len(CASES)} files in {GOLDEN}")


if __name__ == "__main__":
    main()
