"""Judge from the graph whether rows influence each other."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from onnxmodel_runtime.errors import clip, runtime_message
from onnxmodel_runtime.models import graph as graphs
from onnxmodel_runtime.models.repair import load
from onnxmodel_runtime.rows import INFLUENCED, REASON_CHARACTERS, extents
from onnxmodel_runtime.rows.extents import Size
from onnxmodel_runtime.rows.nodes import FEW
from onnxmodel_runtime.rows.values import Kind, Place, Shape, Value, rows
from onnxmodel_runtime.rows.walk import Walk


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a graph. apart: True if each row's outputs depend on that row alone, None if that is not known.

    why: a sentence that names the node and its operator; "" if apart.
    """

    apart: bool | None
    why: str = ""

    @property
    def unjoined(self) -> str:
        """The reason why requests must not be batched; "" if they may be."""
        if self.apart:
            return ""
        return f"{'' if self.apart is False else 'it is not known whether '}{INFLUENCED}: {self.why}"


def judge_file(path: Path) -> Verdict:
    """Judge a file. The verdict on one that cannot be read is "not known"."""
    if path.suffix == ".ort":
        return Verdict(None, "a graph in the ORT format cannot be traced")
    try:
        return judge_graph(load(path))
    except Exception as error:
        return Verdict(None, clip(f"cannot read the model: {runtime_message(error)}", REASON_CHARACTERS))


def judge_graph(model: Any) -> Verdict:
    """Trace the batch from the first axis of every input to the outputs, whose first axis it must be too."""
    try:
        found = follow(model, dict.fromkeys((value.name for value in graphs.inputs(model)), 0))
    except Exception as error:  # recursion, a graph that is none
        return Verdict(None, clip(f"cannot trace the graph: {runtime_message(error)}", REASON_CHARACTERS))
    verdicts = [_of_output(name, value) for name, value in found.items()]
    harmful = [verdict for verdict in verdicts if not verdict.apart]
    return min(harmful, key=lambda verdict: verdict.apart is None, default=Verdict(True))


def follow(model: Any, axes: Mapping[str, int | None]) -> dict[str, Value]:
    """Trace the graph, and return the known facts of each output. axes: the batch's by input; None for none."""
    model = _light(model)
    walk = Walk({entry.domain if entry.domain not in graphs.STANDARD else "": entry.version for entry in model.opset_import},
                _inferred(model))  # fmt: skip
    around = {value.name: _input(value, axes.get(value.name)) for value in graphs.inputs(model)}
    values = walk.graph(model.graph, around)
    return {value.name: values[value.name] for value in model.graph.output}


def _of_output(name: str, value: Value) -> Verdict:
    name = clip(name, 100)
    match value.kind:
        case Kind.MIXED:
            return Verdict(False, clip(value.why, REASON_CHARACTERS))
        case Kind.UNKNOWN:
            return Verdict(None, clip(value.why, REASON_CHARACTERS))
        case Kind.NUMBER | Kind.ROWS if value.kind is Kind.NUMBER or value.indexed:
            return Verdict(False, f"the output {name!r} numbers the rows of the batch")
        case Kind.EVEN if (
            value.shape and value.shape[0] == extents.ROWS and not any(map(extents.of_batch, value.shape[1:]))
        ):
            return Verdict(True)
        case Kind.ROWS if value.place is not None and value.place.axis == 0 and value.place.outer == 1:
            # Where the size is not known, the server sees whether there is one row for each.
            if value.place.inner == 1 or isinstance(value.place.inner, extents.Symbols):
                return Verdict(True)
    return Verdict(False, f"the output {name!r} does not have one row for each row of the batch")


def _input(value: Any, batch: int | None) -> Value:
    dims = value.type.tensor_type.shape.dim
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return Value(Kind.UNKNOWN, why=f"the input {clip(value.name, 100)!r} has no shape")
    shape: list[Size] = []
    for axis, dim in enumerate(dims):
        fixed = dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0
        shape.append(int(dim.dim_value) if fixed else extents.symbol(dim.dim_param or f"{value.name}.{axis}"))
    if batch is None:
        return Value(Kind.CONSTANT, tuple(shape))
    if batch >= len(shape):
        return Value(Kind.UNKNOWN, why=f"the input {clip(value.name, 100)!r} has no axis for a batch")
    return rows(shape, Place(batch))


def _light(model: Any) -> Any:
    """A copy without weights and without local functions. Shapes that are written down may be old: they are inferred."""
    made = onnx.ModelProto()
    made.CopyFrom(model) if model.ByteSize() < 1 << 24 else _copied(model, made)
    for tensor in graphs.tensors(made):
        if graphs.elements(tensor.dims) > FEW:
            _emptied(tensor)
    for graph, _ in graphs.graphs(made):
        if hasattr(graph, "value_info"):
            del graph.value_info[:]
    if made.functions:
        from onnx.inliner import inline_local_functions

        made = inline_local_functions(made)
    return made


def _copied(model: Any, made: Any) -> None:
    """The same without ever holding its weights twice."""
    for name in ("ir_version", "producer_name"):
        setattr(made, name, getattr(model, name))
    made.opset_import.extend(model.opset_import)
    made.functions.extend(model.functions)
    for tensor in model.graph.initializer:
        if graphs.elements(tensor.dims) > FEW:
            made.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        else:
            made.graph.initializer.add().CopyFrom(tensor)
    made.graph.name = model.graph.name
    for name in ("node", "input", "output", "sparse_initializer"):
        getattr(made.graph, name).extend(getattr(model.graph, name))


def _emptied(tensor: Any) -> None:
    for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data"):
        tensor.ClearField(name)


def _inferred(model: Any) -> dict[str, Shape]:
    """Numbers that ONNX's own inference finds, and symbols where it finds none.

    Two branches may use one name for two tensors: such a name says nothing of either.
    """
    try:
        found = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # it knows no operators of other domains, and refuses some graphs that run
        return {}
    made = Counter(name for node in graphs.nodes(found) for name in node.output)
    return {
        value.name: tuple(
            int(dim.dim_value) if dim.WhichOneof("value") == "dim_value" else extents.symbol(f"{value.name}.{axis}")
            for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        )
        for graph, _ in graphs.graphs(found)
        if hasattr(graph, "value_info")
        for value in graph.value_info
        if made[value.name] == 1 and value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")
    }
