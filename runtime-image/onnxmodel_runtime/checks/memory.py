"""Tensors that a model makes out of nothing: 168 bytes of ConstantOfShape can ask for 8 GiB."""

import os
import resource
from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime import graph
from onnxmodel_runtime.checks import MEMORY
from onnxmodel_runtime.checks.tensors import BITS
from onnxmodel_runtime.contract import Finding
from onnxmodel_runtime.errors import size
from onnxmodel_runtime.isolate import memory_limit

_MOST = 20


def available() -> int:
    """Bytes of memory that this process may come to have; the machine's where nothing is limited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (memory_limit(), 0 if soft == resource.RLIM_INFINITY else soft) if limit > 0]
    return min(limits) if limits else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def static_outputs(model: Any) -> Iterator[Finding]:
    """Outputs of nodes by their inferred shapes; a dynamic axis counts as 1, so that what is found is certain."""
    limit, count = available(), 0
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
