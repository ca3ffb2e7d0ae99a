"""Weights for the light models: the onnx package has the graphs of real ones, with a node that fills each weight with 0.02.

Random ones from a fixed seed take their places. Every size and every speed is then the real model's, and answers depend on
inputs, so that parity means something: with equal numbers everywhere any precision is exact.
"""

import zlib
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper, version_converter

from onnxmodel_runtime.models.inputs import generate, signature

OPSET, IR = 17, 8  # they are of opset 9, from 2018; the operator asks for 13
_BIAS = 0.05
_DEVIATION = 3.0  # of the scores before the softmax
_ADDED_GAIN = 0.2  # of a branch that is added to what it branched from: otherwise each addition doubles the variance


def with_weights(model: Any) -> Any:
    """The model with weights as initializers; signals keep their variance on the way through, as in a trained model."""
    graph = model.graph
    present = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    filled = {
        node.output[0]: tuple(int(count) for count in present[node.input[0]])
        for node in graph.node
        if node.op_type == "ConstantOfShape"
    }
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    made = {name: _random(name, shape) for name, shape in filled.items()}
    made |= _normalization(nodes, {**present, **made})
    used = {name for node in nodes for name in node.input}
    weights = {name: array for name, array in {**present, **made}.items() if name in used}
    inputs = [value for value in graph.input if value.name not in weights and value.name in used]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    whole = helper.make_graph(nodes, graph.name, inputs, graph.output, tensors)
    old = helper.make_model(whole, opset_imports=model.opset_import, ir_version=IR)
    return _spread(version_converter.convert_version(old, OPSET))


def _spread(model: Any) -> Any:
    """Scale the last weights so that class scores differ as in a trained model; from equal ones any precision is exact."""
    nodes = model.graph.node
    softmax = next((node for node in nodes if node.op_type == "Softmax"), None)
    logits = softmax.input[0] if softmax is not None else model.graph.output[0].name
    last = [node for node in nodes if node.op_type in ("Conv", "Gemm")][-1]
    seen = onnx.ModelProto.FromString(model.SerializeToString())
    if softmax is not None:
        seen.graph.output.append(helper.make_empty_tensor_value_info(logits))
    session = ort.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    (values,) = session.run([logits], generate(signature(model), 1))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    before = {name: node.input[0] for node in nodes if node.input for name in node.output}
    name = last.input[1]
    while name not in tensors:  # through what reshapes it
        name = before[name]
    tensor = tensors[name]
    scaled = numpy_helper.to_array(tensor) * np.float32(_DEVIATION / values.std())
    tensor.CopyFrom(numpy_helper.from_array(scaled, name))
    return model


def _random(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """He's deviation for what multiplies; biases are small, and not zero: a zero may be left out, unlike a trained one."""
    deviation = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else _BIAS
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return (random.standard_normal(shape) * deviation).astype(np.float32)


def _normalization(nodes: list[Any], arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return normalization parameters that leave their input almost as it is.

    The few trained numbers in the package fit other weights.
    """
    readers = {name: node for node in nodes for name in node.input}
    numbers: dict[str, float] = {}
    for node in nodes:
        if node.op_type == "BatchNormalization":
            reader = readers.get(node.output[0])
            gain = _ADDED_GAIN if reader is not None and reader.op_type in ("Add", "Sum") else 1.0
            numbers |= zip(node.input[1:], (gain, 0.0, 0.0, 1.0), strict=True)
        elif node.op_type == "Unsqueeze":  # DenseNet scales after it normalizes, by nodes of its own
            reader = readers.get(node.output[0])
            numbers[node.input[0]] = float(reader is not None and reader.op_type == "Mul")
    return {
        name: _random(name, arrays[name].shape[:1]) + np.float32(number)
        for name, number in numbers.items()
        if name in arrays
    }
