"""Tensors whose size the values of a request decide: 160 bytes of model and 16 bytes of request can ask for any memory.

Values are followed from the graph's inputs to where an operator takes a size. What an operator bounds by the shapes of its
inputs, or by a constant, is not followed further; neither is an index into a table. A call of a local function is followed
through its body.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from onnxmodel_runtime.checks import MEMORY
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.models import graph

_MOST = 20
# Operator -> its inputs that say how large its output is.
_SIZES: Mapping[str, Collection[int]] = {
    **dict.fromkeys(("ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
    **dict.fromkeys(("Expand", "Tile", "Upsample", "Pad", "OneHot", "CenterCropPad", "Col2Im", "AffineGrid", "DFT"), (1,)),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
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
    """Report nodes of standard operators whose output is as large as a value of the request.

    Calls of local functions must end, and nest no deeper than Python's stack: bounds.functions checks that.
    """
    given = {value.name: value.name for value in graph.inputs(model)}
    for count, (node, source) in enumerate(_Follower(model).sized(model.graph, given)):
        if count == _MOST:
            return
        name = graph.node_name(node)
        yield MEMORY.warning(
            name,
            f"the values of input {source!r} determine the size of the output of node {name!r} "
            f"({node.op_type}): one request can ask for more memory than the server has",
            "Limit the size in the model (Clip or Min with a constant), or accept requests only from "
            "trusted clients: a server that runs out of memory is killed and restarted.",
        )


@dataclass
class _Called:
    """A function's body for one set of inputs that carry values; all by the names of its own inputs.

    sized: nodes, each with the input that decides; carried: output -> the input whose values it carries.
    """

    sized: list[tuple[Any, str]]
    carried: dict[str, str]


class _Follower:
    """Follows values through a model's graphs; a function's body once for each set of inputs that carry any."""

    def __init__(self, model: Any) -> None:
        self._functions = {(each.domain, each.name, each.overload): each for each in model.functions}
        self._called: dict[tuple[str, str, str, frozenset[str]], _Called] = {}

    def sized(self, body: Any, carried: dict[str, str]) -> Iterator[tuple[Any, str]]:
        """The nodes, each with the input that decides. carried: tensor -> the input whose values it carries; is added to."""
        for node in body.node:
            function = self._functions.get((node.domain, node.op_type, node.overload))
            if function is not None:
                yield from self._through(function, node, carried)
                continue
            standard = node.domain in graph.STANDARD
            for index in _sizes(node) if standard else ():
                if index < len(node.input) and node.input[index] in carried:
                    yield node, carried[node.input[index]]
                    break
            source = next((carried[name] for name in graph.reads(node) if name in carried), "")
            for inner in graph.subgraphs(node):
                own = dict.fromkeys((value.name for value in inner.input), source) if source else {}
                yield from self.sized(inner, {**carried, **own})
            if source and standard:
                source = _carries(node, carried)
            carried |= dict.fromkeys(filter(None, node.output), source) if source else {}

    def _through(self, function: Any, node: Any, carried: dict[str, str]) -> Iterator[tuple[Any, str]]:
        given = dict(zip(function.input, node.input, strict=False))
        sources = {name: carried[actual] for name, actual in given.items() if actual in carried}
        called = self._body(function, frozenset(sources))
        yield from ((inner, sources[name]) for inner, name in called.sized)
        for name, actual in zip(function.output, node.output, strict=False):
            if actual and name in called.carried:
                carried[actual] = sources[called.carried[name]]

    def _body(self, function: Any, names: frozenset[str]) -> _Called:
        key = (function.domain, function.name, function.overload, names)
        if key not in self._called:
            carried = {name: name for name in names}
            sized = list(islice(self.sized(function, carried), _MOST)) if names else []
            self._called[key] = _Called(sized, carried)
        return self._called[key]


def _sizes(node: Any) -> Collection[int]:
    """The inputs of a standard operator that say how large its outputs are."""
    if node.op_type == "Loop":  # as many rows of each scan output, which come last, as trips
        return (0,) if any(node.output[max(len(node.input) - 2, 0) :]) else ()
    return _SIZES.get(node.op_type, ())


def _carries(node: Any, carried: Mapping[str, str]) -> str:
    """The input whose values the outputs of a standard operator carry without a bound; "" for none."""
    read = [name for name in graph.reads(node) if name]
    fixed = [name for name in read if name not in carried]
    if node.op_type in _BOUNDED or (node.op_type == "Min" and fixed):
        return ""
    if node.op_type == "Clip" and _has_most(node, fixed):
        return ""
    if node.op_type == "Mod" and node.input[1] in fixed:
        return ""
    if node.op_type in _VALUES:
        read = [node.input[index] for index in _VALUES[node.op_type] if index < len(node.input)]
    return next((carried[name] for name in read if name in carried), "")


def _has_most(clip: Any, fixed: Collection[str]) -> bool:
    """Return whether a Clip has a constant maximum: an input, or before opset 11 an attribute."""
    if len(clip.input) > 2:
        return clip.input[2] in fixed
    return any(attribute.name == "max" for attribute in clip.attribute)
