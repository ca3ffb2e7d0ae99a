"""Tensors that a model makes out of nothing: 168 bytes of ConstantOfShape can ask for 8 GiB."""

from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime import graph
from onnxmodel_runtime.checks import MEMORY
from onnxmodel_runtime.checks.tensors import BITS
from onnxmodel_runtime.contract import Finding
from onnxmodel_runtime.errors import size
from onnxmodel_runtime.machine import available_bytes

_MOST = 20


def static_outputs(model: Any) -> Iterator[Finding]:
    """Outputs of nodes by their inferred shapes; a dynamic axis counts as 1, so that what is found is certain."""
    limit, count = available_bytes(), 0
    for body, _ in graph.graphs(model):
        makers = {name: node for node in body.node for name in node.output if name}
        for value in (*body.value_info, *body.output):
            if isinstance(value, str):
                continue  # a function's outputs are names alone: their shapes are its callers'
            node = makers.get(value.name)
            if node is None or value.type.WhichOneof("value") != "tensor_type":
                continue
            tensor = value.type.tensor_type
            dims = [max(graph.dimension(dim), 1) for dim in tensor.shape.dim]
            needed = graph.elements(dims) * BITS.get(tensor.elem_type, 8) // 8
            if needed > limit and (count := count + 1) <= _MOST:
                yield MEMORY.error(
                    graph.node_name(node),
                    f"node {graph.node_name(node)!r} ({node.op_type}) makes a tensor of {size(needed)} "
                    f"({needed} bytes), and there are {size(limit)} of memory",
                )
