"""A node as the rules see it: its attributes, and the facts of its inputs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.extents import Size
from onnxmodel_runtime.rows.values import Kind, Mixed, Shape, Unknown, Value, axis_of, settled

FEW = 512
"""Elements of a tensor that is worked out."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node whose inputs are known. opset: of its domain. inputs: None where an optional one is left out.

    seen: the inputs that its rule asked for; one that holds rows, and that no rule looks at, is not understood.
    """

    proto: Any
    opset: int
    inputs: tuple[Value | None, ...]
    seen: set[int] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """The operator."""
        return str(self.proto.op_type)

    @property
    def outputs(self) -> int:
        """The number of outputs, omitted ones included."""
        return len(self.proto.output)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute's value. Strings as str."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def has(self, index: int) -> bool:
        """Return whether the input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def given(self, index: int = 0) -> Value:
        """An input, with the batch on one axis where it is in there at all. Raises Unknown when it is not given."""
        return settled(self.raw(index))

    def raw(self, index: int = 0) -> Value:
        """The same as it is."""
        value = self._input(index)
        if value is None:
            raise Unknown("lacks an input")
        return value

    def _input(self, index: int) -> Value | None:
        self.seen.add(index)
        return self.inputs[index] if index < len(self.inputs) else None

    def every(self, start: int = 0) -> list[Value]:
        """The inputs that are given, from one on."""
        self.seen.update(range(start, len(self.inputs)))
        return [value for value in self.inputs[start:] if value is not None]

    def batch(self, index: int = 0) -> Value:
        """An input that holds rows, or none of them. Raises Mixed when it holds their number."""
        value = self.given(index)
        if value.kind in (Kind.NUMBER, Kind.COUNT):
            raise Mixed("computes with the number of rows, or with the index of a row")
        return value

    def fixed(self, *indexes: int) -> None:
        """Raises Mixed when one of these inputs, which are for all rows alike, depends on rows or on their number."""
        for index in indexes:
            value = self._input(index)
            if value is not None and value.kind is not Kind.CONSTANT:
                raise Mixed("applies a value that depends on some rows, or on their number, to all rows")

    def numbers(self, index: int, default: Any = None) -> NDArray[Any]:
        """The elements of a small input, which may be sizes. Raises Unknown when they are not known."""
        value = self._input(index)
        if value is None:
            if default is None:
                raise Unknown("lacks an input")
            return np.array(default, object)
        if value.kind not in (Kind.CONSTANT, Kind.COUNT):
            raise Mixed("takes a size or an index from the rows themselves")
        if value.data is None:
            raise Unknown("has a size or an index that cannot be traced")
        return value.data

    def integers(self, index: int, default: Any = None) -> list[int]:
        """The same where all of them are plain integers."""
        found = self.numbers(index, default).ravel()
        if any(isinstance(item, extents.Symbols) for item in found):
            raise Unknown("has an index that cannot be traced")
        return [int(item) for item in found]

    def fresh(self, axis: int, output: int = 0) -> Size:
        """The size of an axis that is not worked out."""
        return extents.symbol(f"{self.proto.output[output]}.{axis}")


def rank(value: Value) -> int:
    """Return the number of axes. Raises Unknown if it is not known."""
    return len(shape(value))


def shape(value: Value) -> Shape:
    """Return the shape. Raises Unknown if it is not known."""
    if value.shape is None:
        raise Unknown("has an input whose shape is not known")
    return value.shape


def axis(number: int, count: int) -> int:
    """Return an axis, counted from the left. Raises Unknown if there is no such axis."""
    found = number + count if number < 0 else number
    if not 0 <= found < count:
        raise Unknown("names an axis that does not exist")
    return found


def apart(value: Value, *axes: int) -> None:
    """Check that the batch is on none of these axes, along which the operator works. Raises Mixed."""
    if value.kind in (Kind.ROWS, Kind.NUMBER) and axis_of(value) in axes:
        raise Mixed("works along the batch axis")
