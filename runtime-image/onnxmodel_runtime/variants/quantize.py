"""Weights of 8 bits: dynamic, where each activation's range is taken as it comes, and static, where samples told it.

Weights are quantized per channel and to 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, and
8 bits overflow there without a word. The same file is right on every machine.
"""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    onnx_quantizer,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.calibrate import (
    CalibraterBase,
    EntropyCalibrater,
    MinMaxCalibrater,
    PercentileCalibrater,
    save_tensors_data,
)
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

from onnxmodel_runtime.contract.optimize import Calibration
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import ran_out_of_memory, runtime_message
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.inputs import Arrays
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.sandbox.memory import free
from onnxmodel_runtime.variants import layout, samples
from onnxmodel_runtime.variants.task import Skip, Task

_NOTHING = (
    "no operator of the main graph was quantized: it has no matrix multiplication or convolution with FP32 weights that ONNX "
    "Runtime can quantize; serve fp32"
)
_ALREADY = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulNBits")
_QUANTIZED = {
    "MatMulInteger",
    "ConvInteger",
    "QAttention",
    "DynamicQuantizeLSTM",
    "QuantizeLinear",
    "DynamicQuantizeMatMul",
}


def dynamic(task: Task) -> str:
    """Quantize the weights, and leave the activations to run time."""
    prepared = _prepared(task)
    excluded = _excluded(prepared, static=False)
    onnx_quantizer.save_and_reload_model_with_shape_infer = _reloaded
    quantize_dynamic(
        prepared,
        task.target,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        nodes_to_exclude=excluded,
    )
    return _checked(task.target, excluded)


def _reloaded(model: Any) -> Any:
    """As ONNX Runtime's own, which copies the model first, weights and all; what it was given it uses no more."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, path, save_as_external_data=True)
        return load_model_with_shape_infer(path)


def static(task: Task) -> str:
    """Quantize weights and activations, with QuantizeLinear and DequantizeLinear around each operator."""
    rows = samples.batches(task.request, layout.load(task.source))
    first = next(rows, None)
    if first is None:
        raise Skip("the calibration data has no rows: provide a few hundred inputs as the model will receive them")
    prepared = _prepared(task)
    excluded = _excluded(prepared, static=True)
    ranges = task.target.with_suffix(".ranges")
    calibration, tensorrt = task.request.calibration, "TensorRT" in task.request.providers.names
    calibrater = _Ranges(prepared, calibration, task.request.providers.threads)
    try:
        calibrater.see(first)
        for row in rows:
            calibrater.see(row)
    except Skip:
        raise
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        raise Skip(f"the model cannot run on the calibration data: {runtime_message(error)}") from error
    calibrater.write(ranges)
    del calibrater
    free()
    quantize_static(
        prepared,
        task.target,
        None,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=not tensorrt,
        activation_type=QuantType.QInt8 if tensorrt else QuantType.QUInt8,  # TensorRT knows no zero point
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[calibration.method],
        use_external_data_format=True,
        calibration_cache_path=ranges,
        extra_options={"ActivationSymmetric": tensorrt, "WeightSymmetric": True},
        nodes_to_exclude=excluded,
    )
    return _checked(task.target, excluded)


class _Ranges:
    """ONNX Runtime's calibration, with our session: its own one takes every core of the node."""

    def __init__(self, model: Path, wanted: Calibration, threads: int) -> None:
        path = model.with_suffix(".augmented")
        self._made = _calibrater(model, path, wanted)
        self._made.augment_graph()
        del self._made.model.graph.initializer[:]  # they are in the file that the session reads
        self._made.infer_session = open_session(path, Providers(threads=threads), "None").session

    def see(self, inputs: Arrays) -> None:
        """Widen the ranges by the values that occur with these inputs."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # empty tensors have no mean
            self._made.collect_data(_Once(inputs))

    def write(self, path: Path) -> None:
        """Leave the ranges where quantize_static reads them."""
        save_tensors_data(self._made.compute_data(), path)


def _calibrater(model: Path, augmented: Path, wanted: Calibration) -> Any:
    common: dict[str, Any] = {"augmented_model_path": str(augmented), "use_external_data_format": True}
    if wanted.method == "Percentile":
        return PercentileCalibrater(model, percentile=wanted.percentile, **common)
    kinds: dict[str, type[CalibraterBase]] = {"MinMax": MinMaxCalibrater, "Entropy": EntropyCalibrater}
    return kinds[wanted.method](model, **common)


class _Once:
    """A reader of one batch, in the shape that ONNX Runtime's calibration asks for."""

    def __init__(self, inputs: Arrays) -> None:
        self._left = [inputs]

    def get_next(self) -> Arrays | None:
        """The batch, and then nothing."""
        return self._left.pop() if self._left else None


def _prepared(task: Task) -> Path:
    """The model with types and shapes: a tensor of which they are unknown is not quantized."""
    model = layout.load(task.source)
    if already := next((node for node in model.graph.node if node.op_type in _ALREADY), None):
        raise Skip(
            f"the model is already quantized: node {graph.node_name(already)!r} is {already.op_type}; serve "
            "fp32, or upload the model as it was before quantization"
        )
    if not any(tensor.data_type == TensorProto.FLOAT for tensor in model.graph.initializer):
        raise Skip(_NOTHING)
    path = task.target.with_suffix(".prepared")
    layout.name_nodes(model)
    layout.save(layout.inferred(model), path, shapes=True)
    return path


def _excluded(prepared: Path, *, static: bool) -> list[str]:
    """Nodes that ONNX Runtime's quantizer takes, and then makes something of that cannot run.

    Its scales are of the second axis of a weight, which has to be the last one; and where a ConvTranspose has groups and a
    bias, it takes as many scales as one group has channels.
    """
    main = layout.load(prepared).graph
    rank = {tensor.name: len(tensor.dims) for tensor in main.initializer}
    found = []
    for node in main.node:
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        deep = node.op_type == "MatMul" and any(rank.get(name, 0) > 2 for name in node.input)
        grouped = static and node.op_type == "ConvTranspose" and groups > 1 and len(node.input) == 3
        if deep or grouped:
            found.append(str(node.name))
    return found


def _checked(path: Path, excluded: list[str]) -> str:
    more = f" and {len(excluded) - 3} more" if len(excluded) > 3 else ""
    left = (
        "nodes that ONNX Runtime cannot quantize stay in FP32 (weights of three or more axes, "
        f"ConvTranspose with groups and a bias): {', '.join(excluded[:3])}{more}"
    )
    if not any(node.op_type in _QUANTIZED for node in layout.load(path).graph.node):
        raise Skip(f"nothing is left to quantize; {left}; serve fp32" if excluded else _NOTHING)
    return left if excluded else ""
