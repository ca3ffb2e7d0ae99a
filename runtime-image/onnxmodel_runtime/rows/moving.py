"""Operators that move, cut, repeat and pick elements."""

import math
from collections.abc import Sequence
from dataclasses import replace

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.extents import Size
from onnxmodel_runtime.rows.nodes import Node, apart, axis, rank, shape
from onnxmodel_runtime.rows.table import FUSED, mixes, rule
from onnxmodel_runtime.rows.values import (
    Kind,
    Mixed,
    Place,
    Shape,
    Unknown,
    Value,
    axis_of,
    constant,
    even,
    moved,
    rows,
    settled,
    together,
)

_FAR = 10**9  # TensorFlow's word for the end; no axis is as long


def _raw(node: Node, index: int = 0) -> Value:
    """An input that may be EVEN or NUMBER, which moving does not change. Raises Mixed when it is a count."""
    value = node.raw(index)
    if value.kind is Kind.COUNT:
        raise Mixed("computes with the number of rows")
    return value


@rule("Reshape")
def reshape(node: Node) -> Value:
    """The batch lands where the product of the sizes before it stays the same."""
    value, before = _raw(node), shape(_raw(node))
    target = list(node.numbers(1).ravel()) if node.has(1) else list(node.attribute("shape", ()))
    for at, size in enumerate(target):
        if size == 0 and not node.attribute("allowzero", 0):
            if at >= len(before):
                raise Unknown("names an axis that does not exist")
            target[at] = before[at]
    if -1 in target:
        at = target.index(-1)
        others = extents.product(size for index, size in enumerate(target) if index != at)
        target[at] = extents.over(extents.product(before), others)
    return reshaped(value, tuple(target))


def reshaped(value: Value, target: Shape) -> Value:
    """The same elements in this shape. -1 must be worked out, also where it came out as no product."""
    if value.kind is Kind.EVEN:
        return even(target)
    place, before = value.place, shape(value)
    if place is None:
        return constant(target)
    candidates = [at for at, size in enumerate(target) if extents.of_batch(size)]
    if not candidates:
        raise Mixed("has a fixed number of rows in its shape")
    if len(candidates) > 1:
        raise Mixed("gives each row as many elements as there are rows")
    at = candidates[0]
    ahead = extents.times(extents.product(before[: place.axis]), place.outer)
    outer = extents.divided(ahead, extents.product(target[:at]))
    if outer is None:
        raise Unknown("produces a shape in which the batch cannot be traced")
    inner = extents.divided(target[at], extents.times(outer, extents.ROWS))
    if inner is None:
        # The size is no product of known ones: then it is what is left behind the batch.
        behind = extents.times(place.inner, extents.product(before[place.axis + 1 :]))
        inner = extents.over(behind, extents.product(target[at + 1 :]))
        if extents.of_numbers(behind, extents.product(target[at + 1 :])):
            raise Mixed("merges several rows into one")
    if extents.of_batch(inner):
        raise Unknown("produces a shape in which the batch cannot be traced")
    made = rows(target, Place(at, outer, inner))
    return _same_kind(value, made)


def _same_kind(value: Value, made: Value) -> Value:
    """A row's number stays one where each row has but one."""
    if value.kind is not Kind.NUMBER:
        return made
    if made.place is None or (made.place.outer, made.place.inner) != (1, 1):
        raise Mixed("computes with the index of a row in the batch")
    return replace(made, kind=Kind.NUMBER)


@rule("Flatten")
def flatten(node: Node) -> Value:
    """Two axes."""
    value, before = _raw(node), shape(_raw(node))
    at = node.attribute("axis", 1)
    at = at + len(before) if at < 0 else at
    return reshaped(value, (extents.product(before[:at]), extents.product(before[at:])))


@rule("Transpose")
def transpose(node: Node) -> Value:
    """Axes change places."""
    value, before = _raw(node), shape(_raw(node))
    perm = [axis(at, len(before)) for at in node.attribute("perm", range(len(before))[::-1])]
    target = tuple(before[at] for at in perm)
    return even(target) if value.kind is Kind.EVEN else moved(value, target, perm.index(axis_of(value)))


def _axes(node: Node, count: int) -> list[int] | None:
    """Of Squeeze and Unsqueeze: an attribute, and since opset 13 an input."""
    given = node.integers(1) if node.has(1) else node.attribute("axes")
    return None if given is None else [axis(at, count) for at in given]


@rule("Squeeze")
def squeeze(node: Node) -> Value:
    """Without axes it drops all of size 1, a batch of one row too."""
    value, before = _raw(node), shape(_raw(node))
    dropped = _axes(node, len(before))
    if dropped is None:
        raise Mixed("drops the batch axis of a single row, but not of several (Squeeze without axes)")
    apart(value, *dropped)
    target = tuple(size for at, size in enumerate(before) if at not in dropped)
    if value.kind is Kind.EVEN:
        return even(target)
    return moved(value, target, axis_of(value) - sum(at < axis_of(value) for at in dropped))


@rule("Unsqueeze")
def unsqueeze(node: Node) -> Value:
    """New axes of size 1."""
    value, before = _raw(node), list(shape(_raw(node)))
    count = len(before) + len(node.integers(1) if node.has(1) else node.attribute("axes", ()))
    new = _axes(node, count) or []
    left = iter(before)
    target = tuple(1 if at in new else next(left) for at in range(count))
    if value.kind is Kind.EVEN:
        return even(target)
    kept = [at for at in range(count) if at not in new]
    return moved(value, target, kept[axis_of(value)])


@rule("Expand")
def expand(node: Node) -> Value:
    """Broadcasts; a constant may become as many equal rows as the batch has."""
    value, before, target = _raw(node), shape(_raw(node)), tuple(node.numbers(1).ravel())
    count = max(len(before), len(target))
    old, new = (1,) * (count - len(before)) + before, (1,) * (count - len(target)) + target
    if any(
        extents.of_batch(a) and not extents.of_batch(b) and not isinstance(b, int)
        for a, b in zip(old, new, strict=True)
    ):
        raise Unknown("repeats a single row, but not several, up to a size that is unrelated to the batch")
    if value.kind is Kind.EVEN or (value.kind is Kind.CONSTANT and all(size == 1 for size in before)):
        return even(tuple(a if b == 1 else b for a, b in zip(old, new, strict=True)))
    if value.kind is Kind.CONSTANT:
        # Equal rows: whatever the order in which they are.
        whole = extents.broadcast_pair(old, new)
        if any(extents.of_batch(b) and a != 1 for a, b in zip(old, new, strict=True)):
            raise Mixed("combines the batch with a tensor that has another number of rows")
        return replace(settled(even(whole)), shape=whole)
    at = axis_of(value) + count - len(before)
    if extents.of_batch(new[at]) and new[at] != old[at]:
        raise Mixed("repeats rows as often as there are rows")
    if isinstance(new[at], int) and new[at] != 1:
        raise Mixed("has a fixed number of rows in its shape")
    whole = tuple(old[at] if index == at else size for index, size in enumerate(extents.broadcast_pair(old, new)))
    return _same_kind(value, moved(value, whole, at))


@rule("Tile")
def tile(node: Node) -> Value:
    """Repeats; all rows one after the other, as often as is said."""
    value, before, repeats = _raw(node), shape(_raw(node)), list(node.numbers(1).ravel())
    if len(repeats) != len(before):
        raise Unknown("repeats axes that do not exist")
    target = tuple(extents.times(size, count) for size, count in zip(before, repeats, strict=True))
    if value.kind is Kind.EVEN or (value.kind is Kind.CONSTANT and all(size == 1 for size in before)):
        return even(target)
    if value.kind is Kind.CONSTANT:
        if any(extents.of_batch(count) and size != 1 for size, count in zip(before, repeats, strict=True)):
            raise Unknown("repeats a tensor as often as there are rows")
        return settled(even(target))
    place = value.place
    assert place is not None
    if extents.of_batch(repeats[place.axis]):
        raise Mixed("repeats rows as often as there are rows")
    made = rows(target, replace(place, outer=extents.times(repeats[place.axis], place.outer)))
    return _same_kind(value, made)


@rule("Concat")
def concat(node: Node) -> Value:
    """Side by side; not one batch behind another."""
    values = node.every()
    at = axis(node.attribute("axis", 0), rank(values[0]))
    if any(rank(value) != rank(values[0]) for value in values):
        raise Unknown("concatenates tensors of different ranks")
    indexed = values[0].kind is Kind.NUMBER and at == rank(values[0]) - 1 and shape(values[0])[at] == 1
    if indexed:  # the first place of an index is the row itself; a number in any other picks elements by it
        values = [replace(values[0], kind=Kind.ROWS), *values[1:]]
    for value in values:
        apart(settled(value), at)
    # Beside the axis along which they are joined, they are as operands of one sum.
    flat = [_without(value, at) for value in values]
    made = together(flat)
    if made.kind in (Kind.CONSTANT, Kind.COUNT):
        return made
    total: Size = 0
    for value in values:
        total = extents.plus(total, shape(value)[at])
    whole = [total if index == at else size for index, size in enumerate(made.shape or ())]
    if made.kind is Kind.EVEN:
        made = settled(made)  # the numbers of one are not those of another
    return replace(rows(whole, made.place or Place(0)), indexed=indexed)


def _without(value: Value, at: int) -> Value:
    whole = tuple(1 if index == at else size for index, size in enumerate(shape(value)))
    return replace(value, shape=whole, data=None)


@rule("Slice")
def cut(node: Node) -> Value:
    """Of the batch axis all, or rows are picked."""
    value, before = _raw(node), shape(_raw(node))
    if node.opset < 10:
        starts, ends = list(node.attribute("starts")), list(node.attribute("ends"))
        axes, steps = list(node.attribute("axes", range(len(starts)))), [1] * len(starts)
    else:
        axes = _sliced(node, before)
        starts = _bounds(node, 1, len(axes))
        ends = _bounds(node, 2, len(axes))
        steps = node.integers(4, [1] * len(axes))
    target = list(before)
    for at, start, end, step in zip((axis(at, len(before)) for at in axes), starts, ends, steps, strict=True):
        whole = start == 0 and step == 1 and (end == before[at] or (isinstance(end, int) and end >= _FAR))
        if whole:
            continue
        if extents.of_batch(before[at]):
            raise Mixed("picks rows of the batch by their index")
        if extents.of_batch(start) or extents.of_batch(end):
            raise Mixed("computes with the number of rows")
        target[at] = _length(before[at], start, end, step)
    return even(tuple(target)) if value.kind is Kind.EVEN else moved(value, target, axis_of(value))


def _sliced(node: Node, before: Shape) -> list[int]:
    if node.has(3):
        return node.integers(3)
    bounds = node.inputs[1].shape if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if not bounds or not isinstance(bounds[0], int):
        raise Unknown("has an index that cannot be traced")
    return list(range(bounds[0]))


def _bounds(node: Node, index: int, count: int) -> list[Size]:
    """Return the starts or ends of a slice. Unknown ones that do not depend on the batch are symbols."""
    value = node.raw(index)
    if value.kind is Kind.CONSTANT and value.data is None:
        return [extents.symbol(f"{node.proto.output[0]}:{index}.{at}") for at in range(count)]
    return list(node.numbers(index).ravel())


def _length(size: Size, start: Size, end: Size, step: Size) -> Size:
    if all(isinstance(item, int) for item in (size, start, end, step)):
        return len(range(*slice(start, end, step).indices(size)))  # type: ignore[arg-type]
    return extents.opaque("slice", size, start, end, step)  # not `end`, which may lie behind the last element


@rule("Split")
def split(node: Node) -> Sequence[Value]:
    """Parts of an axis."""
    node.fixed(1)
    value = node.batch(0)
    at = axis(node.attribute("axis", 0), rank(value))
    if node.outputs > 1:
        apart(value, at)
    lengths: list[Size] = list(node.inputs[1].data) if node.has(1) and node.inputs[1].data is not None else []  # type: ignore[union-attr]
    lengths = lengths or list(node.attribute("split", ()))
    size = shape(value)[at]
    if not lengths and isinstance(size, int):
        part = math.ceil(size / node.outputs)
        lengths = [min(part, max(0, size - part * index)) for index in range(node.outputs)]
    made = []
    for index in range(node.outputs):
        length = size if node.outputs == 1 else lengths[index] if index < len(lengths) else node.fresh(at, index)
        whole = [length if here == at else item for here, item in enumerate(shape(value))]
        made.append(moved(value, whole, axis_of(value)))
    return made


@rule("Pad")
@rule("Pad", domain=FUSED)
def pad(node: Node) -> Value:
    """Not around the batch."""
    node.fixed(2)
    value = node.batch(0)
    before = shape(value)
    pads = node.integers(1) if node.has(1) else list(node.attribute("pads", node.attribute("paddings", ())))
    axes = node.integers(3) if node.has(3) else list(range(len(before)))
    target = list(before)
    for index, at in enumerate(axis(item, len(before)) for item in axes):
        front, back = pads[index], pads[index + len(axes)]
        if front or back:
            apart(value, at)
            target[at] = extents.plus(before[at], front + back)
    return moved(value, target, axis_of(value))


@rule("Range")
def count_up(node: Node) -> Value:
    """Up to the number of rows, it numbers them."""
    start, limit, delta = (node.numbers(index).ravel()[0] for index in range(3))
    if (start, limit, delta) == (0, extents.ROWS, 1):
        return Value(Kind.NUMBER, (extents.ROWS,), Place(0))
    raise Mixed("numbers the rows of the batch")


@rule("ReverseSequence")
def reverse(node: Node) -> Value:
    """Each row by its own length."""
    value, lengths = node.batch(0), node.batch(1)
    apart(value, node.attribute("time_axis", 0))
    if lengths.kind is Kind.ROWS and axis_of(value) != node.attribute("batch_axis", 1):
        raise Mixed("applies a value that depends on some rows to all rows")
    return value


@rule("Compress")
def compress(node: Node) -> Value:
    """Places that are the same for all rows."""
    node.fixed(1)
    value = node.batch(0)
    if node.attribute("axis") is None:
        raise Mixed("picks elements from the whole batch")
    at = axis(node.attribute("axis"), rank(value))
    apart(value, at)
    return moved(value, [node.fresh(at) if here == at else s for here, s in enumerate(shape(value))], axis_of(value))


@rule("DepthToSpace", "SpaceToDepth")
def blocks(node: Node) -> Value:
    """Between channels and space."""
    value = node.batch(0)
    if axis_of(value) != 0 or rank(value) != 4:
        raise Mixed("works along the batch axis")
    block, (_, channels, height, width) = node.attribute("blocksize"), shape(value)
    if node.kind == "DepthToSpace":
        new = extents.over(channels, block * block), extents.times(height, block), extents.times(width, block)
    else:
        new = extents.times(channels, block * block), extents.over(height, block), extents.over(width, block)
    return moved(value, (shape(value)[0], *new), 0)


@rule("Trilu")
@rule("Trilu", domain=FUSED)
def triangle(node: Node) -> Value:
    """Of the last two axes."""
    node.fixed(1)
    value = node.batch(0)
    apart(value, rank(value) - 1, rank(value) - 2)
    return value


mixes("finds elements in the whole batch", "NonZero", "Unique", "NonMaxSuppression")
mixes("finds elements in the whole batch", "Unique", domain=FUSED)
