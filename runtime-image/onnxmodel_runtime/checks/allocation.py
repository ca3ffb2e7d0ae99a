"""Tensors whose size the values of a request decide: 160 bytes of model and 16 bytes of request can ask for any memory.

Values are followed from the graph's inputs to where an operator takes a size. What an operator bounds by the shapes of its
inputs, or by a constant, is not followed further; neither is an index into a table.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from onnxmodel_runtime import graph
from onnxmodel_runtime.checks import MEMORY
from onnxmodel_runtime.contract import Finding

_MOST = 20
# Operator -> its inputs that say how large its output is.
_SIZES: Mapping[str, Collection[int]] = {
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("Expand", "Tile", "Upsample", "Pad", "OneHot", "CenterCropPad", "Col2Im", "AffineGrid", "DFT"), (1,)),
    "MaxUnpool": (2,),
    "Resize": (2, 3),
    "Range": (0, 1, 2),
}  # fmt: skip
# Operators whose output values are bounded whatever their inputs' values are.
_BOUNDED = frozenset(
    ("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "ConstantOfShape", "Sign", "Sigmoid", "Tanh", "Softmax", "Hardmax")
) | frozenset(
    ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf")
)  # fmt: skip
# Operators that take their output's values from these inputs alone.
_VALUES: Mapping[str, Collection[int]] = {
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "Slice", "Expand", "Tile", "Reshape", "Transpose"), (0,)),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Compress"), (0,)),
    "OneHot": (2,),
    "Where": (1, 2),
}  # fmt: skip


def by_values(model: Any) -> Iterator[Finding]:
    """Nodes of standard operators whose output is as large as a request's values say."""
    given = {value.name: value.name for value in graph.inputs(model)}
    for count, (node, source) in enumerate(_sized(model.graph, given)):
        if count == _MOST:
            return
        name = graph.node_name(node)
        yield MEMORY.warning(
            name,
            f"the values of input {source!r} decide how large a tensor node {name!r} ({node.op_type}) makes: one request can "
            "ask for more memory than the server has",
            "Bound the size in the model (Clip or Min with a constant), or let only clients that you trust ask: a server that "
            "runs out of memory ends, and is started again.",
        )


def _sized(body: Any, around: Mapping[str, str]) -> Iterator[tuple[Any, str]]:
    """The nodes, each with the input that decides. around: tensor -> the input whose values it carries."""
    carried = dict(around)
    for node in body.node:
        standard = node.domain in graph.STANDARD
        for index in _SIZES.get(node.op_type, ()) if standard else ():
            if index < len(node.input) and node.input[index] in carried:
                yield node, carried[node.input[index]]
                break
        source = next((carried[name] for name in graph.reads(node) if name in carried), "")
        for inner in graph.subgraphs(node):
            own = dict.fromkeys((value.name for value in inner.input), source) if source else {}
            yield from _sized(inner, {**carried, **own})
        if source and standard:
            source = _carries(node, carried)
        carried |= dict.fromkeys(filter(None, node.output), source) if source else {}


def _carries(node: Any, carried: Mapping[str, str]) -> str:
    """The input whose values the outputs of a standard operator carry without a bound; "" for none."""
    read = [name for name in graph.reads(node) if name]
    fixed = [name for name in read if name not in carried]
    if node.op_type in _BOUNDED or (node.op_type == "Min" and fixed):
        return ""
    if node.op_type == "Clip" and len(node.input) > 2 and node.input[2] in fixed:
        return ""
    if node.op_type == "Mod" and node.input[1] in fixed:
        return ""
    if node.op_type in _VALUES:
        read = [node.input[index] for index in _VALUES[node.op_type] if index < len(node.input)]
    return next((carried[name] for name in read if name in carried), "")
