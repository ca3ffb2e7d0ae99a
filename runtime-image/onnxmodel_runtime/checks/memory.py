"""Check the memory that a model needs against the server's limit: 168 bytes of ConstantOfShape can ask for 8 GiB."""

from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime.checks import MEMORY
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import size
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.graph import BITS
from onnxmodel_runtime.sandbox.memory import Peak, available_bytes, free, resident_bytes

_MOST = 20
_FIX = "Raise spec.serving.resources.limits.memory, or check what the model allocates"


def static_outputs(model: Any, serving: int = 0) -> Iterator[Finding]:
    """Check the outputs of nodes by their inferred shapes. A dynamic axis counts as 1, so every finding is certain.

    serving: bytes that the server may use; 0 if unknown.
    """
    limit, count = min(available_bytes(), serving or available_bytes()), 0
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
                    f"node {graph.node_name(node)!r} ({node.op_type}) creates a tensor of {size(needed)} ({needed} "
                    f"bytes), but there are {size(limit)} of memory",
                )


class Footprint:
    """Memory that a session and its runs add to this process. limit: bytes that the server may use; 0 if unknown."""

    def __init__(self, limit: int) -> None:
        """Record the memory before the model is loaded."""
        self._limit = limit
        free()
        self._peak = Peak()
        self._before = resident_bytes()
        self._held = self._begun = 0

    def loaded(self) -> Iterator[Finding]:
        """Record the memory after the model is loaded and before it runs: a session keeps the memory of its runs."""
        self._held = max(0, resident_bytes() - self._before)
        needed = self._peak.added()
        if 0 < self._limit < needed:
            yield MEMORY.error("session", f"loading the model {self._compared(needed)}", f"{_FIX}.")

    def running(self) -> None:
        """Record that a run begins."""
        self._peak = Peak()
        self._begun = max(0, resident_bytes() - self._before)

    def judge(self, batch: int, *, alone: bool) -> Iterator[Finding]:
        """Judge the memory after the run. alone: no smaller batch can be served instead."""
        needed = self._begun + self._peak.added()
        if not 0 < self._limit < needed:
            return
        message = (
            f"a run at batch size {batch}, including {size(self._held)} for the loaded model, {self._compared(needed)}"
        )
        if alone:
            yield MEMORY.error("run", message, f"{_FIX}.")
        else:
            yield MEMORY.warning("run", message, f"{_FIX}; or lower spec.serving.batching.maxBatchSize.")

    def _compared(self, needed: int) -> str:
        return (
            f"needs {size(needed)} ({needed} bytes), but the server may use {size(self._limit)} ({self._limit} bytes)"
        )
