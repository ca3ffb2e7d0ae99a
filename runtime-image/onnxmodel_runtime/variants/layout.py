"""Models on their way from pass to pass: a file with the graph, and files beside it with the weights.

A pass reads the graph alone, and of the weights what it needs: a model of gigabytes is never in memory as a whole just
to drop a node of it. All files of one stage lie in one folder, which is the working directory of the processes that make
variants: ONNX looks for weights there, and a pass that keeps a weight refers to the file where it lies already.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import onnx
from onnx import TensorProto
from onnx.inliner import inline_local_functions

from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.repair import repair
from onnxmodel_runtime.sandbox.progress import log

EXTERNAL_ABOVE = 1 << 30  # bytes of a variant: protobuf ends at 2 GiB, and writing one takes the same again in memory
OPERATORS_FILE = "required_operators.config"
_SEPARATE = 1024  # bytes of a weight that are worth a place of their own
_PIECE = 1 << 20
_CONSTANTS = 4  # the IR version since which a weight need not be an input
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # fields of ModelProto, GraphProto and TensorProto


def load(path: Path) -> Any:
    """Load the graph, without the weights in other files."""
    return onnx.load_model(path, load_external_data=False)


def lay_out(source: Path, target: Path) -> None:
    """Lay out the first model: the original, with the repairs that ONNX Runtime makes and the passes' tools do not."""
    model = load(source)
    repair(model)
    if model.functions:  # as ONNX Runtime does: tools look into the main graph alone
        model = inline_local_functions(model)
    onnx.load_external_data_for_model(model, str(source.parent))
    if model.ir_version < _CONSTANTS:
        # Then every weight is an input too, by rule: what changes the graph later does not keep to that.
        model.ir_version = _CONSTANTS
        inputs = graph.inputs(model)
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    save(model, target)


def name_nodes(model: Any) -> None:
    """Give every node of the main graph a unique name, because tools refer to nodes by name."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_unnamed_{index}"
        taken.add(node.name)


def inferred(model: Any) -> Any:
    """Return the graph with the types and shapes of as many tensors as can be inferred without its weights."""
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    try:
        return SymbolicShapeInference.infer_shapes(model, auto_merge=True) or model
    except Exception as error:  # it raises whatever comes up, and ONNX's own knows the standard operators
        log(f"shapes are inferred by ONNX alone: {error!r}"[:300])
        return onnx.shape_inference.infer_shapes(model)


def save(model: Any, path: Path, *, shapes: bool = False) -> None:
    """Write the graph, and those weights that are in memory to a file of its own beside it.

    shapes: keep what was inferred, for a tool that needs it; ONNX Runtime infers it by itself.
    """
    if not shapes:
        del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        if tensor.HasField("raw_data") and tensor.data_location == TensorProto.EXTERNAL:
            # onnxslim changed a weight's values and left the note where the old ones are.
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= _SEPARATE:
                _append(tensor, file, data.name)
    path.write_bytes(model.SerializeToString(deterministic=True))


def publish(source: Path, folder: Path, *, external: bool) -> Path:
    """Publish the variant as it is served: one file, or one with all weights in one file beside it."""
    folder.mkdir(parents=True)
    if source.suffix == ".ort":
        target = folder / "model.ort"
        shutil.move(source, target)
        shutil.move(operators(source), folder / OPERATORS_FILE)
        return target
    model, target = load(source), folder / MODEL_FILE
    del model.graph.value_info[:]
    for tensor in graph.inner_tensors(model):  # tools write those of subgraphs beside the model too
        if tensor.data_location == TensorProto.EXTERNAL:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(source.parent))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    if external:
        _gather(model, source.parent, target)
    else:
        _embed(model, source.parent, target)
    return target


def operators(model: Path) -> Path:
    """Write the list of the operators that an ORT file needs beside it."""
    return model.with_suffix(".config")


def size(model: Any) -> int:
    """Return the bytes of the graph and of all weights, wherever they are."""
    return int(model.ByteSize()) + sum(_length(tensor) for tensor in model.graph.initializer)


def interface(model: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the interface for callers: the names and datatypes of inputs and outputs."""
    values = {"inputs": graph.inputs(model), "outputs": model.graph.output}
    return {
        kind: sorted((value.name, graph.describe(value).datatype) for value in found) for kind, found in values.items()
    }


def likeness(model: Any) -> Any:
    """Return a value that is equal for models that differ in names at most: operators, weights' types and shapes."""
    kinds = Counter((node.domain, node.op_type) for node in graph.nodes(model))
    return kinds, Counter((tensor.data_type, *tensor.dims) for tensor in model.graph.initializer)


def _gather(model: Any, folder: Path, target: Path) -> None:
    """All weights that lie elsewhere into one file, piece by piece."""
    data = target.with_name(f"{target.name}.data")
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                _append(tensor, file, data.name, folder)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _embed(model: Any, folder: Path, target: Path) -> None:
    """All weights into the file of the graph. protobuf's own writer takes the model's size five times over for that.

    A message is its fields, one after the other: of the graph, and of each weight, raw_data is written last.
    """
    weights = [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    heads = [_head(tensor) for tensor in weights]
    kept = [tensor for tensor in model.graph.initializer if tensor.data_location != TensorProto.EXTERNAL]
    around, inside = onnx.ModelProto(), onnx.GraphProto()
    inside.CopyFrom(model.graph)
    del inside.initializer[:]
    inside.initializer.extend(kept)
    around.CopyFrom(model)
    around.ClearField("graph")
    start = inside.SerializeToString(deterministic=True)
    fields = [_field(_INITIALIZER, len(head) + _length(tensor)) for tensor, head in zip(weights, heads, strict=True)]
    total = len(start) + sum(len(field) + len(head) for field, head in zip(fields, heads, strict=True))
    total += sum(_length(tensor) for tensor in weights)
    with target.open("wb") as file:
        file.write(around.SerializeToString(deterministic=True) + _field(_GRAPH, total) + start)
        for tensor, field, head in zip(weights, fields, heads, strict=True):
            file.write(field + head)
            _copy(tensor, folder, file)


def _head(tensor: Any) -> bytes:
    """A weight up to its data."""
    plain = TensorProto()
    plain.CopyFrom(tensor)
    plain.ClearField("external_data")
    plain.ClearField("data_location")
    return bytes(plain.SerializeToString(deterministic=True)) + _field(_RAW_DATA, _length(tensor))


def _field(number: int, length: int) -> bytes:
    """The start of a field with a length, in protobuf's encoding."""
    out, rest = bytearray(), length
    out.append(number << 3 | 2)
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _copy(tensor: Any, folder: Path, file: BinaryIO) -> None:
    entries = graph.external(tensor)
    with (folder / entries["location"]).open("rb") as source:
        source.seek(int(entries.get("offset", 0)))
        left = _length(tensor)
        while left:
            piece = source.read(min(left, _PIECE))
            if not piece:
                raise EOFError(f"the data of weight {tensor.name!r} is truncated")
            left -= file.write(piece)


def _append(tensor: Any, file: BinaryIO, name: str, folder: Path | None = None) -> None:
    """Put a weight's data to the end of a file, and say in the graph that they are there."""
    file.seek(-file.tell() % 4096, 1)  # ONNX Runtime maps what starts at a page, and reads what does not
    offset = file.tell()
    if folder is None:
        file.write(tensor.raw_data)
        tensor.ClearField("raw_data")
    else:
        _copy(tensor, folder, file)
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", offset), ("length", file.tell() - offset)):
        tensor.external_data.add(key=key, value=str(value))


def _length(tensor: Any) -> int:
    return int(graph.external(tensor).get("length", 0))
