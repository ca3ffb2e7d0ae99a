"""Clients send the same request again and again, with other numbers in its tensors. What is the same is worked out once.

A head (a request without its tensors and its id) that was accepted is remembered by its bytes, with the layout of the
tensors behind it. Only requests whose tensors come and go in binary form, with datatypes that need no conversion, are;
all others, and every head that is new, take the way of rest.py and grpc.py, which alone judge and refuse.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from onnxmodel_runtime.server.datatypes import NUMPY, Array
from onnxmodel_runtime.server.protocol import grpc, rest
from onnxmodel_runtime.server.protocol.request import VERSION, InferRequest, ModelSpec, Outputs

MAX_HEADS = 64
MAX_HEAD = 4096
"""Maximum bytes of a cached head."""
MAX_ANSWERS = 16
"""Maximum output shapes cached for one head."""
_ID = re.compile(rb'\{"id":"([A-Za-z0-9_.:-]{1,64})",')  # as tritonclient and most others begin
_PLAIN = frozenset(NUMPY) - {"BYTES", "BOOL", "BF16"}
_MORE = tuple(item.name for item in fields(InferRequest))[4:]  # what a head may hold besides
_ID_TAG, _RAW_TAG = b"\x1a", b"\x32"  # fields 3 and 6 of ModelInferResponse

Body = tuple[bytes, int | None]


@dataclass(frozen=True, slots=True)
class _Slice:
    """An input. at: where it begins behind the head (REST), or the number of its blob (gRPC)."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    at: int
    count: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """The parsed form of a head. sizes: of the tensors in bytes; answers: their beginnings, by the outputs' shapes."""

    tensors: tuple[_Slice, ...]
    sizes: list[int]
    size: int
    outputs: tuple[str, ...]
    rows: int
    more: tuple[Any, ...]
    answers: dict[Any, bytes] = field(default_factory=dict)

    def request(self, request_id: str, arrays: dict[str, Array]) -> InferRequest:
        return InferRequest(request_id, arrays, self.outputs, self.rows, *self.more)


class _Memory:
    """Plans by their heads; the oldest is forgotten first."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._plans: dict[bytes, _Plan] = {}
        self._binary = all(tensor.datatype != "BYTES" for tensor in spec.outputs)

    def _put(
        self, head: bytes, request: InferRequest, tensors: list[tuple[str, str, tuple[int, ...], int, int]]
    ) -> None:
        """Remember a request that was accepted, with its inputs: name, datatype, shape, place and bytes."""
        if (
            not self._binary
            or request.classes
            or len(head) > MAX_HEAD
            or any(item[1] not in _PLAIN or request.inputs[item[0]].shape != item[2] for item in tensors)
        ):
            return
        made = {item[0]: _tensor(*item) for item in tensors}
        sizes = [item[4] for item in tensors]
        more = tuple(getattr(request, name) for name in _MORE)
        inputs = tuple(made[name] for name in request.inputs)
        if len(self._plans) >= MAX_HEADS:
            del self._plans[next(iter(self._plans))]
        self._plans[head] = _Plan(inputs, sizes, sum(sizes), request.outputs, request.rows, more)


class Rest(_Memory):
    """rest.decode and rest.encode with a memory."""

    def decode(self, body: bytes, length: int | None) -> tuple[InferRequest, Callable[[Outputs], Body]]:
        """Decode a body. Returns the request, and the function that encodes its outputs."""
        spec = self._spec
        if not length or length > MAX_HEAD:
            decoded = rest.decode(spec, body, length)
            return decoded.request, partial(rest.encode, spec, decoded)
        found = _ID.match(body)
        head = body[found.end() : length] if found else body[:length]
        plan = self._plans.get(head)
        if plan is None or len(body) - length != plan.size:
            decoded = rest.decode(spec, body, length)
            # The id must not be elsewhere, or it would be remembered.
            if plan is None and b'"id"' not in head and b"\\" not in head:
                self._learn(head, body[:length], decoded)
            return decoded.request, partial(rest.encode, spec, decoded)
        arrays = {}
        for tensor in plan.tensors:
            array = np.frombuffer(body, tensor.dtype, tensor.count, length + tensor.at).reshape(tensor.shape)
            arrays[tensor.name] = array if array.flags.aligned else array.copy()
        request = plan.request(found[1].decode() if found else "", arrays)
        return request, partial(self._encode, plan, request)

    def _encode(self, plan: _Plan, request: InferRequest, outputs: Outputs) -> Body:
        arrays = [outputs[name] for name in plan.outputs]
        shapes = tuple([array.shape for array in arrays])
        begin = plan.answers.get(shapes)
        if begin is None:
            unnamed = rest.Decoded(replace(request, id=""), frozenset(plan.outputs))
            body, length = rest.encode(self._spec, unnamed, outputs)
            assert length is not None
            begin = body[: length - 1]
            if len(plan.answers) < MAX_ANSWERS:
                plan.answers[shapes] = begin
        head = b'%b,"id":"%b"}' % (begin, request.id.encode()) if request.id else begin + b"}"
        return b"".join([head, *[array.tobytes() for array in arrays]]), len(head)

    def _learn(self, head: bytes, text: bytes, decoded: rest.Decoded) -> None:
        tensors, at = [], 0
        for item in json.loads(text)["inputs"]:
            size = item.get("parameters", {}).get("binary_data_size")
            if size is None:
                return
            tensors.append((item["name"], item["datatype"], tuple(item["shape"]), at, size))
            at += size
        if decoded.binary.issuperset(decoded.request.outputs):
            self._put(head, decoded.request, tensors)


class Grpc(_Memory):
    """grpc.decode and grpc.encode with a memory. They change the message that they are given."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        message = service_pb2.ModelInferResponse(model_name=spec.name, model_version=VERSION)
        self._begin = bytes(message.SerializeToString())  # what stands in front of an answer's id

    def decode(self, message: Any) -> tuple[InferRequest, Callable[[Outputs], bytes]]:
        """Decode a message. Returns the request, and the function that encodes and serializes its outputs."""
        blobs, request_id = list(message.raw_input_contents), message.id
        message.ClearField("raw_input_contents")
        message.ClearField("id")
        head = message.SerializeToString()
        plan = self._plans.get(head)
        if plan is None or [len(blob) for blob in blobs] != plan.sizes:
            message.raw_input_contents.extend(blobs)
            message.id = request_id
            request = grpc.decode(self._spec, message)
            if plan is None and blobs:
                sizes = enumerate(map(len, blobs))
                inputs = zip(message.inputs, sizes, strict=True)
                self._put(head, request, [(i.name, i.datatype, tuple(i.shape), *place) for i, place in inputs])
            return request, partial(self._encode_new, request)
        arrays = {
            tensor.name: np.frombuffer(blobs[tensor.at], tensor.dtype).reshape(tensor.shape) for tensor in plan.tensors
        }
        request = plan.request(request_id, arrays)
        return request, partial(self._encode, plan, request)

    def _encode_new(self, request: InferRequest, outputs: Outputs) -> bytes:
        return bytes(grpc.encode(self._spec, request, outputs).SerializeToString())

    def _encode(self, plan: _Plan, request: InferRequest, outputs: Outputs) -> bytes:
        arrays = [outputs[name] for name in plan.outputs]
        shapes = tuple([array.shape for array in arrays])
        begin = plan.answers.get(shapes)
        if begin is None:
            message = grpc.encode(self._spec, replace(request, id=""), outputs)
            message.ClearField("raw_output_contents")
            begin = bytes(message.SerializeToString())
            assert begin.startswith(self._begin)
            begin = begin[len(self._begin) :]
            if len(plan.answers) < MAX_ANSWERS:
                plan.answers[shapes] = begin
        parts = [self._begin]
        if request.id:
            name = request.id.encode()
            parts += (_ID_TAG, _varint(len(name)), name)
        parts.append(begin)
        for array in arrays:
            parts += (_RAW_TAG, _varint(array.nbytes), array.tobytes())
        return b"".join(parts)


def _tensor(name: str, datatype: str, shape: tuple[int, ...], at: int, size: int) -> _Slice:
    dtype = NUMPY[datatype]
    return _Slice(name, dtype, shape, at, size // dtype.itemsize)


def _varint(value: int) -> bytes:
    if value < 128:
        return bytes((value,))
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


assert service_pb2.ModelInferResponse.DESCRIPTOR.fields_by_name["id"].number == _ID_TAG[0] >> 3
assert service_pb2.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number == _RAW_TAG[0] >> 3
