"""Detect models that pass on strings unchanged.

ONNX Runtime's Python API carries strings as text, so that bytes that are not UTF-8 cannot pass. Where no node looks at
a string, and no string of the model's own comes out, they can pass in disguise: each byte as a character.
"""

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto

_MOVES = frozenset(
    {"Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Tile", "Transpose", "Unsqueeze"}
)
"""Operators whose first input comes out, moved or repeated."""
_COUNTS = frozenset({"Shape", "Size"})


def handed_on(path: Path) -> bool:
    """Return whether every string that the model in a file returns is one of its inputs. False if that is not known."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError):
        return False
    return _handed_on(model.graph)


def _handed_on(graph: Any) -> bool:
    own = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    given = {value.name for value in graph.input if _is_string(value)}
    if given & own:
        return False  # a request may leave it out
    known = own | {value.name for value in graph.input} | {""}
    for node in graph.node:
        if not known.issuperset(node.input) or any(item.type in _SUBGRAPHS for item in node.attribute):
            return False  # what is not sorted, and what a subgraph takes from outside, is not followed
        known.update(node.output)
        used = [name in given for name in node.input]
        if not any(used) or (not node.domain and node.op_type in _COUNTS):
            continue
        moved = node.op_type in _MOVES and used[0] and not any(used[1:])
        if node.domain or not (moved or (node.op_type == "Concat" and all(used))):
            return False
        given.update(node.output)
    return all(value.name in given for value in graph.output if _is_string(value))


_SUBGRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _is_string(value: Any) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.STRING)
