"""Facts of a tensor: whether it depends on the rows of the batch, and where.

The kinds, from harmless to harmful:

    CONSTANT   the same whatever the batch
    COUNT      follows from the number of rows alone, as Shape gives it
    EVEN       one number everywhere, in a shape that follows from the number of rows
    ROWS       what is on the batch's axis at a row depends on that row alone
    NUMBER     the row's own number in the batch, at each row
    UNKNOWN    not known: an operator that is not in the tables, or a shape that cannot be traced
    MIXED      depends on several rows, or on where in the batch a row is
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from numpy.typing import NDArray

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.extents import Size

Shape = tuple[Size, ...]


class Kind(Enum):
    """Kinds of a tensor, from harmless to harmful: see the module."""

    CONSTANT = auto()
    COUNT = auto()
    EVEN = auto()
    ROWS = auto()
    NUMBER = auto()
    UNKNOWN = auto()
    MIXED = auto()


class Mixed(Exception):
    """Rows influence each other here; the message completes "the node …"."""


class Unknown(Exception):
    """Mutual influence of rows cannot be determined. The message completes "the node …"."""


class Drawn(Unknown):
    """The node draws random numbers: two runs differ, whatever its inputs are."""

    def __init__(self) -> None:
        super().__init__("draws random numbers")


@dataclass(frozen=True, slots=True)
class Place:
    """The place of the batch: this axis, whose size is outer * rows * inner, in this order."""

    axis: int
    outer: Size = 1
    inner: Size = 1


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor. shape: None where not even the rank is known, which a tensor of rows always has.

    place: of ROWS and NUMBER. data: the elements of a small tensor of numbers, sizes among them. indexed: each index that it
    holds begins with the row's own number. why: of UNKNOWN and MIXED, a sentence.
    """

    kind: Kind
    shape: Shape | None = None
    place: Place | None = None
    data: NDArray[Any] | None = None
    indexed: bool = False
    why: str = ""


def constant(shape: Shape | None = None, data: NDArray[Any] | None = None) -> Value:
    """The same whatever the batch."""
    return Value(Kind.CONSTANT, shape, data=data)


def known(data: NDArray[Any]) -> Value:
    """Of known elements: COUNT if the number of rows is in one of them."""
    batch = any(extents.of_batch(item) for item in data.ravel() if isinstance(item, extents.Symbols))
    return Value(Kind.COUNT if batch else Kind.CONSTANT, data.shape, data=data)


def even(shape: Shape) -> Value:
    """One number everywhere."""
    return Value(Kind.EVEN if any(map(extents.of_batch, shape)) else Kind.CONSTANT, shape)


def rows(shape: Sequence[Size], place: Place) -> Value:
    """Rows on one axis, whose size follows from the place."""
    whole = list(shape)
    whole[place.axis] = extents.times(extents.times(place.outer, extents.ROWS), place.inner)
    if any(extents.of_batch(size) for axis, size in enumerate(whole) if axis != place.axis):
        raise Mixed("gives each row as many elements as there are rows")
    return Value(Kind.ROWS, tuple(whole), place)


def settled(value: Value) -> Value:
    """EVEN as rows: it is the same for each of them. Others as they are."""
    if value.kind is not Kind.EVEN:
        return value
    assert value.shape is not None
    axes = [axis for axis, size in enumerate(value.shape) if extents.of_batch(size)]
    inner = extents.divided(value.shape[axes[0]], extents.ROWS)
    if len(axes) > 1 or inner is None or extents.of_batch(inner):
        raise Unknown("has a shape in which the batch cannot be traced")
    return rows(value.shape, Place(axes[0], 1, inner))


def axis_of(value: Value) -> int:
    """The axis of the rows; -1 where there are none."""
    return value.place.axis if value.place is not None else -1


def moved(value: Value, shape: Sequence[Size], axis: int) -> Value:
    """The same rows in another shape, on another axis. A constant stays one."""
    if value.place is None:
        return constant(tuple(shape))
    place = replace(value.place, axis=axis)
    made = rows(shape, place)
    return replace(made, kind=value.kind, indexed=value.indexed) if value.kind is Kind.NUMBER else made


def together(values: Sequence[Value]) -> Value:
    """Combine the inputs of an elementwise operator under numpy's rules of broadcasting.

    Raises Mixed when rows meet each other, Unknown when a shape is not known.
    """
    kinds = {value.kind for value in values}
    if kinds <= {Kind.CONSTANT, Kind.COUNT}:
        whole = None if any(value.shape is None for value in values) else broadcast([v.shape or () for v in values])
        return Value(Kind.COUNT if Kind.COUNT in kinds else Kind.CONSTANT, whole)
    if Kind.NUMBER in kinds:
        raise Mixed("computes with the index of a row in the batch")
    if Kind.COUNT in kinds:
        raise Mixed("computes with the number of rows")
    if any(value.shape is None for value in values):
        raise Unknown("has an input whose shape is not known")
    shapes = [value.shape or () for value in values]
    if Kind.ROWS not in kinds:
        if all(value.kind is Kind.EVEN or all(size == 1 for size in value.shape or ()) for value in values):
            return even(broadcast(shapes))
        values = [settled(value) for value in values]
    first = next(value for value in values if value.kind is Kind.ROWS)
    assert first.place is not None
    from_right = first.place.axis - len(first.shape or ())
    for value, shape in zip(values, shapes, strict=True):
        _meets(value, shape, first.place, from_right)
    whole = broadcast(shapes)
    return rows(whole, replace(first.place, axis=len(whole) + from_right))


def _meets(value: Value, shape: Shape, place: Place, from_right: int) -> None:
    """Beside rows on this axis, counted from the right, there are the same rows, or one for all of them."""
    size = shape[from_right] if -from_right <= len(shape) else 1
    if value.kind is Kind.ROWS:
        assert value.place is not None
        if value.place.axis - len(shape) != from_right:
            raise Mixed("pairs rows of the batch with each other")
        if (value.place.outer, value.place.inner) != (place.outer, place.inner):
            raise Unknown("combines tensors with the batch in different orders")
    elif value.kind is Kind.EVEN:
        others = [one for axis, one in enumerate(shape) if axis - len(shape) != from_right]
        if any(map(extents.of_batch, others)):
            raise Mixed("pairs rows of the batch with each other")
    elif size != 1:
        if isinstance(size, int):
            raise Mixed(f"combines the batch with a tensor of {size} rows")
        raise Unknown("combines the batch with a tensor of another size")


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The common shape."""
    rank = max(map(len, shapes), default=0)
    whole: Shape = (1,) * rank
    for shape in shapes:
        whole = extents.broadcast_pair(whole, (1,) * (rank - len(shape)) + shape)
    return whole
