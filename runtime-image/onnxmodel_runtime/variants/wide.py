"""Inputs beyond those of inputs.generate: larger numbers, integers, and what the graph compares its inputs with.

Fewer bits fail where numbers are large or a comparison turns, and a standard normal distribution reaches neither.
Variants that compute with fewer bits are proven on these rows too, where there are no golden data.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from onnxmodel_runtime.contract.model import Parity, Tensor, Tolerance
from onnxmodel_runtime.models import graph, parity
from onnxmodel_runtime.models.inputs import BYTE_VALUES, SEED, Arrays, Signature, generate

SCALES = (10, 100)
_FEW = 4096  # elements of a row: of fewer, a case has more than one row
_MOST_THRESHOLDS, _LARGEST_THRESHOLD = 8, 1e6
_DEEP = 12  # nodes between an input and a comparison
_SMALL = 1024  # bytes of a constant that can be a threshold
_COMPARE = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Max", "Min"}
_SAME = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "Expand"}
_INTEGERS = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
}  # what QuantizeLinear makes; of fewer bits, fused operators have no sums that overflow
_INVERSE: dict[str, tuple[Callable[[float, float], float], Callable[[float, float], float]]] = {
    # value and constant -> the other operand: where the constant comes second, and where it comes first
    "Add": (lambda value, c: value - c, lambda value, c: value - c),
    "Sub": (lambda value, c: value + c, lambda value, c: c - value),
    "Mul": (lambda value, c: value / c, lambda value, c: value / c),
    "Div": (lambda value, c: value * c, lambda value, c: c / value),
}

Run = Callable[[parity.Arrays], parity.Arrays]


@dataclass(frozen=True)
class Threshold:
    """A comparison turns where the input has about this value; exactly there, if nothing is computed before it."""

    input: str
    value: float
    exact: bool


def cases(signed: Signature, model: Any, rows: tuple[int, ...], bound: Tolerance, run: Run) -> Iterator[Any]:
    """(What it is, its rows, inputs, the original's answers), of those that the original can answer.

    rows: batch sizes to choose from. run: the original; it raises for what it does not take. Where the original's answers
    are not finite, or change by more than the tolerance when its inputs change by a quarter of it, a case proves nothing.
    """
    few = sorted(rows)[:2]
    size = few[0]
    made = generate(signed, size)
    if max((array.size // max(size, 1) for array in made.values()), default=0) < _FEW:
        size = few[-1]
        made = generate(signed, size)
    for name, tries, steady in _made(signed, model, made):
        for inputs in tries:
            try:
                answers = run(inputs)
                if not _finite(answers):
                    continue
                if steady and not judge([(size, run(_shaken(inputs, bound)), answers)], bound).passed:
                    continue
            except Exception:  # indices out of range, say
                continue
            yield name, size, inputs, answers
            break


def reaching(signed: Signature, model: Any, rows: tuple[int, ...]) -> tuple[int, Arrays] | None:
    """Rows at both ends of the ranges of a quantized model's own scales, and how many; None where no input has such a scale.

    There the sums of fused integer operators overflow, if they do at all. A normal distribution stays in the middle.
    """
    size = max(rows)
    made = generate(signed, size)
    found = ranges(model, {name for name, array in made.items() if array.dtype.kind == "f"})
    if not found:
        return None
    ends = {
        name: _fitting(_random(name).choice([low, high], made[name].shape), made[name].dtype)
        for name, (low, high) in found.items()
    }
    return size, {**made, **ends}


def ranges(model: Any, inputs: set[str]) -> dict[str, tuple[float, float]]:
    """Return the range of each of these inputs in which the model's first QuantizeLinear nodes tell numbers apart.

    Traced back from the nodes as thresholds are; the widest of several. An input that reaches none of them is left out.
    """
    known = _constants(model)
    # Behind an earlier quantization, numbers have that one's range.
    nodes = (node for node in model.graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear"))
    made_by = {name: node for node in nodes for name in node.output if name}
    kinds = {name: int(tensor.data_type) for name, tensor in _constant_tensors(model).items()}
    found: dict[str, tuple[float, float]] = {}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or len(node.input) < 2:
            continue
        subject, scale = node.input[:2]
        zero = node.input[2] if len(node.input) > 2 else ""
        bounds = _INTEGERS.get(kinds.get(zero, _output_datatype(node)))
        if bounds is None or not known.get(scale) or (zero and not known.get(zero)):
            continue
        middle = known[zero] if zero else (0.0,)
        ends = (known[scale][-1] * (bounds[0] - middle[-1]), known[scale][-1] * (bounds[1] - middle[0]))
        reached = [_origin(subject, end, made_by, known, inputs) for end in ends]
        values = [each.value for each in reached if each and abs(each.value) <= _LARGEST_THRESHOLD]
        if len(values) == len(ends) and (name := next(each.input for each in reached if each)):
            low, high = found.get(name, (0.0, 0.0))
            found[name] = min(low, *values), max(high, *values)
    return found


def _output_datatype(node: Any) -> int:
    """Of a QuantizeLinear without a zero point."""
    asked = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
    return int(asked) or int(TensorProto.UINT8)


def judge(compared: Iterable[tuple[int, Any, Any]], bound: Tolerance) -> Parity:
    """parity.judge, where the absolute tolerance of an output grows with its values; of the first case that fails."""
    for rows, got, want in compared:
        for name, array in want.items():
            found = parity.judge([(rows, {name: got[name]}, {name: array})], _grown(bound, array))
            if not found.passed:
                return found
    return found


def _grown(bound: Tolerance, want: NDArray[Any]) -> Tolerance:
    if want.dtype.kind != "f" or not want.size:
        return bound
    level = float(np.sqrt(np.mean(np.square(want.astype(np.float64)))))
    return replace(bound, absolute=max(bound.absolute, bound.relative * level))


def _made(signed: Signature, model: Any, made: Arrays) -> Iterator[tuple[str, list[Arrays], bool]]:
    """Yield the description of a case, ways to make it, and whether the original must bear a small change of it."""
    free = {tensor.name for tensor in signed.inputs if _is_free(tensor, made[tensor.name], signed)}
    floats = {name for name in free if made[name].dtype.kind == "f"}
    for scale in SCALES if free else ():
        tries = [{**made, **{name: _scaled(made[name], scale) for name in names}} for names in (free, floats) if names]
        yield f"{scale} times as large", tries, True
    if floats:
        pixels = {
            name: _random(name).integers(0, BYTE_VALUES, made[name].shape).astype(made[name].dtype) for name in floats
        }
        yield f"integers up to {BYTE_VALUES - 1}", [{**made, **pixels}], True
    for found in thresholds(model, free):
        array, at = made[found.input], found.value
        step = max(1.0, abs(at) / 16)
        sides = {"above": (at + step, at + 2 * step, at + 4 * step), "below": (at - step, at - 2 * step, at - 4 * step)}
        if abs(at) > 1:  # smaller ones are within what every model is tried with
            for side, values in sides.items():
                yield f"{side} {at:g}", [{**made, found.input: _chosen(array, found.input, values)}], True
        if found.exact:
            yield f"around {at:g}", [{**made, found.input: _chosen(array, found.input, (at - 1, at, at + 1))}], False


def _is_free(tensor: Tensor, array: NDArray[Any], signed: Signature) -> bool:
    """Return whether other numbers make sense: not indices, masks or known categories."""
    if array.dtype.kind == "f":
        return True
    return (
        array.dtype.kind in "iu"
        and tensor.name not in signed.limits
        and "mask" not in tensor.name.lower()
        and not signed.numbers
    )


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(name.encode()), 1])


def _scaled(array: NDArray[Any], scale: int) -> NDArray[Any]:
    return _fitting(array.astype(np.float64) * scale, array.dtype)


def _chosen(array: NDArray[Any], name: str, values: tuple[float, ...]) -> NDArray[Any]:
    return _fitting(_random(name).choice(np.array(values), array.shape), array.dtype)


def _fitting(values: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    cut = np.clip(np.asarray(values, np.float64), float(limits.min), float(limits.max))
    return np.asarray(cut if dtype.kind == "f" else np.rint(cut)).astype(dtype)


def _shaken(inputs: Arrays, bound: Tolerance) -> Arrays:
    """Each number a little larger or smaller: far less than what the tolerance allows the answers."""
    return {
        name: (array * (1 + _random(name).choice([-1, 1], array.shape) * bound.relative / 4)).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in inputs.items()
    }


def _finite(answers: parity.Arrays) -> bool:
    return all(bool(np.isfinite(array).all()) for array in answers.values() if array.dtype.kind == "f")


def thresholds(model: Any, inputs: set[str]) -> list[Threshold]:
    """Return constants that the main graph compares these inputs with, across a few operators. At most 8."""
    known = _constants(model)
    made_by = {name: node for node in model.graph.node for name in node.output if name}
    found: dict[tuple[str, float], bool] = {}
    for node in model.graph.node:
        for subject, value in _compared(node, known):
            reached = _origin(subject, value, made_by, known, inputs)
            if reached and np.isfinite(reached.value) and abs(reached.value) <= _LARGEST_THRESHOLD:
                key = (reached.input, reached.value)
                found[key] = found.get(key, False) or reached.exact
    ordered = [Threshold(*key, exact) for key, exact in sorted(found.items())]
    picked = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST_THRESHOLDS)).round().astype(int))
    return [ordered[index] for index in picked]


def _compared(node: Any, known: dict[str, tuple[float, ...]]) -> Iterator[tuple[str, float]]:
    """The tensors that a node compares, each with a constant."""
    names = list(node.input)
    if node.op_type in _COMPARE and len(names) == 2:
        for subject, other in (names, names[::-1]):
            yield from ((subject, value) for value in known.get(other, ()))
    elif node.op_type == "Clip" and names:
        limits = [value for name in names[1:] for value in known.get(name, ())]
        limits += [attribute.f for attribute in node.attribute if attribute.name in ("min", "max")]
        yield from ((names[0], value) for value in limits)
    elif node.op_type == "ThresholdedRelu":
        yield names[0], next((attribute.f for attribute in node.attribute if attribute.name == "alpha"), 1.0)


def _origin(
    name: str, value: float, made_by: dict[str, Any], known: dict[str, tuple[float, ...]], inputs: set[str]
) -> Threshold | None:
    """The input that a tensor is made of, and its value where the tensor has `value`.

    Of an operator that cannot be turned round (a matrix, a sum), input and output are taken to be of one size.
    """
    exact = True
    for _ in range(_DEEP):
        if name in inputs:
            return Threshold(name, value, exact)
        node = made_by.get(name)
        if node is None or not node.input:
            return None
        first, *others = node.input
        if node.op_type in _INVERSE and others:
            swapped = bool(known.get(first))
            constant = known.get(first) or known.get(others[0])
            if constant:
                c = constant[len(constant) // 2]
                try:
                    value = _INVERSE[node.op_type][swapped](value, c)
                except ZeroDivisionError:
                    return None
                first = others[0] if swapped else first
            exact = False
        elif node.op_type not in _SAME:
            exact = False
        name = first
    return None


def _constants(model: Any) -> dict[str, tuple[float, ...]]:
    """Small constants of numbers: their smallest and largest value, and the one between."""
    known: dict[str, tuple[float, ...]] = {}
    for name, tensor in _constant_tensors(model).items():
        if tensor.data_location == graph.EXTERNAL or not 0 < graph.elements(tensor.dims) <= _SMALL // 8:
            continue
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind in "fiu":
            ordered = np.sort(array.ravel().astype(np.float64))
            picked = {float(ordered[index]) for index in (0, len(ordered) // 2, -1)}
            known[name] = tuple(sorted(picked))
    return known


def _constant_tensors(model: Any) -> dict[str, Any]:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    return tensors
