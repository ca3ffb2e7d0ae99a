"""Which nodes compute with a constant, and which only select from it or compare with it.

torch.where(mask, nan, y) holds NaN on purpose; a weight that is multiplied holds it because the training diverged.
"""

from collections import defaultdict
from typing import Any

from onnxmodel_runtime import graph

_PASS_ON = {"Constant", "ConstantOfShape", "Identity", "Cast", "CastLike", "Reshape", "Expand", "Unsqueeze", "Squeeze"}
_PASS_ON |= {"Flatten", "Transpose", "Tile", "Slice", "Split", "Concat"}
_SELECT = {"Where", "Pad", "Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Compress", "OneHot"}
_SELECT |= {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "IsInf", "Shape", "Size"}
_SELECTING = {
    "membership_values",
    "nodes_splits",
}  # attributes: TreeEnsemble compares with them, and separates sets by NaN
_SELECT |= {"Imputer", "LabelEncoder", "DictVectorizer", "ArrayFeatureExtractor"}  # of ai.onnx.ml


class Readers:
    """Who reads a model's constants."""

    def __init__(self, model: Any) -> None:
        self._readers: dict[str | None, list[Any]] = defaultdict(list)
        # By identity: these have no names. The tensor is kept, for protobuf makes another object of it when none is left.
        self._owners: dict[int, tuple[Any, Any]] = {}
        for node in graph.nodes(model):
            for name in node.input:
                self._readers[name].append(node)
            for attribute in node.attribute:
                for tensor in graph.attribute_tensors(attribute):
                    selects = attribute.name in _SELECTING
                    self._owners[id(tensor)] = (tensor, None if selects else node)

    def computing(self, tensor: Any) -> str:
        """The name of a node that computes with this constant, directly or once it is cast or reshaped; "" for none."""
        _, owner = self._owners.get(id(tensor), (None, None))
        waiting, seen = [owner] if owner is not None else [*self._readers.get(tensor.name or None, ())], set()
        while waiting:
            node = waiting.pop()
            if id(node) in seen or node.op_type in _SELECT:
                continue
            seen.add(id(node))
            if node.op_type not in _PASS_ON:
                return graph.node_name(node)
            for name in node.output:
                waiting.extend(self._readers[name])
        return ""
