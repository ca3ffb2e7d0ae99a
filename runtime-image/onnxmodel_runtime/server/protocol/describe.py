"""Metadata of the server and its model as plain data: REST sends it as JSON, gRPC fills its messages from it."""

from importlib import metadata
from typing import Any

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS, ProviderUse
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.server.datatypes import triton
from onnxmodel_runtime.server.protocol.request import VERSION, ModelSpec

PLATFORM = "onnxruntime_onnx"
# What works in full. "model_repository" is missing: the index can be asked for, models cannot be loaded by clients.
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "statistics")


_SHARED = "shared memory: send tensors in the request"
# What clients of other servers may ask for, by the part of the path and by gRPC's methods, and what to do instead.
UNSUPPORTED = {
    "repository": "loading and unloading of models: it serves only the model of its OnnxModel",
    "systemsharedmemory": _SHARED,
    "cudasharedmemory": _SHARED,
    "trace": "trace settings: a request with a traceparent is part of that trace",
    "logging": "log settings: spec.serving.accessLog is set in the OnnxModel",
    "generate": "generate: use infer",
    "generate_stream": "generate_stream: use infer, or ModelStreamInfer over gRPC",
}
UNSUPPORTED_METHODS = {
    "RepositoryModelLoad": UNSUPPORTED["repository"],
    "RepositoryModelUnload": UNSUPPORTED["repository"],
    **{
        f"{kind}SharedMemory{what}": _SHARED
        for kind in ("System", "Cuda")
        for what in ("Status", "Register", "Unregister")
    },
    "TraceSetting": UNSUPPORTED["trace"],
    "LogSettings": UNSUPPORTED["logging"],
}


def server() -> dict[str, Any]:
    """Return the server's metadata."""
    try:
        version = metadata.version("onnxmodel-operator")
    except metadata.PackageNotFoundError:  # run from a source tree
        version = "0"
    return {"name": "onnxmodel", "version": version, "extensions": list(EXTENSIONS)}


def model(spec: ModelSpec) -> dict[str, Any]:
    """Return the model's metadata. Shapes are whole, the batch axis included."""
    return {
        "name": spec.name,
        "versions": [VERSION],
        "platform": PLATFORM,
        "inputs": [_metadata(tensor) for tensor in (*spec.inputs, *spec.optional)],
        "outputs": [_metadata(tensor) for tensor in spec.outputs],
    }


def config(spec: ModelSpec, use: ProviderUse, request: ServeRequest, unjoined: str) -> dict[str, Any]:
    """Return the model's configuration in Triton's shape. unjoined: why requests are not batched; "" if they are.

    Its parameters are the provider that serves, the revision, and whether requests are batched.
    """
    batched = spec.batched
    answer: dict[str, Any] = {
        "name": spec.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": spec.max_batch_size,
        "input": [
            *(_config(tensor, batched) for tensor in spec.inputs),
            *({**_config(tensor, False), "optional": True} for tensor in spec.optional),
        ],
        "output": [_config(tensor, batched) for tensor in spec.outputs],
        "instance_group": [
            {"count": max(1, request.instances), "kind": "KIND_GPU" if use.name in GPU_PROVIDERS else "KIND_CPU"}
        ],
        "default_model_filename": "model.onnx",
        "parameters": {
            "execution_provider": {"string_value": use.name},
            "execution_provider_share": {"string_value": str(float(use.share_percent))},
            "batching": {"string_value": joining.told(unjoined)},
        },
    }
    if request.revision:
        answer["parameters"]["revision"] = {"string_value": request.revision}
    if not unjoined:
        answer["dynamic_batching"] = _batching(request)
    return answer


def index(name: str, ready: bool, reason: str) -> list[dict[str, str]]:
    """Return the repository's index: one model."""
    return [{"name": name, "version": VERSION, "state": "READY" if ready else "UNAVAILABLE", "reason": reason}]


def _batching(request: ServeRequest) -> dict[str, Any]:
    return {
        "preferred_batch_size": list(request.preferred_batch_sizes),
        "max_queue_delay_microseconds": request.max_queue_delay_microseconds,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": request.default_timeout_microseconds,
            "allow_timeout_override": True,
            "max_queue_size": request.max_queue_size,
        },
    }


def _metadata(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _config(tensor: Tensor, batched: bool) -> dict[str, Any]:
    dims = tensor.shape[1:] if batched else tensor.shape
    return {"name": tensor.name, "data_type": triton(tensor.datatype), "dims": list(dims)}
