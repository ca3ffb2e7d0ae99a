"""The one rule of the batch axis: whether axis 0 of every input and output counts the rows of a request. Pure.

Validation, made inputs, both servers, the benchmark and the load test ask here, so that a model has one answer everywhere.
A model without a batch axis is served as it is (`max_batch_size: 0`): a request is one inference, whatever its lengths.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from onnxmodel_runtime.contract.model import BATCH_FIRST, BATCH_NONE, BATCH_UNKNOWN, Tensor
from onnxmodel_runtime.models.datatypes import tensors

DYNAMIC = -1
_IDENTIFIER = re.compile(r"\w+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BATCH = re.compile(r"(?:\w*_)?(?:mini)?batch(?:es)?(?:_?(?:size|dim|axis|count|num|n|[0-9]))*_*")
Symbols = Mapping[str, Sequence[str]]
"""Tensor -> the name of each of its axes, "" where an axis has none."""


class Obstacle(NamedTuple):
    """A tensor whose first axis cannot be a batch. kind: input or output; what: the rest of the sentence."""

    kind: str
    tensor: Tensor
    what: str


def absent(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    known: str = BATCH_UNKNOWN,
    *,
    symbols: Symbols | None = None,
    unranked: Collection[str] = (),
) -> str:
    """Return why there is no batch axis. "" if there is one.

    known: declared by the author, or shown by running the model ("Auto": neither). "First" outweighs what the outputs
    declare: they were seen to have a row for each row of input. symbols: an axis other than the first that is named the
    batch is the batch. unranked: tensors of unknown rank, which decide nothing.
    """
    if known == BATCH_NONE:
        return "the model has no batch axis"
    if not inputs:
        return "the model has no input"
    seen = () if known == BATCH_FIRST else outputs
    for obstacle in obstacles(inputs, seen, unranked):
        return f"{obstacle.kind} {obstacle.tensor.name!r} {obstacle.what}"
    return "" if known == BATCH_FIRST else _elsewhere(symbols or {})


def by_nature(inputs: Sequence[Tensor], symbols: Symbols | None = None) -> str:
    """Return why the inputs show that there is no batch axis to make dynamic. "" if there may be one.

    First axes that are fixed to one size prove nothing: the model may have been exported for that batch size. Neither
    does a size of 1 beside another one, which may be the batch of an export too, unless an input has its 1 at another
    axis, as a state has.
    """
    if not inputs:
        return "the model has no input"
    fixed: dict[int, str] = {}
    for tensor in inputs:
        if not tensor.shape:
            return f"input {tensor.name!r} is a scalar"
        if tensor.shape[0] != DYNAMIC:
            fixed.setdefault(tensor.shape[0], tensor.name)
    if not any(1 in tensor.shape[1:] for tensor in inputs if tensor.shape[0] not in (DYNAMIC, 1)):
        fixed.pop(1, None)
    if len(fixed) > 1:
        (one, first), (other, second) = [*fixed.items()][:2]
        return f"the first axes of inputs {first!r} and {second!r} are fixed to {one} and {other}"
    return _elsewhere(symbols or {}) or _shared(inputs, symbols or {})


def present(inputs: Sequence[Tensor], outputs: Sequence[Tensor], known: str = BATCH_UNKNOWN) -> bool:
    """Return whether there is a batch axis, for tensors whose axes have no names."""
    return not absent(inputs, outputs, known)


def declared(inputs: Sequence[Tensor], outputs: Sequence[Tensor], known: str = BATCH_UNKNOWN) -> bool:
    """Return whether there is a batch axis that every output declares too, as Triton's backend demands."""
    return present(inputs, outputs, known) and not any(obstacles((), outputs))


def with_rows(outputs: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Return the outputs of a model with a batch axis: a row for each row of input, whatever they declare.

    LightGBM's converter declares [1] for labels that are [N].
    """
    return tuple(replace(each, shape=(DYNAMIC, *each.shape[1:])) if each.shape else each for each in outputs)


def one_row(arrays: Mapping[str, Any]) -> bool:
    """Return whether the arrays are one row of a batch, which can be repeated.

    The probe of a model without a batch axis may not be.
    """
    return all(array.shape[:1] == (1,) for array in arrays.values())


def obstacles(
    inputs: Iterable[Tensor], outputs: Iterable[Tensor], unranked: Collection[str] = ()
) -> Iterator[Obstacle]:
    """Yield every tensor without a dynamic first axis."""
    for kind, declared in (("input", inputs), ("output", outputs)):
        for tensor in declared:
            if tensor.name in unranked:
                continue
            if not tensor.shape:
                yield Obstacle(kind, tensor, "is a scalar")
            elif tensor.shape[0] != DYNAMIC:
                first = tensor.shape[0]
                what = f"has the shape {list(tensor.shape)}: its first axis is fixed to {first}"
                yield Obstacle(kind, tensor, what)


def of_session(session: Any, known: str = BATCH_UNKNOWN) -> str:
    """Return the result of `absent` for a model as ONNX Runtime describes it."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return absent(tensors(inputs), tensors(outputs), known, symbols=named((*inputs, *outputs)))


def named(values: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of axes from ONNX Runtime's shapes: a string is a name, None an axis without one."""
    return {value.name: tuple(dim if isinstance(dim, str) else "" for dim in value.shape or ()) for value in values}


def is_batch(symbol: str) -> bool:
    """Return whether exporters call a batch like this axis, by a name or an expression such as "batch_size*heads".

    A word behind "batch" makes it something else ("batch_tokens"), unless it is a size or an index.
    """
    names = _IDENTIFIER.findall(_CAMEL.sub("_", symbol))
    return any(_BATCH.fullmatch(name.lower()) for name in names)


def _shared(inputs: Sequence[Tensor], symbols: Symbols) -> str:
    """A name that all inputs share behind axis 0, where a dynamic first axis meets a fixed one: [T, B, 4] and [1, B, 3]."""
    firsts = {symbols.get(tensor.name, ("",))[0] if tensor.shape[0] == DYNAMIC else "" for tensor in inputs}
    if len({tensor.shape[0] == DYNAMIC for tensor in inputs}) < 2 or any(map(is_batch, firsts)):
        return ""
    inner = [symbols.get(tensor.name, ())[1:] for tensor in inputs]
    for symbol in inner[0]:
        if symbol and all(symbol in axes for axes in inner):
            return (
                f"axis {inner[0].index(symbol) + 1} of {inputs[0].name!r} ({symbol!r}) is the axis that all "
                "inputs share, not axis 0"
            )
    return ""


def _elsewhere(symbols: Symbols) -> str:
    for name, axes in symbols.items():
        if axes and not is_batch(axes[0]):
            for axis, symbol in enumerate(axes[1:], 1):
                if is_batch(symbol):
                    return f"axis {axis} of {name!r} is its batch axis ({symbol!r}), not axis 0"
    return ""
