"""Generate inputs from a model's signature with a fixed seed: equal models get equal inputs on every machine."""

import ast
import operator
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tensor
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import batch_axis
from onnxmodel_runtime.models.datatypes import BY_NAME

SEED = 20_240_229
BYTE_VALUES = 256  # an integer input of which nothing is known: fits bytes, pixels and the vocabulary of any model
IMAGE_SIDE = 224
SEQUENCE = 16
_LARGEST_SIDE = 4096
_MOST_AXES = 8  # of an input that declares none
# What indices pass through unchanged on their way to the table that they look up.
_KEYS = ("keys_strings", "keys_int64s", "cats_strings", "cats_int64s", "pool_strings", "pool_int64s")
_MOST_KEYS = 1000
_PASS_THROUGH = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Concat"}

_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_EXPRESSION = 200  # characters of a symbol that may be one

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Signature:
    """A model's inputs as a generator needs them. limits: input -> the first integer that is out of range.

    words, numbers: what the graph itself compares strings and integers with; others all mean the same to it. unbatched: why
    the model has no batch axis; "" where it has one. sizes: of dynamic axes, by the names in `axes`; those that are not there
    get usual ones. image: height and width that the exporter wrote into the model's metadata. unranked: inputs that declare no
    shape; theirs are () until a rank is tried (`ranked`).
    """

    inputs: tuple[Tensor, ...]
    symbols: tuple[tuple[str, ...], ...]
    limits: dict[str, int]
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    unbatched: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    image: tuple[int, ...] = ()
    unranked: frozenset[str] = frozenset()

    @property
    def axes(self) -> dict[str, int]:
        """The dynamic axes besides the batch, each with its usual size: by symbol, or as NAME[AXIS] where it has none.

        An axis that is the sum, difference or product of others, such as "past + sequence", follows from them.
        """
        found: dict[str, int] = {}
        for tensor, symbols in zip(self.inputs, self.symbols, strict=True):
            for axis, (count, symbol) in enumerate(zip(tensor.shape, symbols, strict=True)):
                if count < 0 and symbol not in self.batch_symbols and (axis > 0 or self.unbatched):
                    found.setdefault(axis_name(tensor.name, axis, symbol), _usual(tensor, axis, self.image))
        known = {**found, **dict.fromkeys(self.batch_symbols, 1)}
        return {name: size for name, size in found.items() if name.isidentifier() or _computed(name, known) is None}

    @property
    def used(self) -> dict[str, int]:
        """The sizes that made inputs have: one that is given for the batch is not used."""
        return {name: size for name, size in self.sizes.items() if name in self.axes}

    @property
    def first_axes(self) -> set[str]:
        """The dynamic first axes, named as in `axes`: the batch, unless there is none."""
        given = zip(self.inputs, self.symbols, strict=True)
        return {axis_name(each.name, 0, symbols[0]) for each, symbols in given if each.shape and each.shape[0] < 0}

    @property
    def batch_symbols(self) -> set[str]:
        """The names of the batch. Where axis 0 is none, an axis elsewhere may be: of that one, inputs have one row."""
        names = {name for symbols in self.symbols for name in symbols} if self.unbatched else set()
        first = {symbols[0] for symbols in self.symbols if symbols and symbols[0]}
        return {name for name in names if batch_axis.is_batch(name)} if self.unbatched else first

    def batch_sizes(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """Those of the wanted sizes that the model can run; 1, its inputs as they are, where it has no batch axis."""
        return (1,) if self.unbatched else wanted


def signature(model: Any, batch: str = BATCH_UNKNOWN, sizes: dict[str, int] | None = None) -> Signature:
    """Read a ModelProto; its external data need not be loaded. batch: what is known of its batch axis; sizes: of others."""
    from onnxmodel_runtime.models import graph

    values, results = graph.inputs(model), list(model.graph.output)
    inputs, outputs = (tuple(map(graph.describe, found)) for found in (values, results))
    named = symbols((*values, *results))
    unranked = {value.name for value in results if not value.type.tensor_type.HasField("shape")}
    unbatched = batch_axis.absent(inputs, outputs, batch, symbols=named, unranked=unranked)
    axes = tuple(named[value.name] for value in values)
    known = (*keys(model), unbatched, sizes or {}, _image(model), graph.unranked(values))
    signed = Signature(inputs, axes, index_limits(model), *known)
    return ranked(signed, {name: _rank(name, signed.sizes) for name in signed.unranked})


def ranked(signed: Signature, ranks: dict[str, int]) -> Signature:
    """Return the signature with so many dynamic axes for inputs that declare no shape.

    They still have no batch axis.
    """
    pairs = [
        (replace(tensor, shape=(batch_axis.DYNAMIC,) * ranks[tensor.name]), ("",) * ranks[tensor.name])
        if tensor.name in ranks
        else (tensor, axes)
        for tensor, axes in zip(signed.inputs, signed.symbols, strict=True)
    ]
    return replace(signed, inputs=tuple(pair[0] for pair in pairs), symbols=tuple(pair[1] for pair in pairs))


def _rank(name: str, sizes: dict[str, int]) -> int:
    """The least rank with which the input has all axes that sizes are given for."""
    return next((rank for rank in range(_MOST_AXES, 0, -1) if axis_name(name, rank - 1, "") in sizes), 0)


def assumed(signed: Signature) -> Signature:
    """Return the signature as if outputs had a row for each row of input: whether inputs alone allow a batch axis.

    Running the model shows the rest.
    """
    if signed.unranked:
        return signed
    symbols = dict(zip((tensor.name for tensor in signed.inputs), signed.symbols, strict=True))
    return replace(signed, unbatched=batch_axis.absent(signed.inputs, (), symbols=symbols))


def symbols(values: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of the axes of inputs or outputs, by tensor. "" for an axis without one."""
    return {value.name: tuple(dim.dim_param for dim in value.type.tensor_type.shape.dim) for value in values}


def _image(model: Any) -> tuple[int, ...]:
    """Height and width by the metadata of Ultralytics' exporter (imgsz); a detector is fast at others, and finds little."""
    told = next((entry.value for entry in model.metadata_props if entry.key == "imgsz"), "")
    sides = tuple(int(side) for side in re.findall(r"\d{1,5}", told[:100]))
    return sides if len(sides) == 2 and min(sides) > 0 and max(sides) <= _LARGEST_SIDE else ()


def axis_name(tensor: str, axis: int, symbol: str) -> str:
    """Return the name of an axis in spec.validation.sizes and in status."""
    return symbol or f"{tensor}[{axis}]"


def generate(signed: Signature, batch: int) -> Arrays:
    """Generate inputs of `batch` rows, or without a batch if the model has none.

    Raises StageError for a datatype that cannot be generated.
    """
    made = shapes(signed, batch)
    return {tensor.name: _values(tensor, made[tensor.name], signed) for tensor in signed.inputs}


def shapes(signed: Signature, batch: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs that `generate` makes, without making them."""
    rows = 1 if signed.unbatched else batch
    # A size of a first axis is from when it counted as no batch.
    rowwise = set() if signed.unbatched else signed.first_axes
    known = {name: size for name, size in signed.sizes.items() if name not in rowwise}
    sizes = {**signed.axes, **known, **dict.fromkeys(signed.batch_symbols, rows)}
    for name in {name for symbols in signed.symbols for name in symbols} - {*sizes, ""}:
        size = _computed(name, sizes)
        sizes |= {} if size is None else {name: max(size, 0)}
    return {
        tensor.name: _shape(tensor, symbols, batch, sizes)
        for tensor, symbols in zip(signed.inputs, signed.symbols, strict=True)
    }


def index_limits(model: Any) -> dict[str, int]:
    """Return the size of the smallest constant table for each input that ends as the indices of its Gather."""
    rows = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    source = {value.name: {value.name} for value in model.graph.input}
    limits: dict[str, int] = {}
    for node in model.graph.node:  # in topological order, by ONNX's own rule
        if node.op_type in _PASS_THROUGH and node.output:
            source[node.output[0]] = set().union(*(source.get(name, set()) for name in node.input))
        if node.op_type != "Gather" or len(node.input) < 2 or not rows.get(node.input[0]):
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        shape = rows[node.input[0]]
        if not -len(shape) <= axis < len(shape):
            continue
        for name in source.get(node.input[1], ()):
            limits[name] = min(limits.get(name, shape[axis]), shape[axis])
    return limits


def keys(model: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the strings and integers that encoders of categories know (ONNX-ML), and strings among the weights."""
    from onnxmodel_runtime.models import graph

    words: set[bytes] = set()
    numbers: set[int] = set()
    for node in graph.nodes(model):
        for attribute in node.attribute:
            if attribute.name in _KEYS:
                words.update(attribute.strings)
                numbers.update(attribute.ints)
    for tensor in graph.tensors(model):
        words.update(tensor.string_data)
    known = sorted(word.decode() for word in words if _is_text(word))
    return tuple(known[:_MOST_KEYS]), tuple(sorted(numbers)[:_MOST_KEYS])


def _is_text(word: bytes) -> bool:
    try:
        return bool(word.decode())
    except UnicodeDecodeError:
        return False


def _shape(tensor: Tensor, symbols: tuple[str, ...], batch: int, sizes: dict[str, int]) -> tuple[int, ...]:
    """Dynamic axes get sizes: the first is the batch, equal symbols get equal sizes."""
    return tuple(
        count if count >= 0 else sizes.get(axis_name(tensor.name, axis, symbol), batch)
        for axis, (count, symbol) in enumerate(zip(tensor.shape, symbols, strict=True))
    )


def _computed(symbol: str, sizes: dict[str, int]) -> int | None:
    """The value of a symbol that is an expression of other symbols, as exporters write it; None of any other."""
    if len(symbol) > _EXPRESSION:
        return None
    try:
        return _value(ast.parse(symbol, mode="eval").body, sizes)
    except (SyntaxError, ValueError, KeyError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr, sizes: dict[str, int]) -> int:
    match node:
        case ast.Name(id=name):
            return sizes[name]
        case ast.Constant(value=int(number)):
            return number
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_value(left, sizes), _value(right, sizes))
        case _:
            raise ValueError(f"{ast.dump(node)[:50]} is not arithmetic")


def _usual(tensor: Tensor, axis: int, image: tuple[int, ...]) -> int:
    """Images look like images."""
    if axis == 0 or len(tensor.shape) != 4 or tensor.datatype not in ("FP32", "FP16", "FP64", "UINT8"):
        return SEQUENCE
    return 3 if axis == 1 else image[axis - 2] if image else IMAGE_SIDE


def _values(tensor: Tensor, shape: tuple[int, ...], signed: Signature) -> NDArray[Any]:
    known = BY_NAME.get(tensor.datatype)
    if known is None or not known.numpy:
        raise StageError(
            "UnsupportedDatatype",
            f"input {tensor.name!r} is {tensor.datatype}",
            "Export the model with inputs that are tensors of integers, floats, booleans or strings.",
        )
    # One stream per input: adding an input to a model does not change the others' values.
    random = np.random.default_rng([SEED, zlib.crc32(tensor.name.encode())])
    if tensor.datatype == "BYTES":
        known_words = signed.words or [f"text {number}" for number in range(1000)]
        chosen = random.integers(0, len(known_words), shape)
        return np.array([known_words[index] for index in chosen.ravel()], dtype=object).reshape(shape)
    if tensor.datatype == "BOOL":
        return random.integers(0, 2, shape).astype(np.bool_)
    dtype = np.dtype(known.numpy)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if "mask" in tensor.name.lower():
        return np.ones(shape, dtype)  # a mask of noise hides whole rows, and rows without a token give NaN
    limit, fits = signed.limits.get(tensor.name, 0), np.iinfo(dtype)
    if not limit and (numbers := [number for number in signed.numbers if fits.min <= number <= fits.max]):
        return random.choice(np.array(numbers, dtype), shape)
    top = min(limit or BYTE_VALUES, fits.max + 1)
    return random.integers(0, max(top, 1), shape).astype(dtype)
