"""Small tensors of numbers and sizes, worked out: what exporters compute from Shape to give Reshape, Expand and Slice."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.extents import Symbols
from onnxmodel_runtime.rows.nodes import FEW, Node
from onnxmodel_runtime.rows.values import Value

Data = NDArray[Any]
_INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 12, 13})  # of TensorProto.DataType
_BOOL = 9


class Lost(Exception):
    """The elements are not known any more."""


def evaluate(node: Node) -> Data | None:
    """The elements of the node's one output; None where they are not known."""
    rule = _RULES.get(node.kind)
    if rule is None or node.proto.domain not in ("", "ai.onnx") or node.outputs != 1:
        return None
    given: list[Any] = []
    for value in node.inputs:
        if value is not None and value.data is None:
            return None
        given.append(None if value is None else value.data)
    try:
        found = np.asarray(rule(node, *given), object)
    except (Lost, ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError):
        return None
    return found if found.size <= FEW else None


def of_shape(node: Node, value: Value) -> Data | None:
    """Compute the result of Shape or Size."""
    if value.shape is None:
        return None
    if node.kind == "Size":
        return np.array(extents.product(value.shape), object)
    part = value.shape[node.attribute("start", 0) : node.attribute("end", None)]
    made = np.empty(len(part), object)
    made[:] = part
    return made


def array(items: Any) -> Data:
    """As data: of Python's own numbers."""
    return np.array(np.asarray(items).tolist(), object)


def _each(function: Callable[..., Any]) -> Callable[..., Data]:
    return lambda node, *given: np.asarray(np.frompyfunc(function, len(given), 1)(*given), object)


def _symbolic(function: Callable[[Any, Any], Any], plain: Callable[[Any, Any], Any]) -> Callable[..., Data]:
    def apply(a: Any, b: Any) -> Any:
        if not isinstance(a, Symbols) and not isinstance(b, Symbols):
            return plain(a, b)
        whole = [int(item) if isinstance(item, float) and item.is_integer() else item for item in (a, b)]
        if any(isinstance(item, float) for item in whole):
            return extents.opaque(plain.__name__, a, b)
        return function(*whole)

    return _each(apply)


def _quotient(a: Any, b: Any) -> Any:
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _named(name: str) -> Callable[..., Any]:
    return lambda a, b: extents.opaque(name, a, b)


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, Symbols) or isinstance(b, Symbols):
        return extents.opaque("pow", a, b)
    return a**b


def _of_one(name: str, plain: Callable[[Any], Any]) -> Callable[..., Data]:
    def apply(a: Any) -> Any:
        return extents.opaque(name, a) if isinstance(a, Symbols) else plain(a)

    return _each(apply)


def _cast(node: Node, a: Data) -> Data:
    to = node.attribute("to")

    def one(item: Any) -> Any:
        if isinstance(item, Symbols):
            if to == _BOOL:
                raise Lost
            return item
        if isinstance(item, str | bytes):
            raise Lost
        return bool(item) if to == _BOOL else int(item) if to in _INTEGERS else float(item)

    return np.asarray(np.frompyfunc(one, 1, 1)(a), object)


def _compare(plain: Callable[[Any, Any], bool], equal: bool | None) -> Callable[..., Data]:
    """equal: the answer for two equal sizes. A size and a number compare where every size is on one side of it."""

    def apply(a: Any, b: Any) -> bool:
        if not isinstance(a, Symbols) and not isinstance(b, Symbols):
            return bool(plain(a, b))
        if a == b and equal is not None:
            return equal
        if isinstance(a, Symbols) and isinstance(b, Symbols):
            raise Lost
        size, number = (a, b) if isinstance(a, Symbols) else (b, a)
        # Sizes are not negative.
        if size.factor > 0 and number < 0 and not any("?" in name for name in size.names):
            return bool(plain(1, -1) if size is a else plain(-1, 1))
        raise Lost

    return _each(apply)


def _where(node: Node, condition: Data, a: Data, b: Data) -> Data:
    return np.asarray(np.where(condition.astype(bool), a, b), object)


def _axes(node: Node, given: Data | None) -> tuple[int, ...] | None:
    axes = node.attribute("axes") if given is None else given.ravel()
    return None if axes is None else tuple(int(item) for item in axes)


def _squeeze(node: Node, a: Data, axes: Data | None = None) -> Data:
    return np.squeeze(a, _axes(node, axes))


def _unsqueeze(node: Node, a: Data, axes: Data | None = None) -> Data:
    return np.expand_dims(a, _axes(node, axes) or ())


def _slice(node: Node, a: Data, *rest: Data | None) -> Data:
    if rest:
        starts, ends, axes, steps = (*rest, None, None, None)[:4]
    else:
        starts, ends = np.asarray(node.attribute("starts")), np.asarray(node.attribute("ends"))
        axes, steps = node.attribute("axes"), None
    if starts is None or ends is None:
        raise Lost
    parts = [slice(None)] * a.ndim
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        at = int(axes[index]) if axes is not None else index
        step = int(steps[index]) if steps is not None else 1
        if isinstance(start, Symbols) or isinstance(end, Symbols):
            raise Lost
        low = None if step < 0 and end < -(2**31) else int(end)
        parts[at] = slice(int(start), low, step)
    return a[tuple(parts)]


def _reshape(node: Node, a: Data, shape: Data) -> Data:
    wanted = [int(item) for item in shape]
    if not node.attribute("allowzero", 0):
        wanted = [a.shape[at] if item == 0 else item for at, item in enumerate(wanted)]
    return a.reshape(wanted)


def _gather(node: Node, a: Data, indices: Data) -> Data:
    return np.asarray(np.take(a, indices.astype(np.int64), node.attribute("axis", 0)), object)


def _fill(node: Node, shape: Data) -> Data:
    value = node.attribute("value")
    from onnx import numpy_helper

    filled = numpy_helper.to_array(value).ravel()[0].item() if value is not None else 0.0
    count = math.prod(int(item) for item in shape)
    if count > FEW:
        raise Lost
    return np.full([int(item) for item in shape], filled, object)


def _range(node: Node, start: Data, limit: Data, delta: Data) -> Data:
    items: list[Any] = [item.item() for item in (start, limit, delta)]
    if any(isinstance(item, Symbols) for item in items) or abs(items[1] - items[0]) > FEW * abs(items[2]):
        raise Lost
    return array(np.arange(*items))


def _expand(node: Node, a: Data, shape: Data) -> Data:
    wanted = tuple(int(item) for item in shape)
    if math.prod(wanted) > FEW:
        raise Lost
    return np.asarray(np.broadcast_to(a, np.broadcast_shapes(a.shape, wanted)), object)


def _reduced(step: Callable[[Any, Any], Any]) -> Callable[..., Data]:
    def apply(node: Node, a: Data, axes: Data | None = None) -> Data:
        if a.ndim != 1 or _axes(node, axes) not in (None, (), (0,), (-1,)) or not a.size:
            raise Lost
        made = a[0]
        for item in a[1:]:
            made = step(made, item)
        found = np.empty((1,) if node.attribute("keepdims", 1) else (), object)
        found[...] = made
        return found

    return apply


def _largest(a: Any, b: Any) -> Any:
    if a == b:
        return a
    return extents.opaque("max", a, b) if isinstance(a, Symbols) or isinstance(b, Symbols) else max(a, b)


def _least(a: Any, b: Any) -> Any:
    if a == b:
        return a
    return extents.opaque("min", a, b) if isinstance(a, Symbols) or isinstance(b, Symbols) else min(a, b)


def _folded(step: Callable[[Any, Any], Any]) -> Callable[..., Data]:
    def apply(node: Node, first: Data, *others: Data) -> Data:
        for other in others:
            first = np.asarray(np.frompyfunc(step, 2, 1)(first, other), object)
        return first

    return apply


_RULES: dict[str, Callable[..., Any]] = {
    "Identity": lambda node, a: a,
    "Cast": _cast,
    "Add": _symbolic(extents.plus, operator.add),
    "Sub": _symbolic(extents.minus, operator.sub),
    "Mul": _symbolic(extents.times, operator.mul),
    "Div": _symbolic(extents.over, _quotient),
    "Mod": _symbolic(_named("mod"), operator.mod),
    "Pow": _each(_power),
    "Neg": _each(lambda a: extents.times(-1, a) if isinstance(a, Symbols) else -a),
    "Sqrt": _of_one("sqrt", lambda a: float(a) ** 0.5),
    "Floor": _of_one("floor", math.floor),
    "Ceil": _of_one("ceil", math.ceil),
    "Not": _each(lambda a: not a),
    "And": _each(lambda a, b: bool(a and b)),
    "Or": _each(lambda a, b: bool(a or b)),
    "Equal": _compare(operator.eq, True),
    "Greater": _compare(operator.gt, False),
    "GreaterOrEqual": _compare(operator.ge, True),
    "Less": _compare(operator.lt, False),
    "LessOrEqual": _compare(operator.le, True),
    "Where": _where,
    "Concat": lambda node, *parts: np.concatenate(parts, node.attribute("axis", 0)),
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Transpose": lambda node, a: np.transpose(a, node.attribute("perm")),
    "ConstantOfShape": _fill,
    "Range": _range,
    "Expand": _expand,
    "ReduceProd": _reduced(extents.times),
    "ReduceSum": _reduced(extents.plus),
    "ReduceMax": _reduced(_largest),
    "ReduceMin": _reduced(_least),
    "Max": _folded(_largest),
    "Min": _folded(_least),
}
