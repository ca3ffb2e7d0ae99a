"""Reading a ModelProto: its facts, and walks that reach every node, in subgraphs and functions too."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from onnxmodel_runtime.contract import ModelFacts, Tensor
from onnxmodel_runtime.datatypes import BY_ONNX
from onnxmodel_runtime.digests import digest
from onnxmodel_runtime.errors import NAME_CHARACTERS, clip

_INT64_MAX = 2**63 - 1  # Kubernetes stores no larger integer, and a file can claim any
_NAMES = {number: name for name, number in onnx.TensorProto.DataType.items()}


def facts(model: Any, path: Path, data_files: set[Path]) -> ModelFacts:
    """What a model is, at a glance. data_files: its external data."""
    return ModelFacts(
        sha256=digest(path),
        bytes=_int64(path.stat().st_size + sum(file.stat().st_size for file in data_files)),
        ir_version=_int64(model.ir_version),
        opset=_int64(opset(model)),
        producer=clip(f"{model.producer_name} {model.producer_version}".strip(), 100),
        nodes=len(model.graph.node),
        parameters=_int64(sum(math.prod(tensor.dims) for tensor in tensors(model))),
        inputs=tuple(describe(value) for value in inputs(model)),
        outputs=tuple(describe(value) for value in model.graph.output),
    )


def opset(model: Any) -> int:
    """The version of the standard operators; 0 when the model imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def inputs(model: Any) -> list[Any]:
    """What a caller must give: old IR versions list the initializers among the inputs too."""
    given = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in given]


def describe(value: Any) -> Tensor:
    """An input or output. The datatype of what is no tensor is its kind, such as SEQUENCE."""
    kind = value.type.WhichOneof("value") or "unknown"
    if kind != "tensor_type":
        return Tensor(clip(value.name, NAME_CHARACTERS), kind.removesuffix("_type").upper(), ())
    tensor = value.type.tensor_type
    known = BY_ONNX.get(tensor.elem_type)
    name = known.name if known else _NAMES.get(tensor.elem_type, "UNKNOWN")
    return Tensor(clip(value.name, NAME_CHARACTERS), name, tuple(dimension(dim) for dim in tensor.shape.dim))


def dimension(dim: Any) -> int:
    """A dimension's size; -1 when it is dynamic."""
    return _int64(dim.dim_value, -1) if dim.WhichOneof("value") == "dim_value" else -1


def _int64(value: int, least: int = 0) -> int:
    return min(max(int(value), least), _INT64_MAX)


def nodes(model: Any) -> Iterator[Any]:
    """Every node: of the graph, of subgraphs in attributes, of functions."""
    for graph in (model.graph, *model.functions):
        yield from _nodes(graph)


def tensors(model: Any) -> Iterator[Any]:
    """Every constant tensor: initializers, sparse ones and attributes, at any depth."""
    for graph in (model.graph, *model.functions):
        yield from _tensors(graph)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in _subgraphs(attribute):
                yield from _nodes(subgraph)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _attribute_tensors(node.attribute)
    for attribute in getattr(graph, "attribute_proto", ()):
        yield from _attribute_tensors([attribute])


def _attribute_tensors(attributes: Any) -> Iterator[Any]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for tensor in (*sparse, *attribute.sparse_tensors):
            yield tensor.values
            yield tensor.indices
        for subgraph in _subgraphs(attribute):
            yield from _tensors(subgraph)


def _subgraphs(attribute: Any) -> Iterator[Any]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs
