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

from onnxmodel_runtime.contract import Calibration, Providers
from onnxmodel_runtime.inputs import Arrays
from onnxmodel_runtime.machine import free
from onnxmodel_runtime.session import open_session
from onnxmodel_runtime.variants import layout, samples
from onnxmodel_runtime.variants.task import Skip, Task

_NOTHING = "no operator of the graph was quantized: it has no matrix multiplication or convolution with FP32 weights"
_QUANTIZED = {
    "MatMulInteger",
    "ConvInteger",
    "QAttention",
    "DynamicQuantizeLSTM",
    "QuantizeLinear",
    "DynamicQuantizeMatMul",
}


def dynamic(task: Task) -> str:
    """Quantize the weights, and leave the activations to the moment."""
    prepared = _prepared(task)
    onnx_quantizer.save_and_reload_model_with_shape_infer = _reloaded
    quantize_dynamic(
        prepared,
        task.target,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )
    return _checked(task.target)


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
        raise Skip("the calibration data have no rows: give some hundred inputs as the model will get them")
    prepared = _prepared(task)
    ranges = task.target.with_suffix(".ranges")
    calibration, tensorrt = task.request.calibration, "TensorRT" in task.request.providers.names
    calibrater = _Ranges(prepared, calibration, task.request.providers.threads)
    calibrater.see(first)
    for row in rows:
        calibrater.see(row)
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
    )
    return _checked(task.target)


class _Ranges:
    """ONNX Runtime's calibration, with our session: its own one takes every core of the node."""

    def __init__(self, model: Path, wanted: Calibration, threads: int) -> None:
        path = model.with_suffix(".augmented")
        self._made = _calibrater(model, path, wanted)
        self._made.augment_graph()
        del self._made.model.graph.initializer[:]  # they are in the file that the session reads
        self._made.infer_session = open_session(path, Providers(threads=threads), "None").session

    def see(self, inputs: Arrays) -> None:
        """Widen the ranges by what comes up with these inputs."""
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
    if not any(tensor.data_type == TensorProto.FLOAT for tensor in layout.load(task.source).graph.initializer):
        raise Skip(_NOTHING)
    path = task.target.with_suffix(".prepared")
    layout.save(layout.inferred(layout.load(task.source)), path, shapes=True)
    return path


def _checked(path: Path) -> str:
    if not any(node.op_type in _QUANTIZED for node in layout.load(path).graph.node):
        raise Skip(_NOTHING)
    return ""
