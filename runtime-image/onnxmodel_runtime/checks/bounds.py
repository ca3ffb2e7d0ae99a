"""Upper bounds on the parts of a model. A part beyond its bound is not examined further."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime.checks import ATTRIBUTE, COUNT, DEPTH, NODES
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import size
from onnxmodel_runtime.models import graph

MAX_TENSORS = 64  # inputs, and outputs: as many as status lists
_STRING_BYTES = 1 << 20
_STRINGS_BYTES = 64 << 20
_MOST = 20
_Key = tuple[str, str, str]


def amounts(model: Any, max_nodes: int, max_depth: int) -> Iterator[Finding]:
    """Check the numbers of nodes, inputs and outputs, and the nesting."""
    count = deepest = 0
    where = ""
    for body, depth in graph.graphs(model):
        count += len(body.node)
        if depth > deepest:
            deepest, where = depth, body.name
        if count > max_nodes or deepest > max_depth:
            break  # how much more there is costs time, and changes nothing
    if count > max_nodes:
        yield NODES.error("graph", f"the model has at least {count:,} nodes, the limit is {max_nodes:,}")
    if deepest > max_depth:
        yield DEPTH.error(where, f"subgraph {where!r} is at least {deepest} levels deep, the limit is {max_depth}")
    for kind, found in (("inputs", len(graph.inputs(model))), ("outputs", len(model.graph.output))):
        if found > MAX_TENSORS:
            yield COUNT.error("graph", f"the model has {found} {kind}, the limit is {MAX_TENSORS}")


def attribute_sizes(model: Any) -> Iterator[Finding]:
    """Check the length of text in attributes."""
    found = 0
    for body, _ in graph.graphs(model):
        for node in body.node:
            for attribute in node.attribute:
                longest = max((len(text) for text in (attribute.s, *attribute.strings)), default=0)
                total = len(attribute.s) + sum(map(len, attribute.strings))
                if (longest > _STRING_BYTES or total > _STRINGS_BYTES) and (found := found + 1) <= _MOST:
                    yield ATTRIBUTE.error(
                        graph.node_name(node),
                        f"attribute {attribute.name!r} of node {graph.node_name(node)!r} ({node.op_type}) contains "
                        f"{size(total)} of text, {size(longest)} in one string",
                    )


def functions(model: Any, max_nodes: int, max_depth: int) -> Iterator[Finding]:
    """Check the number of nodes and the nesting once functions are inlined, as ONNX Runtime does.

    Call it only if no function is recursive.
    """
    known = {(function.domain, function.name, function.overload): function for function in model.functions}
    if not known:
        return
    calls = {key: _calls(function) for key, function in known.items()}
    costs: dict[_Key, int] = {}
    levels: dict[_Key, int] = {}
    for first in known:
        waiting = [first]
        while waiting:
            key = waiting[-1]
            first_time = [called for called in calls[key] if called in known and called not in costs]
            if first_time and key not in costs:
                waiting.extend(first_time)
                continue
            costs[key] = _total(calls[key], costs)
            levels[key] = 1 + max((levels.get(called, 0) for called in calls[key]), default=0)
            waiting.pop()
    total = _total(_calls(model.graph), costs)
    if total > max_nodes:
        name = max(costs, key=lambda key: costs[key])[1]
        # The number itself can have thousands of digits.
        shown = f"{total:,}" if total < 10**15 else "more than 10^15"
        yield NODES.error(
            name,
            f"the model has {shown} nodes with its functions inlined, the limit is {max_nodes:,}; the "
            f"largest is {name!r}",
        )
    deepest = max(levels, key=lambda key: levels[key])
    if levels[deepest] > max_depth:
        yield DEPTH.error(
            deepest[1],
            f"function {deepest[1]!r} nests function calls {levels[deepest]} levels deep, the limit is {max_depth}",
        )


def _calls(body: Any) -> Counter[_Key]:
    """Count the nodes of a body by the key under which a call names a function."""
    return Counter((node.domain, node.op_type, node.overload) for inner, _ in graph.opened(body) for node in inner.node)


def _total(calls: Counter[_Key], costs: dict[_Key, int]) -> int:
    return sum(count * costs.get(key, 1) for key, count in calls.items())
