"""Inference over gRPC: protobuf messages in, protobuf messages out. The messages are tritonclient's."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2, service_pb2

from onnxmodel_runtime.server.datatypes import NUMPY, Array, pack_bytes
from onnxmodel_runtime.server.errors import ServerError
from onnxmodel_runtime.server.protocol.request import (
    VERSION,
    InferRequest,
    ModelSpec,
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

# The field of InferTensorContents that carries a datatype. FP16 and BF16 have none: they come raw.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def decode(spec: ModelSpec, message: Any) -> InferRequest:
    """Decode a ModelInferRequest."""
    raws = message.raw_input_contents
    for item in message.inputs:
        if item.parameters:
            unsupported(_parameters(item.parameters), f"input '{item.name}'")
    if raws and len(raws) != len(message.inputs):
        raise ServerError(
            f"expected {len(message.inputs)} raw_input_contents but got {len(raws)} for model '{spec.name}'"
        )
    patience = timeout(_parameters(message.parameters)) if message.parameters else 0
    inputs: list[RawInput] = []
    for at, item in enumerate(message.inputs):
        if raws and item.HasField("contents"):
            raise ServerError(
                "contents field must not be specified when using raw_input_contents for "
                f"'{item.name}' for model '{spec.name}'"
            )
        if raws:
            convert = partial(from_buffer, memoryview(raws[at]))
        elif item.HasField("contents"):
            convert = partial(_from_contents, item.contents)
        elif 0 in item.shape:  # nothing to send, and protobuf leaves out what is empty
            convert = partial(from_buffer, memoryview(b""))
        else:
            raise ServerError(f"unable to find data for input tensor '{item.name}' for model '{spec.name}' in request.")
        inputs.append(RawInput(item.name, item.datatype, tuple(item.shape), convert))
    names: list[str] = []
    classes: dict[str, int] = {}
    for output in message.outputs:
        if output.parameters:
            unsupported(_parameters(output.parameters), f"output '{output.name}'")
            if "classification" in output.parameters:
                classes[output.name] = _classes(output)
        names.append(output.name)
    return build(spec, message.id, inputs, names, patience, classes)


def encode(spec: ModelSpec, request: InferRequest, outputs: Outputs) -> Any:
    """Encode the outputs as a ModelInferResponse. Tensors are raw, which every datatype supports."""
    message = service_pb2.ModelInferResponse(model_name=spec.name, model_version=VERSION, id=request.id)
    for name, datatype, array in presented(spec, request, outputs):
        message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_output_contents.append(pack_bytes(array.flat) if datatype == "BYTES" else array.tobytes())
    return message


def model_metadata(description: Mapping[str, Any]) -> Any:
    """Return a ModelMetadataResponse from describe.model."""
    return json_format.ParseDict(description, service_pb2.ModelMetadataResponse())


def model_config(description: Mapping[str, Any]) -> Any:
    """Return a ModelConfigResponse from describe.config."""
    config = json_format.ParseDict(description, model_config_pb2.ModelConfig())
    return service_pb2.ModelConfigResponse(config=config)


def statistics(entries: list[dict[str, Any]]) -> Any:
    """Return a ModelStatisticsResponse from the recorder's entries."""
    return json_format.ParseDict({"model_stats": entries}, service_pb2.ModelStatisticsResponse())


def index(entries: list[dict[str, str]]) -> Any:
    """Return a RepositoryIndexResponse from describe.index."""
    return json_format.ParseDict({"models": entries}, service_pb2.RepositoryIndexResponse())


def _from_contents(contents: Any, raw: RawInput, spec: ModelSpec) -> Array:
    field = _CONTENTS.get(raw.datatype)
    if field is None:
        raise ServerError(
            f"{raw.datatype} has no typed contents. Please use raw_input_contents for input '{raw.name}' for model "
            f"'{spec.name}'"
        )
    for other, _ in contents.ListFields():
        if other.name != field:
            raise ServerError(
                f"unexpected explicit tensor data for input tensor '{raw.name}' for model '{spec.name}' of type "
                f"'{raw.datatype}': {other.name} where {field} is expected"
            )
    values = getattr(contents, field)
    dtype = NUMPY[raw.datatype]
    expected = math.prod(raw.shape)
    if len(values) != expected:
        raise size_mismatch(raw, spec, expected * dtype.itemsize, len(values) * dtype.itemsize)
    if raw.datatype == "BYTES":
        return texts(values, raw, spec)
    return numbers(values, raw)


def _classes(output: Any) -> int:
    value = output.parameters["classification"]
    if value.WhichOneof("parameter_choice") != "int64_param":
        raise ServerError(
            f"invalid value type for 'classification' parameter of output '{output.name}', expected int64_param"
        )
    if value.int64_param <= 0:
        raise ServerError(f"invalid value for 'classification' parameter of output '{output.name}', expected > 0")
    return int(value.int64_param)


def _parameters(parameters: Any) -> dict[str, Any]:
    return {
        key: getattr(value, value.WhichOneof("parameter_choice") or "bool_param") for key, value in parameters.items()
    }
