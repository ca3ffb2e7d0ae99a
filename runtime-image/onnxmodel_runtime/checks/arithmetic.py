"""Distinguish nodes that compute with a constant from those that only select from it or compare with it.

torch.where(mask, nan, y) holds NaN on purpose; a weight that is multiplied holds it because the training diverged.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from onnxmodel_runtime.models import graph

_PASS_ON = {"Constant", "ConstantOfShape", "Identity", "Cast", "CastLike", "Reshape", "Expand", "Unsqueeze", "Squeeze"}
_PASS_ON |= {"Flatten", "Transpose", "Tile", "Slice", "Split", "Concat"}
_SELECT = {"Where", "Pad", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Compress", "OneHot"}
_COMPARE = {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "IsInf", "Shape", "Size"}
_SELECT |= _COMPARE
_SELECTING = {
    "membership_values",
    "nodes_splits",
}  # attributes: TreeEnsemble compares with them, and separates sets by NaN
_SELECT |= {"Imputer", "LabelEncoder", "DictVectorizer", "ArrayFeatureExtractor"}  # of ai.onnx.ml


class Readers:
    """The nodes that read a model's constants."""

    def __init__(self, model: Any) -> None:
        self._readers: dict[str | None, list[Any]] = defaultdict(list)
        # By identity: these have no names. The tensor is kept, for protobuf makes another object of it when none is left.
        self._owners: dict[int, tuple[Any, Any]] = {}
        self._same: dict[str, list[str]] = defaultdict(list)  # names of the same tensor on both sides of a subgraph
        self._outputs = [value.name for value in model.graph.output]
        for node in graph.nodes(model):
            pairs = [*_through(node)]
            for one, other in pairs:
                self._same[one].append(other)
            passed = {one for one, _ in pairs}
            for name in node.input:
                if name not in passed:
                    self._readers[name].append(node)
            for attribute in node.attribute:
                for tensor in graph.attribute_tensors(attribute):
                    selects = attribute.name in _SELECTING
                    self._owners[id(tensor)] = (tensor, None if selects else node)

    def computing(self, tensor: Any) -> str:
        """Return the name of a node that computes with this constant, directly or once cast or reshaped.

        "" for none.
        """
        for node in self._behind(tensor, lambda node: node.op_type in _PASS_ON):
            if node.op_type not in _PASS_ON and node.op_type not in _SELECT:
                return graph.node_name(node)
        return ""

    def reached(self, tensor: Any) -> set[str]:
        """Return the model's outputs that may hold this constant, or a result computed with it."""
        names: set[str] = set()
        for _ in self._behind(tensor, lambda node: node.op_type not in _COMPARE, names):
            pass
        return names.intersection(self._outputs)

    def _behind(self, tensor: Any, passes: Callable[[Any], bool], names: set[str] | None = None) -> Iterator[Any]:
        """The nodes that read the constant, and those behind nodes that pass it on. names: takes those of the tensors."""
        names = set() if names is None else names
        _, owner = self._owners.get(id(tensor), (None, None))
        nodes, waiting, seen = [owner] if owner is not None else [], [tensor.name] if owner is None else [], set()
        while nodes or waiting:
            while waiting:
                if (name := waiting.pop()) and name not in names:
                    names.add(name)
                    waiting.extend(self._same[name])
                    nodes.extend(self._readers[name])
            if not nodes:
                return
            node = nodes.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            if passes(node):
                waiting.extend(node.output)


def _through(node: Any) -> Iterator[tuple[str, str]]:
    """Pairs of names, of which the second takes what the first one has: into a body, round a loop, and out of it."""
    for body in graph.subgraphs(node):
        ends = [value.name for value in body.output]
        starts = [value.name for value in body.input]
        match node.op_type:
            case "Loop":  # trips and condition first
                yield from zip(node.input[2:], starts[2:], strict=False)
                yield from zip(ends[1:], starts[2:], strict=False)
                yield from zip(ends[1:], node.output, strict=False)
            case "Scan":
                yield from zip(node.input, starts, strict=False)
                yield from zip(ends, starts[: len(node.input) - _scanned(node)], strict=False)
                yield from zip(ends, node.output, strict=False)
            case _:
                yield from zip(ends, node.output, strict=False)


def _scanned(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "num_scan_inputs"), 0)
