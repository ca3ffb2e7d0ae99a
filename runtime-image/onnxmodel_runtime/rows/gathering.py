"""Operators that pick elements by indices: Gather, Scatter and their kinds."""

from onnxmodel_runtime.rows.nodes import Node, apart, axis, rank, shape
from onnxmodel_runtime.rows.table import rule
from onnxmodel_runtime.rows.values import (
    Kind,
    Mixed,
    Place,
    Unknown,
    Value,
    axis_of,
    moved,
)

_FAR = 10**9  # TensorFlow's word for the end; no axis is as long


@rule("Gather")
def gather(node: Node) -> Value:
    """Rows of a table, or a place of each row."""
    value, indices = node.batch(0), node.given(1)
    at = axis(node.attribute("axis", 0), rank(value))
    count = rank(indices)
    whole = (*shape(value)[:at], *shape(indices), *shape(value)[at + 1 :])
    if value.kind is Kind.CONSTANT:
        if indices.kind is Kind.COUNT:
            raise Mixed("computes with the number of rows")
        if indices.kind is Kind.NUMBER:
            raise Mixed("looks up the index of a row in the batch")
        return moved(indices, whole, at + axis_of(indices))
    if indices.kind is Kind.CONSTANT:
        if axis_of(value) == at:
            raise Mixed("picks rows of the batch by their index")
        return moved(value, whole, axis_of(value) + (count - 1) * (at < axis_of(value)))
    if indices.kind is Kind.NUMBER and axis_of(value) == at and count == 1 and value.place == Place(at):
        return value  # each row itself
    raise Mixed("picks rows of the batch by the content of others, or by their index")


@rule("GatherElements")
def gather_elements(node: Node) -> Value:
    """Each row its own elements: nothing is broadcast."""
    value, indices = _own(node, 2)
    return moved(indices, shape(indices), axis_of(value))


@rule("ScatterElements", "Scatter")
def scatter_elements(node: Node) -> Value:
    """The same for what is written."""
    return _own(node, 3)[0]


def _own(node: Node, count: int) -> list[Value]:
    """Inputs that all have the same rows. Raises Mixed where one has others, or names them."""
    values = [node.batch(index) for index in range(count)]
    for value in values:
        apart(value, axis(node.attribute("axis", 0), rank(values[0])))
    if any(value.place != values[0].place for value in values):
        raise Mixed("identifies elements by the index of their row in the batch")
    return values


@rule("GatherND")
def gather_nd(node: Node) -> Value:
    """Index tuples that begin with the row's own number, or batch_dims, keep to the row."""
    value, indices, shared = node.batch(0), node.given(1), node.attribute("batch_dims", 0)
    width, count = shape(indices)[-1], rank(indices)
    if not isinstance(width, int):
        raise Unknown("has an index whose number of axes is not known")
    whole = (*shape(indices)[:-1], *shape(value)[shared + width :])
    if indices.indexed and (shared or value.kind is Kind.CONSTANT):
        raise Mixed("looks up the index of a row in the batch")
    if value.kind is Kind.CONSTANT and indices.kind is Kind.ROWS:
        apart(indices, count - 1)
        if axis_of(indices) < shared:
            raise Mixed("combines the batch with a tensor that has another number of rows")
        return moved(indices, whole, axis_of(indices))
    own = value.place == Place(0) and indices.place == Place(0) and indices.kind is Kind.ROWS
    if own and (shared >= 1 or indices.indexed):
        return moved(indices, whole, 0)
    if indices.kind is Kind.CONSTANT and value.kind is Kind.ROWS and axis_of(value) >= shared + width:
        return moved(value, whole, axis_of(value) - width - shared + count - 1)
    raise Mixed("picks rows of the batch by the content of others, or by their index")


@rule("ScatterND")
def scatter_nd(node: Node) -> Value:
    """The same for what is written."""
    value, indices, updates = node.batch(0), node.given(1), node.batch(2)
    width = shape(indices)[-1]
    if not isinstance(width, int):
        raise Unknown("has an index whose number of axes is not known")
    own = value.place == Place(0) and indices.place == Place(0) and indices.indexed
    if own and (updates.place == Place(0) or updates.kind is Kind.CONSTANT):
        return value
    if value.kind is Kind.ROWS and indices.kind is Kind.CONSTANT and axis_of(value) >= width:
        place, own_place = updates.place, value.place
        if place is None or own_place is None:
            return value
        from_right = place.axis - rank(updates), own_place.axis - rank(value)
        if from_right[0] == from_right[1] and (place.outer, place.inner) == (own_place.outer, own_place.inner):
            return value
    raise Mixed("writes to rows of the batch by the content of others, or by their index")
