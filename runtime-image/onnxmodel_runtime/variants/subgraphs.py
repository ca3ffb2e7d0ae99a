"""Leave the bodies of If, Loop and Scan unchanged in a model whose main graph is converted.

A body reads tensors of the graphs around it by name, which converters of ONNX Runtime do not follow.
"""

from collections.abc import Iterator
from typing import Any

from onnx import TensorProto, helper

from onnxmodel_runtime.models import graph

_SUFFIX = "_for_subgraphs"


def keep(model: Any) -> list[str]:
    """Give bodies tensors of their own, in FP32, and return the names of the nodes that must not be converted.

    A weight that a body reads is copied; a tensor that is computed passes through an Identity. Nodes have names.
    """
    holders = [node for node in model.graph.node if _bodies(node)]
    if not holders:
        return []
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    computed = {name for node in model.graph.node for name in node.output}
    computed |= {value.name for value in graph.inputs(model)}
    renamed: dict[str, str] = {}
    blocked = [node.name for node in holders]
    for name in sorted(name for node in holders for body in _bodies(node) for name in _captured(body)):
        if name in renamed or not (name in computed or name in weights):
            continue
        if name in weights and weights[name].data_type != TensorProto.FLOAT:
            continue
        renamed[name] = f"{name}{_SUFFIX}"
        if name in weights:
            copy = model.graph.initializer.add()
            copy.CopyFrom(weights[name])
            copy.name = renamed[name]
        else:
            blocked.append(renamed[name])
            model.graph.node.append(helper.make_node("Identity", [name], [renamed[name]], renamed[name]))
    for node in holders:
        for body in _bodies(node):
            _rename(body, renamed)
    sort(model.graph)
    return blocked


def sort(main: Any) -> None:
    """Sort the nodes topologically. Raises ValueError for a circle."""
    nodes = list(main.node)
    order = graph.topological(nodes)
    if order is None:
        raise ValueError("its nodes depend on each other in a cycle")
    del main.node[:]
    main.node.extend(nodes[index] for index in order)


def prune(main: Any) -> None:
    """Drop nodes and weights that neither an output, a node nor a body reads."""
    nodes = list(main.node)
    while True:
        read = {value.name for value in main.output} | {name for node in nodes for name in _read(node)}
        kept = [node for node in nodes if read.intersection(node.output)]
        if len(kept) == len(nodes):
            break
        nodes = kept
    weights = [tensor for tensor in main.initializer if tensor.name in read]
    del main.node[:]
    main.node.extend(nodes)
    del main.initializer[:]
    main.initializer.extend(weights)


def _bodies(node: Any) -> list[Any]:
    return list(graph.subgraphs(node))


def _read(node: Any) -> Iterator[str]:
    yield from node.input
    for body in _bodies(node):
        yield from _captured(body)


def _defined(body: Any) -> set[str]:
    names = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    return names | {name for node in body.node for name in node.output}


def _captured(body: Any) -> set[str]:
    """Names that a body, or one within it, takes from the graphs around it."""
    names = {name for node in body.node for name in _read(node) if name} | {value.name for value in body.output}
    return names - _defined(body)


def _rename(body: Any, names: dict[str, str]) -> None:
    inner = {name: new for name, new in names.items() if name not in _defined(body)}
    for node in body.node:
        for index, name in enumerate(node.input):
            node.input[index] = inner.get(name, name)
        for within in _bodies(node):
            _rename(within, inner)
    for value in body.output:
        value.name = inner.get(value.name, value.name)
