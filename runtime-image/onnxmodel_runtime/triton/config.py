"""Triton's model configuration, built as the protobuf message and printed, never as text. Pure.

It is complete, for Triton is started with --disable-auto-complete-config: what Triton would guess depends on its version,
and takes any dynamic first axis for a batch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2 as pb

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import batch_axis
from onnxmodel_runtime.models.datatypes import BY_NAME
from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.triton.accelerators import PROFILES, Accelerators, accelerators

VERSION = "1"
# Unset is the backend's word for all; its -1 is the basic level, though the message's own comment says otherwise.
_GRAPH_LEVELS = {"All": None, "Basic": -1, "Extended": 1, "None": 2}
_DYNAMIC = -1


@dataclass(frozen=True, slots=True)
class WarmUpInput:
    """One row of an input for the warm-up. shape: with the batch axis; file: in the model's folder `warmup`."""

    shape: tuple[int, ...]
    file: str


def build(
    request: ServeRequest,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    gpus: int = 0,
    engines: str = "",
    samples: Mapping[str, WarmUpInput] | None = None,
    optional: Sequence[Tensor] = (),
    labels: Mapping[str, str] | None = None,
) -> Any:
    """The configuration of one model as Triton's message. Raises StageError for what Triton cannot serve.

    inputs, outputs: as ONNX Runtime describes the file that is served. gpus: of the container. engines: where TensorRT keeps
    what it compiled, "" for nowhere. samples: of every input; without them there is no warm-up. optional: inputs for which the
    model has values of its own. labels: the files with the labels of outputs, in the model's folder.
    """
    found = accelerators(request.providers)
    rows = batch_axis.declared(inputs, outputs, request.batch)
    batched = rows and (joins(request, inputs, outputs) or all(len(tensor.shape) > 1 for tensor in (*inputs, *outputs)))
    config = pb.ModelConfig(
        name=request.name,
        backend="onnxruntime",
        max_batch_size=request.max_batch_size if batched else 0,
        default_model_filename=request.model.rpartition("/")[2],
    )
    config.version_policy.latest.num_versions = 1
    for tensor in inputs:
        _describe(config.input.add(), tensor, "input", batched)
    # With a batch, the backend wants one as the first axis of each input, which no initializer has.
    for tensor in () if batched else filter(_exchanged, optional):
        _describe(config.input.add(optional=True), tensor, "input", batched)
    for tensor in outputs:
        _describe(config.output.add(label_filename=(labels or {}).get(tensor.name, "")), tensor, "output", batched)
    _instances(config, request, found, gpus)
    _queue(config, request, joins(request, inputs, outputs))
    _optimization(config, request, found, engines, inputs if rows else ())
    if samples is not None:
        _warm_up(config, inputs, samples)
    _parameters(config, request, found, _unjoined(request, inputs, outputs))
    return config


def text(config: Any) -> str:
    """Format the message as config.pbtxt. Equal messages give equal bytes."""
    return str(text_format.MessageToString(config))


def joins(request: ServeRequest, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Return whether requests are batched. request: its unjoined comes from repository.py."""
    return not _unjoined(request, inputs, outputs)


def _unjoined(request: ServeRequest, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    most = request.max_batch_size if batch_axis.declared(inputs, outputs, request.batch) else 0
    return joining.unjoined(replace(request, unjoined=request.unjoined or ""), most).why


def engine_key(request: ServeRequest, inputs: Sequence[Tensor], image: str, gpu: str) -> str:
    """Return a key of the engines that TensorRT may load again: it depends on model, versions, GPU and profile.

    image: Triton's: it holds the versions of TensorRT and of ONNX Runtime. gpu: the product's name.
    """
    found = accelerators(request.providers)
    made_from = {
        "model": request.sha256,
        "image": image,
        "gpu": gpu,
        "graphLevel": request.graph_level,
        "options": dict(found.gpu).get("tensorrt", {}),
        "profiles": _profiles(request, inputs),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def datatype(tensor: Tensor, what: str) -> str:
    """Return a datatype by Triton's name. Raises StageError for one that its ONNX Runtime backend lacks."""
    known = BY_NAME.get(tensor.datatype)
    if known is None or not known.numpy:
        raise StageError(
            "UnsupportedDatatype",
            f"{what} {tensor.name!r} is {tensor.datatype}, which Triton's ONNX Runtime backend does not support",
            "Cast it inside the model (BF16 to FP32 or FP16), or use the runtime onnxruntime if it serves "
            "that datatype.",
        )
    return "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"


def _exchanged(tensor: Tensor) -> bool:
    """Return whether Triton can take the tensor. An input that it cannot take keeps the model's value."""
    known = BY_NAME.get(tensor.datatype)
    return known is not None and bool(known.numpy) and 0 not in tensor.shape


def _describe(entry: Any, tensor: Tensor, what: str, batched: bool) -> None:
    entry.name, entry.data_type = tensor.name, pb.DataType.Value(datatype(tensor, what))
    if 0 in tensor.shape:
        raise StageError(
            "UnsupportedShape",
            f"{what} {tensor.name!r} has an axis of size 0, which Triton cannot serve",
            "Export the model without it, or use the runtime onnxruntime.",
        )
    dims = _own_axes(tensor.shape, batched)
    entry.dims.extend(dims)
    if batched and len(tensor.shape) == 1:
        entry.reshape.SetInParent()  # to nothing: Triton has no tensor without an axis of its own beside the batch's


def _own_axes(shape: Sequence[int], batched: bool) -> tuple[int, ...]:
    """The axes beside the batch's. A tensor that has none is [1] to clients."""
    return tuple(shape[1:] if batched else shape) or (1,)


def _instances(config: Any, request: ServeRequest, found: Accelerators, gpus: int) -> None:
    """`instances` sessions, on each GPU where GPUs are used."""
    group = config.instance_group.add(count=request.instances, kind=pb.ModelInstanceGroup.KIND_CPU)
    if found.on_gpu:
        group.kind = pb.ModelInstanceGroup.KIND_GPU
        group.gpus.extend(range(max(1, gpus)))


def _queue(config: Any, request: ServeRequest, joined: bool) -> None:
    """Triton's batcher, where requests are joined, or its queue, which the batcher owns, is bounded.

    Elsewhere there is none: its thread waits for as long as half a second when a request comes just as an instance becomes
    free and no other follows (Triton core, DynamicBatchScheduler::BatcherThread). What must not be joined has 1 as its
    preferred size.
    """
    if not (joined or request.max_queue_size or request.default_timeout_microseconds):
        return
    batching = config.dynamic_batching
    if joined:
        batching.max_queue_delay_microseconds = request.max_queue_delay_microseconds
        batching.preferred_batch_size.extend(sorted(request.preferred_batch_sizes))
    elif config.max_batch_size:
        batching.preferred_batch_size.append(1)
    policy = batching.default_queue_policy
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = request.default_timeout_microseconds
    policy.allow_timeout_override = True
    policy.max_queue_size = request.max_queue_size


def _optimization(
    config: Any, request: ServeRequest, found: Accelerators, engines: str, rows: Sequence[Tensor]
) -> None:
    level = _GRAPH_LEVELS[request.graph_level]
    if level is not None:
        config.optimization.graph.level = level
    into = config.optimization.execution_accelerators
    for name, keys in found.gpu:
        more = {**_profiles(request, rows), **_caches(found, engines)} if name == "tensorrt" else {}
        into.gpu_execution_accelerator.add(name=name, parameters={**more, **keys})
    for name in found.cpu:
        into.cpu_execution_accelerator.add(name=name)


def _caches(found: Accelerators, engines: str) -> dict[str, str]:
    if not engines or not found.cached:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": engines,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": engines,
    }


def _profiles(request: ServeRequest, inputs: Sequence[Tensor]) -> dict[str, str]:
    """One engine for every batch size, where the batch is all that is dynamic: then the shapes are known here.

    Else TensorRT learns shapes from requests, and compiles again whenever one is outside of what it has seen.
    """
    if not inputs or any(_DYNAMIC in tensor.shape[1:] or tensor.shape[:1] != (_DYNAMIC,) for tensor in inputs):
        return {}
    if any(set(tensor.name) & set(",:") for tensor in inputs):
        return {}  # a name would end where TensorRT reads a separator
    joined = request.max_queue_delay_microseconds > 0 and not request.unjoined
    usual = max(request.preferred_batch_sizes, default=request.max_batch_size) if joined else 1
    sizes = dict(zip(PROFILES, (1, usual, request.max_batch_size), strict=True))
    return {
        key: ",".join(f"{tensor.name}:{'x'.join(map(str, (size, *tensor.shape[1:])))}" for tensor in inputs)
        for key, size in sizes.items()
    }


def _warm_up(config: Any, inputs: Sequence[Tensor], samples: Mapping[str, WarmUpInput]) -> None:
    """Batches of one row and of the most. A row that is known to work: a made-up one might be refused by the model."""
    batched = config.max_batch_size > 0
    for size in sorted({1, config.max_batch_size or 1}):
        entry = config.model_warmup.add(name=f"batch-{size}", batch_size=size)
        for tensor in inputs:
            sample = samples[tensor.name]
            given = entry.inputs[tensor.name]
            given.data_type = pb.DataType.Value(datatype(tensor, "input"))
            given.dims.extend(_own_axes(sample.shape, batched))
            given.input_data_file = sample.file


def _parameters(config: Any, request: ServeRequest, found: Accelerators, unjoined: str) -> None:
    """revision and batching: which one answers and whether it joins requests, as the ONNX Runtime server tells it too."""
    given = {**found.parameters, "batching": joining.told(unjoined)}
    if request.providers.threads > 0:
        given["intra_op_thread_count"] = str(request.providers.threads)
    if request.revision:
        given["revision"] = request.revision
    for key, value in given.items():
        config.parameters[key].string_value = value
