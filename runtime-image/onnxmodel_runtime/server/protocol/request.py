"""The checked request, and its checks: the same for HTTP and gRPC, in Triton's words and order.

Shape and datatype are judged before a single element is converted, so that a bad request costs next to nothing.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from sys import float_info
from types import MappingProxyType
from typing import Any

import numpy as np

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.server.datatypes import NUMPY, Array, unpack_bytes
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.protocol import classification

MAX_ELEMENTS = (1 << 63) - 1
MAX_RANK = 64  # numpy's; and the product of a million dimensions would take minutes
MAX_TIMEOUT = 3_600_000_000  # an hour; event loops know no timers of years
BYTEWISE = "latin-1"  # in which any byte is a character
VERSION = "1"  # a revision is a Deployment of its own: the server has one version


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The interface of the model for clients. max_batch_size 0: the first axis is not a batch, nothing is limited.

    optional: inputs for which the model has a default. They have no batch axis. labels: meanings of the numbers of an
    output, by its name. hands_on: the model returns strings unchanged, or none. encoding: of their bytes as text.
    unranked: inputs that take any shape, because the model declares none.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int = 0
    optional: tuple[Tensor, ...] = ()
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hands_on: bool = False
    encoding: str = "utf-8"
    unranked: frozenset[str] = frozenset()

    @property
    def batched(self) -> bool:
        """True if the first axis of all tensors is the batch."""
        return self.max_batch_size > 0


@dataclass(slots=True)  # one for each request: frozen, it would take three times as long to make
class InferRequest:
    """A checked request. inputs: in the model's order; outputs: in the client's; rows: length of the batch axis, or 1.

    timeout: microseconds that it may wait for its turn; 0: as long as the server lets it. classes: outputs that the client
    wants as so many classes. alone: it gives an optional input, which holds for a whole run, so that it shares none.
    encoding: of the strings' bytes as text.
    """

    id: str
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    rows: int
    timeout: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    alone: bool = False
    encoding: str = "utf-8"


class NotText(ServerError):
    """Bytes that are not text."""


Outputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class RawInput:
    """An unconverted input. `convert` makes the array once the rest of the request is known to be valid."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    convert: "Callable[[RawInput, ModelSpec], Array]"


def build(
    spec: ModelSpec,
    request_id: str,
    inputs: Sequence[RawInput],
    outputs: Sequence[str],
    timeout: int = 0,
    classes: Mapping[str, int] = MappingProxyType({}),
) -> InferRequest:
    """Check the request against the model, then convert its inputs."""
    try:
        wanted = _outputs(spec, outputs)
        for tensor in spec.outputs:
            if tensor.name in classes:
                classification.check(tensor)
        by_name = _by_name(spec, inputs)
        rows = _rows(spec, by_name)
        given = [tensor for tensor in spec.optional if tensor.name in by_name]
        matched = {tensor.name: _match(spec, tensor, by_name[tensor.name]) for tensor in (*spec.inputs, *given)}
        arrays, encoding = _converted(spec, matched)
    except ServerError as error:
        raise ServerError(request_prefix(request_id) + error.message, error.code, error.reason) from error
    return InferRequest(request_id, arrays, wanted, rows, timeout, classes, bool(given), encoding)


def _converted(spec: ModelSpec, inputs: Mapping[str, RawInput]) -> tuple[dict[str, Array], str]:
    """The arrays, and the encoding of their strings."""
    try:
        return {name: raw.convert(raw, spec) for name, raw in inputs.items()}, spec.encoding
    except NotText:
        if not spec.hands_on:
            raise
    disguised = replace(spec, encoding=BYTEWISE)
    return {name: raw.convert(raw, disguised) for name, raw in inputs.items()}, BYTEWISE


def request_prefix(request_id: str) -> str:
    """Return the prefix of Triton's messages about a request."""
    return f"[request id: {request_id[:100] or '<id_unknown>'}] "


def dims(shape: Sequence[int]) -> str:
    """Format a shape as Triton does."""
    return "[" + ",".join(map(str, shape)) + "]"


def timeout(parameters: Mapping[str, Any]) -> int:
    """Return the timeout from a request's own parameters, in microseconds. Raises ServerError for reserved names."""
    for key in parameters:
        if key.startswith("triton_") and key != "triton_enable_empty_final_response":
            raise ServerError(
                "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
            )
    value = parameters.get("timeout", 0)
    if type(value) is not int or value < 0:
        raise ServerError("Unable to parse 'timeout': expected microseconds, a non-negative integer")
    return min(value, MAX_TIMEOUT)


def unsupported(parameters: Mapping[str, Any], what: str) -> None:
    """Refuse parameters of a tensor that this server does not support."""
    if "shared_memory_region" in parameters:
        raise ServerError(f"shared memory is not supported ({what}): send the data in the request", Code.UNSUPPORTED)


def from_buffer(buffer: memoryview, raw: RawInput, spec: ModelSpec) -> Array:
    """Return the array of an input in binary form."""
    if raw.datatype == "BYTES":
        return _strings(buffer, raw, spec)
    dtype = NUMPY[raw.datatype]
    expected = math.prod(raw.shape) * dtype.itemsize
    if len(buffer) != expected:
        raise size_mismatch(raw, spec, expected, len(buffer))
    if raw.datatype == "BOOL":  # any byte that is not 0 means true, and only 1 may reach a kernel
        return np.not_equal(np.frombuffer(buffer, np.uint8), 0).reshape(raw.shape)
    array = np.frombuffer(buffer, dtype).reshape(raw.shape)
    # The JSON before it has any length, so that elements may lie at odd addresses. Kernels expect them aligned.
    return array if array.flags.aligned else array.copy()


def presented(spec: ModelSpec, request: InferRequest, outputs: Outputs) -> Iterator[tuple[str, str, Array]]:
    """Yield name, datatype and elements of each output in the requested form. Raises ServerError."""
    datatypes = {tensor.name: tensor.datatype for tensor in spec.outputs}
    for name in request.outputs:
        count = request.classes.get(name, 0)
        if count:
            labels = spec.labels.get(name, ())
            yield name, "BYTES", classification.top(outputs[name], count, spec.batched, labels)
        elif datatypes[name] == "BYTES" and request.encoding == BYTEWISE:
            array = np.empty(outputs[name].size, np.object_)
            array[:] = [text.encode(BYTEWISE) for text in outputs[name].flat]
            yield name, "BYTES", array.reshape(outputs[name].shape)
        else:
            yield name, datatypes[name], outputs[name]


def size_mismatch(raw: RawInput, spec: ModelSpec, expected: int, got: int) -> ServerError:
    """Return the error for data that does not fill its shape; in bytes."""
    return ServerError(
        f"input byte size mismatch for input '{raw.name}' for model '{spec.name}'. Expected {expected}, got {got}"
    )


class NotFinite(float):
    """NaN or an infinity that the client wrote as such."""


def numbers(values: Sequence[Any], raw: RawInput, infinite: type = float) -> Array:
    """An array of numbers that came one by one. infinite: the type of those that may be it.

    Raises ServerError for a number that the datatype does not reach: numpy would make infinity of it, or speak of C.
    """
    dtype = NUMPY[raw.datatype]
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype) if dtype.kind in "iu" else None
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except OverflowError:
        low, high = (-float_info.max, float_info.max) if dtype.kind == "f" else (limits.min, limits.max)
        at = next(at for at, value in enumerate(values) if value < low or value > high)
    else:
        found = np.flatnonzero(np.isinf(array)).tolist() if dtype.kind == "f" else []
        at = next((at for at in found if type(values[at]) is not infinite), -1)
        if at < 0:
            return array.reshape(raw.shape)
    raise ServerError(
        f"element {at} of input '{raw.name}' is out of range: {raw.datatype} goes from {limits.min!s} to {limits.max!s}"
    )


def texts(elements: Sequence[Any], raw: RawInput, spec: ModelSpec) -> Array:
    """Return an array of strings as text: ONNX Runtime's Python API carries nothing else. Raises NotText."""
    array = np.empty(len(elements), np.object_)
    try:
        if spec.encoding == "utf-8":
            array[:] = [str(element, "utf-8") if not isinstance(element, str) else element for element in elements]
            "".join(array).encode()  # JSON can write halves of a character
        else:
            whole = [element.encode() if isinstance(element, str) else bytes(element) for element in elements]
            array[:] = [element.decode(spec.encoding) for element in whole]
    except UnicodeError as error:
        at = next(at for at, element in enumerate(elements) if not _is_text(element))
        if isinstance(elements[at], str):
            raise ServerError(
                f"element {at} of input '{raw.name}' is not text: it contains an unpaired surrogate (\\ud800 to "
                "\\udfff)"
            ) from error
        raise NotText(
            f"element {at} of input '{raw.name}' is not UTF-8, and the model does more with strings than "
            "pass them on: encode bytes as text (Base64), or use UINT8 in the model"
        ) from error
    return array.reshape(raw.shape)


def _is_text(element: Any) -> bool:
    try:
        element.encode() if isinstance(element, str) else str(element, "utf-8")
    except UnicodeError:
        return False
    return True


def _strings(buffer: memoryview, raw: RawInput, spec: ModelSpec) -> Array:
    count = math.prod(raw.shape)
    where = f"inference input '{raw.name}' for model '{spec.name}'"
    elements: list[memoryview] = []
    try:
        for element in unpack_bytes(buffer):
            elements.append(element)
            if len(elements) > count:
                raise ServerError(
                    f"unexpected number of string elements {len(elements)} for {where}, expecting {count}"
                )
    except ValueError as error:
        raise ServerError(f"incomplete string data for {where}, {error}") from error
    if len(elements) != count:
        raise ServerError(f"expected {count} string elements for {where}, got {len(elements)}")
    return texts(elements, raw, spec)


def _outputs(spec: ModelSpec, outputs: Sequence[str]) -> tuple[str, ...]:
    known = {tensor.name for tensor in spec.outputs}
    seen: set[str] = set()
    for name in outputs:
        if name in seen:
            raise ServerError(f"output '{name}' already exists in request")
        if name not in known:
            raise ServerError(f"unexpected inference output '{name}' for model '{spec.name}'")
        seen.add(name)
    return tuple(outputs) or tuple(tensor.name for tensor in spec.outputs)


def _by_name(spec: ModelSpec, inputs: Sequence[RawInput]) -> dict[str, RawInput]:
    by_name: dict[str, RawInput] = {}
    for raw in inputs:
        if raw.name in by_name:
            raise ServerError(f"input '{raw.name}' already exists in request")
        by_name[raw.name] = raw
    least, most = len(spec.inputs), len(spec.inputs) + len(spec.optional)
    known = {tensor.name for tensor in (*spec.inputs, *spec.optional)}
    unknown = [name for name in by_name if name not in known]
    missing = [tensor.name for tensor in spec.inputs if tensor.name not in by_name]
    if unknown and (not missing or len(by_name) == least):
        raise ServerError(f"unexpected inference input '{unknown[0]}' for model '{spec.name}'")
    if not least <= len(by_name) <= most or (missing and spec.optional):
        wanted = f"{least} inputs" if least == most else f"number of inputs between {least} and {most}"
        raise ServerError(
            f"expected {wanted} but got {len(by_name)} inputs for model '{spec.name}'. Got input(s) "
            f"{_names(by_name)}, but missing required input(s) {_names(missing)}. Please provide all required input(s)."
        )
    return by_name


def _names(names: Any) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"


def _rows(spec: ModelSpec, inputs: Mapping[str, RawInput]) -> int:
    for raw in inputs.values():
        if len(raw.shape) > MAX_RANK:
            raise ServerError(f"invalid shape for input '{raw.name}': it has {len(raw.shape)} dimensions")
        if any(dim < 0 for dim in raw.shape):
            raise ServerError(
                f"invalid shape for input '{raw.name}': shape {dims(raw.shape)} contains one or more invalid dimensions"
            )
        if math.prod(raw.shape) > MAX_ELEMENTS or any(dim > MAX_ELEMENTS for dim in raw.shape):
            raise ServerError(
                f"invalid shape for input '{raw.name}': shape {dims(raw.shape)} causes total element count to exceed "
                f"maximum size of {MAX_ELEMENTS}"
            )
    if spec.max_batch_size == 0:
        return 1
    rows: int | None = None
    for raw in (inputs[tensor.name] for tensor in spec.inputs):
        if not raw.shape:
            raise ServerError(f"input '{raw.name}' has no shape but model requires batch dimension for '{spec.name}'")
        if rows is not None and raw.shape[0] != rows:
            raise ServerError(f"input '{raw.name}' batch size does not match other inputs for '{spec.name}'")
        rows = raw.shape[0]
    assert rows is not None  # a model without inputs has no batch axis, and so max_batch_size 0
    if rows > spec.max_batch_size:
        raise ServerError(f"inference request batch-size must be <= {spec.max_batch_size} for '{spec.name}'")
    return rows


def _match(spec: ModelSpec, tensor: Tensor, raw: RawInput) -> RawInput:
    if raw.datatype != tensor.datatype:
        raise ServerError(
            f"inference input '{raw.name}' data-type is '{raw.datatype}', but model '{spec.name}' expects "
            f"'{tensor.datatype}'"
        )
    size = math.prod(raw.shape) * NUMPY[raw.datatype].itemsize
    if size > MAX_ELEMENTS:
        raise ServerError(
            f"byte size overflow for input '{raw.name}': {size} bytes exceed the maximum allowed size ({MAX_ELEMENTS})"
        )
    if tensor.name in spec.unranked:
        return raw
    if not tensor.shape and all(dim == 1 for dim in raw.shape):
        return replace(raw, shape=())  # Triton, and so its clients, have no scalars but [1]
    fits = len(raw.shape) == len(tensor.shape)
    if not fits or any(want not in (-1, got) for want, got in zip(tensor.shape, raw.shape, strict=True)):
        raise ServerError(
            f"unexpected shape for input '{raw.name}' for model '{spec.name}'. Expected {dims(tensor.shape)}, got "
            f"{dims(raw.shape)}."
        )
    return raw
