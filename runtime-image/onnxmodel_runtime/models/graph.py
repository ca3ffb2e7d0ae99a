"""Reading a ModelProto: its facts, and walks that reach every node, in subgraphs and functions too.

The walks keep their own stack: how deep a model nests is the model's choice, and Python's stack is not its to spend.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.validate import ModelFacts
from onnxmodel_runtime.errors import NAME_CHARACTERS, clip
from onnxmodel_runtime.models.datatypes import BY_ONNX
from onnxmodel_runtime.models.digests import digest

STANDARD = ("", "ai.onnx")  # two names of the same domain
EXTERNAL = onnx.TensorProto.EXTERNAL
MAX_RANK = 64  # no operator knows tensors of as many dimensions
_BEYOND = 2**70
# Bits of an element, by TensorProto.DataType. Strings have no fixed size.
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}
_NEURAL = {"Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "LSTM", "GRU", "RNN"}
_NEURAL |= {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "Attention"}
_DENSE = {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
_ACTIVATIONS = {
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
}
_ACTIVATIONS |= {"Softplus", "Softsign", "ThresholdedRelu", "Mish"}
_INT64_MAX = 2**63 - 1  # Kubernetes stores no larger integer, and a file can claim any
_NAMES = {number: name for name, number in onnx.TensorProto.DataType.items()}


def facts(model: Any, path: Path, data_files: set[Path]) -> ModelFacts:
    """Return the basic facts of a model. data_files: its external data."""
    return ModelFacts(
        sha256=digest(path),
        bytes=_int64(path.stat().st_size + sum(file.stat().st_size for file in data_files)),
        ir_version=_int64(model.ir_version),
        opset=_int64(opset(model)),
        producer=clip(f"{model.producer_name} {model.producer_version}".strip(), 100),
        nodes=len(model.graph.node),
        parameters=_int64(sum(elements(tensor.dims) for tensor in tensors(model))),
        inputs=tuple(describe(value) for value in inputs(model)),
        outputs=tuple(describe(value) for value in model.graph.output),
    )


def opset(model: Any, domains: tuple[str, ...] = STANDARD) -> int:
    """Return the opset version of a domain, by default of the standard one. 0 if the model does not import it."""
    return max((entry.version for entry in model.opset_import if entry.domain in domains), default=0)


def classical(model: Any) -> list[str]:
    """The operators of ai.onnx.ml in a model of classical machine learning; none in any other.

    A neural network is not classical because an operator of ai.onnx.ml prepares its inputs or maps its labels. It convolves,
    recurs or normalizes, or has two dense layers and an activation: one layer alone is a linear model.
    """
    found, standard = set(), Counter[str]()
    for node in nodes(model):
        if node.domain == "ai.onnx.ml":
            found.add(node.op_type)
        elif node.domain in STANDARD:
            standard[node.op_type] += 1
    layers = sum(standard[kind] for kind in _DENSE)
    neural = bool(_NEURAL & standard.keys()) or (layers > 1 and bool(_ACTIVATIONS & standard.keys()))
    return [] if neural else sorted(found)


def inputs(model: Any) -> list[Any]:
    """Return the inputs that a caller must give: old IR versions list the initializers among the inputs too."""
    given = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in given]


def overridable(model: Any) -> list[Any]:
    """Return the optional inputs, which have an initializer as their default."""
    given = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name in given]


def unranked(values: Any) -> frozenset[str]:
    """Return those of the tensors that declare no shape."""
    return frozenset(
        value.name
        for value in values
        if value.type.WhichOneof("value") in (None, "tensor_type") and not value.type.tensor_type.HasField("shape")
    )


def describe(value: Any) -> Tensor:
    """Describe an input or output. The datatype of one that is no tensor is its kind, such as SEQUENCE."""
    kind = value.type.WhichOneof("value") or "unknown"
    if kind != "tensor_type":
        return Tensor(clip(value.name, NAME_CHARACTERS), kind.removesuffix("_type").upper(), ())
    tensor = value.type.tensor_type
    return Tensor(
        clip(value.name, NAME_CHARACTERS),
        type_name(tensor.elem_type),
        tuple(dimension(dim) for dim in tensor.shape.dim),
    )


def type_name(number: int) -> str:
    """Return an element type's name in the Open Inference Protocol, or else in ONNX."""
    known = BY_ONNX.get(number)
    return known.name if known else _NAMES.get(number, "UNKNOWN")


def dimension(dim: Any) -> int:
    """Return a dimension's size. -1 if it is dynamic."""
    return _int64(dim.dim_value, -1) if dim.WhichOneof("value") == "dim_value" else -1


def elements(dims: Any) -> int:
    """Return the product of dimensions, or 2**70 if a file claims more, or a rank above 64.

    Exact products of what a file may claim would take hours.
    """
    if len(dims) > MAX_RANK:
        return _BEYOND
    return int(min(math.prod(dims), _BEYOND))


def required_bytes(tensor: Any) -> int | None:
    """Return the bytes that the tensor's dimensions imply. None if that cannot be computed."""
    bits = BITS.get(tensor.data_type)
    if bits is None or any(dim < 0 for dim in tensor.dims[:MAX_RANK]):
        return None
    return (elements(tensor.dims) * bits + 7) // 8


def _int64(value: int, least: int = 0) -> int:
    return min(max(int(value), least), _INT64_MAX)


def node_name(node: Any) -> str:
    """Return a name by which a person finds the node: many exporters leave its own empty."""
    return node.name or next((name for name in node.output if name), "") or node.op_type


def opened(*roots: Any) -> Iterator[tuple[Any, int]]:
    """Yield every graph (and function) at or below the roots, each with its depth."""
    stack = [(root, 0) for root in reversed(roots)]
    while stack:
        graph, depth = stack.pop()
        yield graph, depth
        inner = [(subgraph, depth + 1) for node in graph.node for subgraph in subgraphs(node)]
        inner += [(graph, depth + 1) for attribute in _defaults(graph) for graph in _of_attribute(attribute)]
        stack.extend(reversed(inner))


def graphs(model: Any) -> Iterator[tuple[Any, int]]:
    """Yield every graph and function of a whole model, each with its depth."""
    return opened(model.graph, *model.functions)


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node: of the graph, of subgraphs in attributes, of functions."""
    for graph, _ in graphs(model):
        yield from graph.node


def tensors(model: Any) -> Iterator[Any]:
    """Yield every constant tensor: initializers, sparse ones and attributes, at any depth."""
    for graph, _ in graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield sparse.values
            yield sparse.indices
        for attribute in attributes(graph):
            yield from attribute_tensors(attribute)


def inner_tensors(model: Any) -> Iterator[Any]:
    """Yield every constant tensor but the initializers of the main graph."""
    for index, (graph, _) in enumerate(graphs(model)):
        if index:
            yield from getattr(graph, "initializer", ())
        for attribute in attributes(graph):
            yield from attribute_tensors(attribute)


def values(model: Any) -> Iterator[Any]:
    """Yield every declaration of a tensor: inputs, outputs and intermediate ones, at any depth."""
    for graph, _ in graphs(model):
        for value in (*graph.input, *graph.output, *getattr(graph, "value_info", ())):
            if not isinstance(value, str):  # a function's inputs and outputs are names alone
                yield value


def attributes(graph: Any) -> Iterator[Any]:
    """Yield the attributes of a graph's own nodes, and the defaults of a function's."""
    for node in graph.node:
        yield from node.attribute
    yield from _defaults(graph)


def attribute_tensors(attribute: Any) -> Iterator[Any]:
    """Yield every constant tensor that an attribute holds itself, not in a graph."""
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for tensor in (*sparse, *attribute.sparse_tensors):
        yield tensor.values
        yield tensor.indices


def subgraphs(node: Any) -> Iterator[Any]:
    """Yield the graphs that a node's attributes hold: branches, bodies."""
    for attribute in node.attribute:
        yield from _of_attribute(attribute)


def topological(nodes: list[Any]) -> list[int] | None:
    """Put nodes in topological order, keeping the order where nothing asks for another: their indices, or None for a circle.

    A node also waits for what its subgraphs read.
    """
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    order: list[int] = []
    state = [0] * len(nodes)  # 1: waits for what it reads; 2: in its place
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            index = stack[-1]
            if state[index] == 2:
                stack.pop()
                continue
            waits = [maker[name] for name in reads(nodes[index]) if name in maker and state[maker[name]] != 2]
            if not waits:
                state[index] = 2
                order.append(stack.pop())
            elif state[index] == 1 or index in waits:
                return None
            else:
                state[index] = 1
                stack.extend(reversed(waits))
    return order


def reads(node: Any) -> Iterator[str]:
    """Yield the names that a node reads, by itself and through its subgraphs. A subgraph's own are left out."""
    yield from node.input
    for subgraph in subgraphs(node):
        made: set[str] = set()
        read: set[str] = set()
        for body, _ in opened(subgraph):
            made.update(value.name for value in body.input)
            made.update(tensor.name for tensor in body.initializer)
            for inner in body.node:
                made.update(inner.output)
                read.update(inner.input)
            read.update(value.name for value in body.output)
        yield from read - made


def external(tensor: Any) -> dict[str, str]:
    """Return the external_data entries of a tensor whose data is in another file. Empty for any other tensor."""
    if tensor.data_location != EXTERNAL:
        return {}
    return {entry.key: entry.value for entry in tensor.external_data}


def external_files(model: Any, directory: Path) -> set[Path]:
    """Return the files of external data. Call it only if the check of external data found nothing."""
    locations = {external(tensor).get("location") for tensor in tensors(model)}
    return {directory / location for location in locations if location}


def _defaults(graph: Any) -> Any:
    return getattr(graph, "attribute_proto", ())


def _of_attribute(attribute: Any) -> Iterator[Any]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs
