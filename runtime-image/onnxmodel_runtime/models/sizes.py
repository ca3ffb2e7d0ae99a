"""Find sizes for a model's dynamic axes with which it runs.

The usual ones (inputs.py) fit most models. Where they do not, the graph says more: a reshape to constant dimensions, a
matrix of so many rows, a kernel and its strides allow some sizes and exclude others. ONNX's shape inference knows that
for every operator, so sizes are tried out on it, which takes milliseconds, and only those that pass are run.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from onnxmodel_runtime.contract.text import in_words
from onnxmodel_runtime.errors import NAME_CHARACTERS, StageError, ran_out_of_memory, runtime_message
from onnxmodel_runtime.models import batch_axis, graph, inputs
from onnxmodel_runtime.models.inputs import Signature, axis_name, generate, ranked
from onnxmodel_runtime.sandbox.progress import log, step

LADDER = (
    4,
    8,
    16,
    32,
    48,
    64,
    96,
    128,
    160,
    192,
    224,
    256,
    320,
    384,
    448,
    512,
    640,
    768,
    1024,
    2048,
    4096,
    8192,
    16000,
)
_MOST, _EVERY = 16_384, 1024  # the largest size that is tried; up to the other, all are
_CONSTANTS = 48  # of the graph, as sizes
_EACH = 16  # sizes of one axis, where axes have different ones
_INFER_SECONDS, _RUN_SECONDS, _ONE_RUN_SECONDS = 15.0, 40.0, 10.0
_ROWS_SECONDS = 5.0
_RUNS = 24
_MOST_AXES = 32  # in a result
_RANKS = (2, 3, 4, 1)  # of inputs that declare none, the likeliest first
_SMALL = 1024  # bytes of a constant that can be a shape


@dataclass(frozen=True)
class Settled:
    """The signature with a size for each dynamic axis; or `error`, with which the model failed at the usual sizes.

    searched: whether other sizes than the usual ones were tried.
    """

    signed: Signature
    error: Exception | None = None
    searched: bool = False


def settle(session: Any, signed: Signature, load: Callable[[], Any]) -> Settled:
    """Find sizes at which the model runs with one row. load: returns the ModelProto, which is read where needed.

    Sizes that are given stay. Inputs that declare no shape get a rank too. Raises what the model raised where memory ran out
    at the usual sizes.
    """
    for name in sorted(signed.unranked):
        if not next(tensor.shape for tensor in signed.inputs if tensor.name == name):
            return _settle_ranks(session, signed, load)
    return _settle(session, signed, load)


def _settle_ranks(session: Any, signed: Signature, load: Callable[[], Any]) -> Settled:
    """The same where inputs declare no shape: with the usual sizes of each rank, then as scalars, then with other sizes."""
    step("determining a rank for inputs that declare no shape")
    loose = [tensor.name for tensor in signed.inputs if tensor.name in signed.unranked and not tensor.shape]
    tries = [ranked(signed, dict.fromkeys(loose, rank)) for rank in _RANKS]
    for tried in tries:
        usual = replace(tried, sizes={**tried.axes, **tried.sizes})
        if _checked(_fails(session, usual, _ONE_RUN_SECONDS)) is None:
            return Settled(usual, searched=True)
    deadline = time.monotonic() + _RUN_SECONDS
    error = _checked(_fails(session, signed, _ONE_RUN_SECONDS))
    for tried in tries if error is not None else ():
        settled = _settle(session, tried, load)
        if settled.error is None or time.monotonic() > deadline:
            return settled
    return Settled(signed, error, searched=True)


def _settle(session: Any, signed: Signature, load: Callable[[], Any]) -> Settled:
    missing = {name: usual for name, usual in signed.axes.items() if name not in signed.sizes}
    usual = replace(signed, sizes={**missing, **signed.sizes})
    if not missing:
        return Settled(usual)
    step("running the model with generated inputs")
    error = _checked(_fails(session, usual))  # for as long as it takes: the stage has a deadline of its own
    if error is None:
        return _by_row(session, signed, Settled(usual), missing, load)
    if isinstance(error, StageError):
        return Settled(usual, error)
    step("determining sizes of the dynamic axes")
    deadline = time.monotonic() + _RUN_SECONDS
    for sizes in islice(_candidates(load(), signed, missing), _RUNS):
        tried = replace(signed, sizes={**sizes, **signed.sizes})
        if _fails(session, tried, _ONE_RUN_SECONDS) is None:
            found = _by_row(session, signed, Settled(tried, searched=True), missing, load)
            log(
                f"generated inputs have the sizes {in_words(found.signed.sizes)}: the model does not run with "
                "the usual ones"
            )
            return found
        if time.monotonic() > deadline:
            break
    return Settled(usual, error, searched=True)


def _by_row(session: Any, signed: Signature, ran: Settled, missing: dict[str, int], load: Callable[[], Any]) -> Settled:
    """Sizes with which one row of input gives one row; those that ran, where they do or no others are known to.

    A reshape to rows of 144 numbers takes many sizes, and makes any number of rows of them.
    """
    if signed.unbatched:
        return ran
    answers = zip(session.get_outputs(), session.run(None, generate(ran.signed, 1)), strict=True)
    wrong = {
        output.name
        for output, answer in answers
        if np.ndim(answer) and answer.shape[0] != 1 and not isinstance((output.shape or [1])[0], int)
    }
    if not wrong:
        return ran
    bare = _bare(model := load())

    def rows(sizes: dict[str, int]) -> set[int | None]:
        shapes = _inferred(bare, replace(signed, sizes={**sizes, **signed.sizes})) or {}
        return {(shapes.get(name) or (None,))[0] for name in wrong}

    if rows(ran.signed.sizes) == {None}:
        return ran  # values decide
    for sizes in _until(time.monotonic() + _ROWS_SECONDS, _choices(model, missing)):
        if rows(sizes) == {1}:
            tried = replace(signed, sizes={**sizes, **signed.sizes})
            if _fails(session, tried, _ONE_RUN_SECONDS) is None:
                return Settled(tried, searched=True)
    return ran


def without_batch(session: Any, signed: Signature, settled: Settled, load: Callable[[], Any]) -> Settled | None:
    """Sizes with axis 0 as any other one, where the model does not run with one row; None where one row runs, or neither.

    signed: whose first axes look like a batch; settled: what `settle` found for it.
    """
    if signed.axes.keys() - signed.sizes.keys():  # then one row was run already
        error = settled.error
    else:
        step("running the model with generated inputs")
        error = _fails(session, settled.signed)
    if error is None or isinstance(error, StageError) or ran_out_of_memory(error):
        return None
    alone = replace(signed, unbatched=f"the model fails with one row: {runtime_message(error)}")
    if settled.searched:  # in vain, and another search would take as long again
        alone = replace(alone, sizes={**alone.axes, **settled.signed.sizes})
    found = _settle(session, alone, load)
    return found if _fails(session, found.signed, _ONE_RUN_SECONDS) is None else None


def kept(sizes: dict[str, int]) -> dict[str, int]:
    """As many as a result carries; the names are the model's. Those that are left out are looked for again."""
    short = {name: size for name, size in sizes.items() if len(name) <= NAME_CHARACTERS}
    return dict(list(short.items())[:_MOST_AXES])


def measured(values: list[Any], given: dict[str, Any], *, batched: bool) -> dict[str, int]:
    """The sizes of dynamic axes that inputs have. values: a session's inputs; batched: whether axis 0 is a batch."""
    found: dict[str, int] = {}
    first = {value.shape[0] for value in values if batched and value.shape}
    for value in values:
        shape = np.shape(given[value.name])
        for axis, (dim, size) in enumerate(zip(value.shape or (None,) * len(shape), shape, strict=False)):
            symbol = dim if isinstance(dim, str) else ""
            of_batch = (axis == 0 or symbol in first) if batched else batch_axis.is_batch(symbol)
            if not isinstance(dim, int) and not of_batch:
                found.setdefault(axis_name(value.name, axis, symbol), int(size))
    return kept(found)


def _fails(session: Any, signed: Signature, seconds: float = 0.0) -> Exception | None:
    """Return what the model raises at these sizes, or None.

    seconds: the limit of the run, for a search; 0: no limit.
    """
    options = ort.RunOptions()
    options.log_severity_level = 4  # failures are answers here
    try:
        with _at_most(seconds, options) if seconds else nullcontext():
            session.run(None, generate(signed, signed.batch_sizes((1,))[0]), options)
    except Exception as error:
        return error
    return None


def _checked(error: Exception | None) -> Exception | None:
    """Raise what says that memory ran out: other sizes are no answer to that."""
    if error is not None and ran_out_of_memory(error):
        raise error
    return error


@contextmanager
def _at_most(seconds: float, options: Any) -> Iterator[None]:
    def stop() -> None:
        options.terminate = True

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# ---- what the graph allows -------------------------------------------------------------------------------------------


def _candidates(model: Any, signed: Signature, missing: dict[str, int]) -> Iterator[dict[str, int]]:
    """Sizes for the axes, the likeliest first: those that shape inference accepts, or a few where it accepts none."""
    bare = _bare(model)
    found = False
    for sizes in _until(time.monotonic() + _INFER_SECONDS, _choices(model, missing)):
        if _inferred(bare, replace(signed, sizes={**sizes, **signed.sizes})):
            found = True
            yield sizes
    if not found:  # the model's own shapes may be wrong, and ONNX Runtime indifferent to them
        yield from (dict.fromkeys(missing, size) for size in _likely(model, next(iter(missing.values()))))


def _choices(model: Any, missing: dict[str, int]) -> Iterator[dict[str, int]]:
    """One size for all axes, and then different ones."""
    ordered = list(_likely(model, next(iter(missing.values()))))
    one = (dict.fromkeys(missing, size) for size in ordered)
    each = product(ordered[:_EACH], repeat=len(missing)) if 1 < len(missing) <= 4 else ()
    different = (dict(zip(missing, sizes, strict=True)) for sizes in each if len(set(sizes)) > 1)
    return chain(one, different)


def _until(deadline: float, items: Iterable[dict[str, int]]) -> Iterator[dict[str, int]]:
    for item in items:
        if time.monotonic() > deadline:
            return
        yield item


def _likely(model: Any, usual: int) -> Iterator[int]:
    """Sizes of one axis: what the graph's constants name, what models often have, and then every one; near ones first.

    Not 1, which fits nearly everywhere, for it is repeated to any size, and measures nothing.
    """

    def near(size: int) -> float:
        return abs(math.log(size / usual))

    named = sorted(_named(model), key=near)[:_CONSTANTS]
    often = sorted({*LADDER, *named}, key=near)
    return iter(dict.fromkeys((*often, *sorted(range(2, _EVERY + 1), key=near))))


def _named(model: Any) -> set[int]:
    """Dimensions of weights, and elements of constants that can be a shape, an axis's end, or the parts of a split."""
    found: set[int] = set()
    for tensor in graph.tensors(model):
        found.update(tensor.dims)
        if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32) and _size(tensor) <= 8 * _SMALL:
            try:
                found.update(int(value) for value in numpy_helper.to_array(tensor).ravel()[:64])
            except Exception:  # of a weight in another file, or damaged
                continue
    return {size for size in found if 1 < size <= _MOST}


def _size(tensor: Any) -> int:
    return int(tensor.ByteSize())


def _bare(model: Any) -> Any:
    """The graph without weights: shape inference needs their types and shapes alone, and runs a thousand times."""
    bare = onnx.ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    bare.graph.name = model.graph.name or "graph"
    bare.graph.node.extend(model.graph.node)
    bare.graph.input.extend(graph.inputs(model))
    bare.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if _size(tensor) <= _SMALL:
            bare.graph.initializer.append(tensor)
        else:
            bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return bare


def _inferred(bare: Any, signed: Signature) -> dict[str, tuple[int, ...] | None] | None:
    """The shapes of all tensors at these sizes, as far as they are known without running; None where they do not fit."""
    made = inputs.shapes(signed, signed.batch_sizes((1,))[0])
    for value in bare.graph.input:
        shape = value.type.tensor_type.shape
        if value.name in signed.unranked and not shape.dim:
            shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in made[value.name])
        if value.name in made and len(shape.dim) == len(made[value.name]):
            for dim, size in zip(shape.dim, made[value.name], strict=True):
                dim.dim_value = size
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True)
    except Exception:
        return None
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    shapes = {value.name: _known(value) for value in values}
    # Where a kernel is larger than its input, inference subtracts and goes on.
    if any(shape and min(shape) <= 0 for shape in shapes.values()):
        return None
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in bare.graph.initializer}
    counted = all(_same_count(node, shapes) for node in bare.graph.node if node.op_type == "Reshape")
    return shapes if counted else None


def _known(value: Any) -> tuple[int, ...] | None:
    """The shape; None unless every dimension is known."""
    dims = value.type.tensor_type.shape.dim
    known = value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)
    return tuple(dim.dim_value for dim in dims) if known else None


def _same_count(node: Any, shapes: dict[str, tuple[int, ...] | None]) -> bool:
    """Inference takes the dimensions of a Reshape as they are, without counting."""
    before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
    return before is None or after is None or math.prod(before) == math.prod(after)
