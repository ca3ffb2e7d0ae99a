"""Check that the graph is a graph: each tensor written once, no circles, no recursive functions.

These walks are our own, and run before the checker or ONNX Runtime follow the same edges with native recursion.
"""

from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime.checks import CYCLE, DIMENSION, DUPLICATE, RECURSION
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.models import graph

_MOST = 20
_Key = tuple[str, str, str]


def recursion(model: Any) -> Iterator[Finding]:
    """Report recursive functions, each with the path that leads back to it."""
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    calls = {key: _calls(function, functions) for key, function in functions.items()}
    done: set[_Key] = set()
    for start in calls:
        if start in done:
            continue
        path, rest, above = [start], [iter(calls[start])], {start}
        while path:
            following = next(rest[-1], None)
            if following is None:
                rest.pop()
                above.remove(path[-1])
                done.add(path.pop())
            elif following in above:
                names = [key[1] for key in (*path[path.index(following) :], following)]
                shown = " → ".join(names if len(names) <= 6 else [*names[:3], "…", *names[-2:]])
                yield RECURSION.error(names[0], f"function {names[0]!r} of the model calls itself: {shown}")
                return  # one circle is enough: what is in it is reached from everywhere else too
            elif following not in done:
                path.append(following)
                above.add(following)
                rest.append(iter(calls[following]))


def _calls(function: Any, functions: dict[_Key, Any]) -> list[_Key]:
    keys = ((node.domain, node.op_type, node.overload) for body, _ in graph.opened(function) for node in body.node)
    return list(dict.fromkeys(key for key in keys if key in functions))


def duplicates(model: Any) -> Iterator[Finding]:
    """Report tensors that are written twice within one graph."""
    count = 0
    for body, _ in graph.graphs(model):
        writers = {(value if isinstance(value, str) else value.name): "an input of the graph" for value in body.input}
        for tensor in getattr(body, "initializer", ()):
            writers[tensor.name] = "an initializer"
        for node in body.node:
            for name in node.output:
                if not name:
                    continue  # an output that nobody asked for
                if name in writers and (count := count + 1) <= _MOST:
                    yield DUPLICATE.error(
                        name,
                        f"tensor {name!r} is written by node {graph.node_name(node)!r} ({node.op_type}) and by "
                        f"{writers[name]}",
                    )
                writers[name] = f"node {graph.node_name(node)!r} ({node.op_type})"


def cycles(model: Any) -> Iterator[Finding]:
    """Report nodes that can never run, because each waits for another one of them."""
    count = 0
    for body, _ in graph.graphs(model):
        stuck = _stuck(body)
        if stuck and (count := count + 1) <= _MOST:
            names = [f"{graph.node_name(node)} ({node.op_type})" for node in stuck]
            yield CYCLE.error(
                graph.node_name(stuck[0]),
                f"nodes depend on each other in a cycle: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}",
            )


def _stuck(body: Any) -> list[Any]:
    nodes = list(body.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waits: list[set[int]] = []
    wakes: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        needed = {maker[name] for name in graph.reads(node) if name in maker}
        waits.append(needed)
        for other in needed:
            wakes[other].append(index)
    left = [len(needed) for needed in waits]
    ready = [index for index, number in enumerate(left) if not number]
    while ready:
        for index in wakes[ready.pop()]:
            left[index] -= 1
            if not left[index]:
                ready.append(index)
    waiting = {index for index, number in enumerate(left) if number}
    return [nodes[index] for index in _circle(waiting, waits)]


def _circle(waiting: set[int], waits: list[set[int]]) -> list[int]:
    """A circle among what waits: whoever waits, waits for one that waits. The rest only follows it."""
    if not waiting:
        return []
    at, seen = min(waiting), list[int]()
    places: dict[int, int] = {}
    while at not in places:
        places[at] = len(seen)
        seen.append(at)
        at = min(waits[at] & waiting)
    return seen[places[at] :]


def dimensions(model: Any) -> Iterator[Finding]:
    """Report dimensions below -1. Native code takes any negative one for dynamic, and so does repair.py."""
    found = 0
    for value in graph.values(model):
        dims = value.type.tensor_type.shape.dim
        worst = min((dim.dim_value for dim in dims), default=0)
        if worst < -1 and (found := found + 1) <= _MOST:
            shape = [dim.dim_param or dim.dim_value for dim in dims[: graph.MAX_RANK]]
            message = f"tensor {value.name!r} is declared with shape {shape}: {worst} is not a valid size"
            yield DIMENSION.error(value.name, message)
