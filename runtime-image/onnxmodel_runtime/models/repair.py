"""Repairs that ONNX Runtime makes by itself when it loads a model, made in a ModelProto for the tools that do not.

The file that was fetched stays as it is and is served as it is: ONNX Runtime takes it. The ONNX checker, shape inference
and the passes of the optimize stage work on the repaired model. What ONNX Runtime refuses, such as unsorted nodes in a
subgraph, is not repaired here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from onnxmodel_runtime.models import graph

_NAME = "graph"
_CONSTANTS = 4  # the IR version since which a weight need not be an input
_IMPORTS = {"ai.onnx.ml": 3, "com.microsoft": 1}  # domains that ONNX Runtime knows without an import


def repair(model: Any) -> list[tuple[str, str]]:
    """Repair the model in place. Returns (target, sentence) of each repair; empty for a sound model."""
    return [*_name(model), *_sort(model), *_imports(model), *_version(model), *_dynamic(model)]


def load(path: Path) -> Any:
    """Read a model as ONNX Runtime takes it: repaired, without the weights that lie in other files."""
    model = onnx.load_model(path, load_external_data=False)
    repair(model)
    return model


def checkable(model: Any) -> Any | None:
    """A copy with placeholders for the types and shapes that inputs and outputs may lack; None when none lacks any.

    The ONNX checker demands them; ONNX Runtime infers those of outputs, and takes inputs of any rank.
    """
    if not any(_lacking(value) for value in (*model.graph.input, *model.graph.output)):
        return None
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for value in made.graph.input:
        if value.type.WhichOneof("value") == "tensor_type":  # ONNX Runtime refuses an input without a type
            value.type.tensor_type.shape.SetInParent()
    for value in made.graph.output:
        if value.type.WhichOneof("value") is None:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        if value.type.WhichOneof("value") == "tensor_type":
            value.type.tensor_type.shape.SetInParent()
    return made


def _lacking(value: Any) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is None or (kind == "tensor_type" and not value.type.tensor_type.HasField("shape"))


def _name(model: Any) -> Iterator[tuple[str, str]]:
    if not model.graph.name:
        model.graph.name = _NAME
        yield "graph", "the graph has no name, which ONNX requires"


def _sort(model: Any) -> Iterator[tuple[str, str]]:
    nodes = list(model.graph.node)
    order = graph.topological(nodes)
    if order is None or order == list(range(len(nodes))):
        return
    first = next(index for index, place in enumerate(order) if place != index)
    name = graph.node_name(nodes[first])
    del model.graph.node[:]
    model.graph.node.extend([nodes[index] for index in order])
    yield name, f"nodes are not in topological order: node {name!r} comes before a node whose output it reads"


def _imports(model: Any) -> Iterator[tuple[str, str]]:
    known = {entry.domain for entry in model.opset_import}
    own = {function.domain for function in model.functions}
    used = {node.domain: node for node in reversed([*graph.nodes(model)])}
    for domain, version in _IMPORTS.items():
        if domain in used and domain not in known | own:
            model.opset_import.add(domain=domain, version=version)
            name = graph.node_name(used[domain])
            yield name, f"operators of {domain} are used, but no version of {domain} is imported: {version} is assumed"


def _version(model: Any) -> Iterator[tuple[str, str]]:
    if model.ir_version >= _CONSTANTS:
        return
    inputs = {value.name for value in model.graph.input}
    left = next((tensor.name for tensor in model.graph.initializer if tensor.name not in inputs), "")
    if left:
        old, model.ir_version = model.ir_version, _CONSTANTS
        yield (
            left,
            f"weight {left!r} is not among the inputs, as IR version {old} requires: read as IR version {_CONSTANTS}",
        )


def _dynamic(model: Any) -> Iterator[tuple[str, str]]:
    changed = []
    for value in graph.values(model):
        negative = [dim for dim in value.type.tensor_type.shape.dim if dim.dim_value == -1]
        for dim in negative:
            dim.ClearField("dim_value")
        if negative:
            changed.append(value.name)
    if changed:
        yield changed[0], f"tensors declare axes of size -1 ({len(changed)}): a dynamic axis has a name, or no value"
