"""Weights for the light models: the onnx package has the graphs of real ones, with a node that fills each weight with 0.02.

Random ones from a fixed seed take their places. Every size and every speed is then the real model's, and answers depend on
inputs, so that parity means something: with equal numbers everywhere any precision is exact.
"""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

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
    return helper.make_model(whole, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4))


def _random(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """He's deviation for what multiplies; biases are nothing."""
    if len(shape) < 2:
        return np.zeros(shape, np.float32)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return (random.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)


def _normalization(nodes: list[Any], arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What normalizes leaves its input as it is: the few trained numbers that the package has fit other weights."""
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
    return {name: np.full(arrays[name].shape, number, np.float32) for name, number in numbers.items() if name in arrays}
