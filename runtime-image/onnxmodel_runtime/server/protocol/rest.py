"""Inference over HTTP: JSON, with tensors inside it or behind it (extension "binary_tensor_data")."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from onnxmodel_runtime.server.datatypes import BINARY_ONLY, NUMPY, Array, pack_bytes
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.limits import MAX_JSON, MAX_JSON_DEPTH
from onnxmodel_runtime.server.protocol.request import (
    VERSION,
    InferRequest,
    ModelSpec,
    NotFinite,
    Outputs,
    RawInput,
    build,
    from_buffer,
    numbers,
    presented,
    size_mismatch,
    texts,
    timeout,
    unsupported,
)

T = TypeVar("T")
LENGTH_HEADER = "Inference-Header-Content-Length"
_TOO_DEEP = f"JSON nesting depth exceeds maximum allowed limit ({MAX_JSON_DEPTH})"
_JSON_TYPES: dict[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "f": frozenset({int, float, NotFinite}),
    "O": frozenset({str}),
}
_IN_WORDS: dict[type, str] = {
    str: "a string",
    int: "a number",
    float: "a number with a fraction or an exponent",
    NotFinite: "NaN or infinite",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_NONE = "missing or null"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request, and the outputs to return in binary form."""

    request: InferRequest
    binary: frozenset[str]


def header_length(header: str | None, body_length: int) -> int | None:
    """Return the length of the JSON part. None without the header: all is JSON. 0: no JSON, the body is the tensor."""
    if header is None:
        return None
    # int() takes spaces, underscores and signs; so many digits are no length in any case.
    length = int(header) if header.isascii() and header.isdigit() and len(header) < 20 else -1
    if not 0 <= length <= body_length:
        raise ServerError(f"inference header size should be in range (0, {body_length}), got: {header}")
    return length


def decode(spec: ModelSpec, body: bytes, length: int | None) -> Decoded:
    """Decode a body. length: from header_length."""
    if length == 0:
        return _decode_raw(spec, body)
    data = memoryview(body)
    head, rest = data[:length], data[length:] if length is not None else memoryview(b"")
    if len(head) > MAX_JSON:
        raise ServerError(
            f"request JSON size of {len(head)} bytes exceeds the maximum allowed input size of {MAX_JSON} bytes",
            Code.TOO_LARGE,
        )
    try:
        document = _object(parse(head), "the request")
    except RecursionError as error:
        raise ServerError(_TOO_DEEP) from error
    request_id = _string(document.get("id", ""), "'id'")
    asked = _object(document.get("parameters", {}), "'parameters'")
    patience = timeout(asked)
    default = _flag(asked.get("binary_data_output", False), "'binary_data_output'")

    inputs: list[RawInput] = []
    for at, item in enumerate(_list(document.get("inputs"), "'inputs'")):
        raw, rest = _input(spec, _object(item, f"inputs[{at}]"), at, rest, length is not None)
        inputs.append(raw)
    if len(rest):
        raise ServerError(f"unexpected additional input data for model '{spec.name}'")

    names: list[str] = []
    classes: dict[str, int] = {}
    binary: set[str] = set()
    for at, item in enumerate(_list(document.get("outputs", []), "'outputs'")):
        name = _string(_object(item, f"outputs[{at}]").get("name"), f"'name' of outputs[{at}]")
        parameters = _object(item.get("parameters", {}), f"'parameters' of output '{name}'")
        unsupported(parameters, f"output '{name}'")
        names.append(name)
        count = parameters.get("classification", 0)
        if type(count) is not int or count < 0:
            raise ServerError(
                f"Unable to set 'classification' of output '{name}': expected a number of classes, a "
                "non-negative integer"
            )
        if count:
            classes[name] = count
        if _flag(parameters.get("binary_data", default), f"'binary_data' of output '{name}'"):
            binary.add(name)
    request = build(spec, request_id, inputs, names, patience, classes)
    return Decoded(request, frozenset(binary if names else request.outputs if default else ()))


def encode(spec: ModelSpec, decoded: Decoded, outputs: Outputs) -> tuple[bytes, int | None]:
    """Return the response's body, and the length of its JSON part if tensors follow it."""
    described: list[dict[str, Any]] = []
    blobs: list[Any] = []
    for name, datatype, array in presented(spec, decoded.request, outputs):
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if name in decoded.binary:
            blob: Any = pack_bytes(array.flat) if datatype == "BYTES" else np.ascontiguousarray(array)
            entry["parameters"] = {"binary_data_size": memoryview(blob).nbytes}
            blobs.append(blob)
        elif datatype in BINARY_ONLY:
            raise ServerError(
                f"sending {datatype} data via JSON is not supported. Please use the binary data format for output '{name}'"
            )
        else:
            entry["data"] = _texts(name, array) if datatype == "BYTES" else array.ravel().tolist()
        described.append(entry)
    answer: dict[str, Any] = {"model_name": spec.name, "model_version": VERSION, "outputs": described}
    if decoded.request.id:
        answer["id"] = decoded.request.id
    head = json.dumps(answer, separators=(",", ":")).encode()
    return (b"".join([head, *blobs]), len(head)) if blobs else (head, None)


def _decode_raw(spec: ModelSpec, body: bytes) -> Decoded:
    """A body that is nothing but the only input: its shape follows from the length."""
    if len(spec.inputs) != 1:
        raise ServerError(
            f"Raw request must only have 1 input (found 1) to be deduced but got {len(spec.inputs)} inputs in "
            f"'{spec.name}' model configuration"
        )
    tensor = spec.inputs[0]
    shape = list(tensor.shape)
    if spec.max_batch_size:
        shape[0] = 1
    unknown = [axis for axis, dim in enumerate(shape) if dim < 0]
    if len(unknown) > 1:
        raise ServerError(
            f"The shape of the raw input '{tensor.name}' can not be deduced because there are more than one "
            "variable-sized dimension"
        )
    known = math.prod(dim for dim in shape if dim >= 0)
    buffer = memoryview(body)
    if tensor.datatype == "BYTES":
        if unknown or known != 1:
            raise ServerError(f"For BYTE datatype raw input '{tensor.name}', the model must have input shape [1]")
        buffer = memoryview(len(body).to_bytes(4, "little") + body)
    elif unknown:
        shape[unknown[0]] = len(body) // max(1, known * NUMPY[tensor.datatype].itemsize)
    raw = RawInput(tensor.name, tensor.datatype, tuple(shape), partial(from_buffer, buffer))
    request = build(spec, "", [raw], [])
    return Decoded(request, frozenset(request.outputs))


def _input(
    spec: ModelSpec, item: Mapping[str, Any], at: int, rest: memoryview, has_binary: bool
) -> tuple[RawInput, memoryview]:
    name = _string(item.get("name"), f"'name' of inputs[{at}]")
    datatype = _string(item.get("datatype"), f"'datatype' of input '{name}'")
    shape = _list(item.get("shape"), f"'shape' of input '{name}'")
    if any(type(dim) is not int for dim in shape):
        raise ServerError(f"Unable to parse 'shape' of input '{name}': expected integers")
    parameters = _object(item.get("parameters", {}), f"'parameters' of input '{name}'")
    unsupported(parameters, f"input '{name}'")
    if "binary_data_size" not in parameters:
        if "data" not in item:
            raise ServerError(f"Unable to parse 'data' of input '{name}': it is missing")
        return RawInput(name, datatype, tuple(shape), partial(_from_json, item["data"])), rest
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        raise ServerError(f"Unable to parse 'binary_data_size' of input '{name}': expected a non-negative integer")
    if "data" in item:
        raise ServerError(f"unexpected 'data' for input '{name}': according to 'binary_data_size' it follows the JSON")
    if not has_binary and size:
        raise ServerError(
            f"must specify valid '{LENGTH_HEADER}' in request header and 'binary_data_size' when passing inputs in "
            "binary data format"
        )
    if size > len(rest):
        raise ServerError(
            f"unexpected size for input '{name}', expecting {size - len(rest)} additional bytes for model '{spec.name}'"
        )
    return RawInput(name, datatype, tuple(shape), partial(from_buffer, rest[:size])), rest[size:]


def _from_json(data: Any, raw: RawInput, spec: ModelSpec) -> Array:
    if raw.datatype in BINARY_ONLY:
        raise ServerError(
            f"receiving {raw.datatype} data via JSON is not supported. Please use the binary data format for input "
            f"'{raw.name}'"
        )
    what = f"'data' of input '{raw.name}'"
    dtype = NUMPY[raw.datatype]
    flat = _flatten(_list(data, what), what)
    # numpy alone would turn "1" into 1, 1.5 into 1 and true into 1.0 without a word.
    strange = set(map(type, flat)) - _JSON_TYPES.get(dtype.kind, frozenset({int}))
    if strange:
        at = next(at for at, value in enumerate(flat) if type(value) in strange)
        raise ServerError(
            f"Unable to parse {what}: element {at} is {_IN_WORDS[type(flat[at])]}, which {raw.datatype} "
            "cannot represent"
        )
    expected = math.prod(raw.shape)
    if len(flat) != expected:
        raise size_mismatch(raw, spec, expected * dtype.itemsize, len(flat) * dtype.itemsize)
    if raw.datatype == "BYTES":
        return texts(flat, raw, spec)
    return numbers(flat, raw, NotFinite)


def _texts(name: str, array: Array) -> list[str]:
    """Strings, of which those that may be no text come as bytes."""
    found: list[str] = []
    for at, element in enumerate(array.flat):
        try:
            found.append(element.decode() if isinstance(element, bytes) else element)
        except UnicodeDecodeError as error:
            raise ServerError(
                f"element {at} of output '{name}' is not UTF-8, which JSON does not support. Please use the "
                "binary data format"
            ) from error
    return found


def _flatten(data: list[Any], what: str) -> list[Any]:
    depth = 1
    while data and isinstance(data[0], list):
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise ServerError(_TOO_DEEP)
        if set(map(type, data)) != {list}:
            raise ServerError(f"Unable to parse {what}: it mixes lists and values")
        data = list(chain.from_iterable(data))
    return data


def parse(text: memoryview | bytes) -> Any:
    """Parse JSON. NaN and infinities are NotFinite: a number too large for FP64 becomes infinite too.

    Raises ServerError, and RecursionError for too deep nesting.
    """
    try:
        return json.loads(str(text, "utf-8-sig"), parse_constant=NotFinite)
    except json.JSONDecodeError as error:
        why = f"{error}"
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is not UTF-8"
    except ValueError:
        why = "it has a number with too many digits"
    raise ServerError(f"failed to parse the request JSON: {why}")


def _flag(value: Any, what: str) -> bool:
    return _checked(value, bool, what, "expected true or false")


def _object(value: Any, what: str) -> dict[str, Any]:
    return _checked(value, dict, what, "expected an object")


def _list(value: Any, what: str) -> list[Any]:
    return _checked(value, list, what, "expected a list")


def _string(value: Any, what: str) -> str:
    return _checked(value, str, what, "expected a string")


def _checked(value: Any, kind: type[T], what: str, wanted: str) -> T:
    if isinstance(value, kind):
        return value
    raise ServerError(
        f"Unable to parse {what}: {wanted}, but it is {_IN_WORDS[type(value)] if value is not None else _NONE}"
    )
