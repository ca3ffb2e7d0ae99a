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
_SELECT |= {"Imputer", "LabelEncoder", "DictVectorizer", "ArrayFeatureExtractor"}  # of ai.onnx.ml


class Readers:
    """Who reads a model's constants."""

    def __init__(self, model: Any) -> None:
        self._readers: dict[str, list[Any]] = defaultdict(list)
        self._owners: dict[int, Any] = {}
        for node in graph.nodes(model):
            for name in node.input:
                self._readers[name].append(node)
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    self._owners[id(attribute.t)] = node

    def computing(self, tensor: Any) -> str:
        """The name of a node that computes with this constant, directly or once it is cast or reshaped; "" for none."""
        owner = self._owners.get(id(tensor))
        waiting, seen = [owner] if owner is not None else [*self._readers[tensor.name]], set()
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
