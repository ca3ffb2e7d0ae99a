"""Sequences of tensors, each described by the common facts of its tensors."""

from dataclasses import replace

from onnxmodel_runtime.rows.nodes import Node, apart, axis, rank, shape
from onnxmodel_runtime.rows.table import rule
from onnxmodel_runtime.rows.values import Unknown, Value, axis_of, moved


def _alike(node: Node, values: list[Value]) -> Value:
    """Tensors of the same kind and rank, whose rows are on the same axis."""
    first = values[0]
    if any((v.kind, v.place, rank(v)) != (first.kind, first.place, rank(first)) for v in values):
        raise Unknown("has tensors of different kinds")
    columns = zip(*(shape(value) for value in values), strict=True)
    whole = tuple(one[0] if len(set(one)) == 1 else node.fresh(at) for at, one in enumerate(columns))
    return replace(first, shape=whole, data=None)


@rule("SequenceConstruct")
def construct(node: Node) -> Value:
    """Of these tensors."""
    return _alike(node, [node.batch(index) for index in range(len(node.inputs))])


@rule("SequenceAt")
def at(node: Node) -> Value:
    """One of them."""
    node.fixed(1)
    return node.batch(0)


@rule("ConcatFromSequence")
def concat(node: Node) -> Value:
    """All of them on one axis."""
    value = node.batch(0)
    new = node.attribute("new_axis", 0)
    where = axis(node.attribute("axis"), rank(value) + new)
    before = list(shape(value))
    if new:
        before.insert(where, node.fresh(where))
        return moved(value, before, axis_of(value) + (where <= axis_of(value)))
    apart(value, where)
    before[where] = node.fresh(where)
    return moved(value, before, axis_of(value))


@rule("SplitToSequence")
def split(node: Node) -> Value:
    """Parts of an axis."""
    node.fixed(1)
    value = node.batch(0)
    where = axis(node.attribute("axis", 0), rank(value))
    apart(value, where)
    before = list(shape(value))
    if not node.has(1) and not node.attribute("keepdims", 1):
        del before[where]
        return moved(value, before, axis_of(value) - (where < axis_of(value)))
    before[where] = node.fresh(where) if node.has(1) else 1
    return moved(value, before, axis_of(value))
