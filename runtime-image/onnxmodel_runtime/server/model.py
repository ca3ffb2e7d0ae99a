"""The model: its sessions, their inputs and outputs, and the run of one session."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime as ort

from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tensor
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS, ProviderUse
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import (
    MEMORY_WORDS,
    StageError,
    node_words,
    out_of_memory,
    ran_out_of_memory,
    runtime_words,
    words,
)
from onnxmodel_runtime.models import batch_axis, labels, ranks, tensorrt
from onnxmodel_runtime.models.artifact import check_digest
from onnxmodel_runtime.models.datatypes import tensors
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.server import binding, limits
from onnxmodel_runtime.server.datatypes import NUMPY, Array
from onnxmodel_runtime.server.errors import Code, Reason, ServerError
from onnxmodel_runtime.server.protocol.request import ModelSpec, Outputs

log = logging.getLogger("onnxmodel.server")
_UP = 1.125
_FAR = 100  # times INLINE_NS: what takes so long must not happen often where it blocks all others
_LARGER = 2  # times the largest inputs that were quick; what is larger is tried in another thread first
_INVALID = "[ONNXRuntimeError] : 2 : "  # a status that is about arguments, by its number
# What kernels say of inputs that do not fit under any other number.
_REFUSAL = re.compile(
    r"\b(?:dimensions?|shapes?|rank|axis|broadcast\w*|(?:mis|does not )match\w*|not equal|invalid argument|"
    r"out of (?:data )?(?:bounds|range)|in (?:valid )?range|not a number)\b"
)
# Of the machine, of a provider, and of a run that we interrupt.
_FAULTS = (
    *(*MEMORY_WORDS, "terminate flag", "not implemented", "not_implemented"),
    *("cuda", "cudnn", "cublas", "tensorrt", "trt ep", "openvino", "migraphx", "qnn"),
)
_PLAIN = frozenset(NUMPY) - {binding.BF16}


class Instance:
    """One session. It runs in one thread at a time. ONNX Runtime releases the GIL while it runs."""

    def __init__(self, session: Any, *, bound: bool = False, bf16: frozenset[str] = frozenset()) -> None:
        """bound: bind inputs and outputs, as binding.py does; bf16: inputs and outputs of that datatype."""
        self._session = session
        self._bound = bound
        self._bf16 = bf16
        self._options = ort.RunOptions()
        self.typical = 0.0
        """Running median of a run's nanoseconds. Outliers far beyond INLINE_NS move it, others do not. 0 if not known.
        """
        self.quick_bytes = 0
        """Bytes of the largest inputs whose run took less than INLINE_NS."""

    def run(self, outputs: Sequence[str], inputs: Outputs) -> dict[str, Array]:
        """Run the model. Raises ServerError with ONNX Runtime's own words: INVALID where the inputs do not fit."""
        try:
            if self._bound:
                arrays = binding.run(self._session, outputs, inputs, self._bf16, self._options)
            else:
                arrays = self._session.run(list(outputs), inputs, self._options)
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime has an exception class for each status, without a common base
            # ONNX Runtime has written all its words to the log.
            code, reason = (Code.INVALID, Reason.OTHER) if _of_the_inputs(error) else (Code.INTERNAL, Reason.BACKEND)
            raise ServerError(f"onnx runtime error: {runtime_words(error)}", code, reason) from error
        return dict(zip(outputs, arrays, strict=True))

    def took(self, ns: int, inputs: Outputs) -> None:
        """Record how long a run of these inputs took."""
        if ns > _FAR * limits.INLINE_NS > 0:
            self.typical = float(ns)  # and dozens of quick runs before it is quick again
            return
        self.typical = self.typical * (_UP if ns > self.typical else 1 / _UP) or float(ns)
        if ns < limits.INLINE_NS:
            self.quick_bytes = max(self.quick_bytes, _bytes(inputs))

    def fits(self, inputs: Outputs) -> bool:
        """Return whether inputs are not much larger than those of a run that was quick."""
        return _bytes(inputs) <= _LARGER * self.quick_bytes

    def interrupt(self) -> None:
        """Make the run in progress fail at its next node, and no later one."""
        options, self._options = self._options, ort.RunOptions()
        options.terminate = True

    def terminate(self) -> None:
        """Make the run in progress fail at its next node, and every later one at once."""
        self._options.terminate = True


def _of_the_inputs(error: Exception) -> bool:
    """Return whether the session or a node refuses its inputs: the model has passed its probe, so the request is wrong.

    A node is judged by its words alone, since operators and names are the model's. Anything unknown is a fault.
    """
    invalid = words(error).startswith(_INVALID)
    said = node_words(error)
    if not said:
        return invalid
    said = said.lower()
    return (invalid or _REFUSAL.search(said) is not None) and not any(word in said for word in _FAULTS)


def _bytes(inputs: Outputs) -> int:
    """Bytes of the inputs; of strings, the references and the text."""
    return sum(array.nbytes + (_text(array) if array.dtype.hasobject else 0) for array in inputs.values())


def _text(array: Array) -> int:
    return sum(map(len, array.ravel().tolist()))


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model. use: the provider that runs it; branches: whether values decide how long a run takes."""

    spec: ModelSpec
    instances: tuple[Instance, ...]
    use: ProviderUse
    branches: bool = False


def load(request: ServeRequest) -> Model:
    """Check the file, then open a session for every instance. Raises StageError."""
    path = Path(request.model)
    check_digest(path, request.sha256, request.data_sha256)
    providers = tensorrt.tuned(
        request.providers,
        path,
        request.sha256 + request.data_sha256,
        most=request.max_batch_size,
        preferred=request.preferred_batch_sizes,
        cache=request.engine_cache,
    )
    opened = []
    for _ in range(max(1, request.instances)):
        try:
            opened.append(open_session(path, providers, request.graph_level))
        except StageError:
            raise
        except Exception as error:
            if ran_out_of_memory(error):
                raise out_of_memory("loading the model", runtime_words(error)) from error
            raise StageError(
                "LoadFailed",
                f"ONNX Runtime cannot load {path}: {runtime_words(error)}",
                "Validate the model with the image that serves it: its ONNX Runtime reports what it cannot load.",
            ) from error
    spec = describe(request.name, opened[0].session, request.max_batch_size, request.batch)
    if all(any(tensor.datatype == "BYTES" for tensor in side) for side in (spec.inputs, spec.outputs)):
        from onnxmodel_runtime.server import strings  # which loads onnx: tens of megabytes that few servers need

        spec = replace(spec, hands_on=strings.handed_on(path))
    if any(not tensor.shape for tensor in spec.inputs):
        spec = replace(spec, unranked=_unranked(path, spec.inputs))
    exchanged = (*spec.inputs, *spec.outputs)
    bf16 = frozenset(tensor.name for tensor in exchanged if tensor.datatype == binding.BF16)
    texts = [tensor.name for tensor in exchanged if tensor.datatype == "BYTES"]
    if bf16 and texts:
        raise StageError(
            "UnsupportedDatatype",
            f"{min(bf16)!r} is BF16 and {texts[0]!r} is a string tensor; ONNX Runtime's Python API cannot "
            "run them together",
            "Cast BF16 to FP32 or FP16 inside the model.",
        )
    bind = bool(bf16) or (opened[0].use.name in GPU_PROVIDERS and not texts)
    instances = tuple(Instance(loaded.session, bound=bind, bf16=bf16) for loaded in opened)
    return Model(spec, instances, opened[0].use, ranks.branches(path))


def describe(name: str, session: Any, max_batch_size: int, batch: str = BATCH_UNKNOWN) -> ModelSpec:
    """Describe the session's inputs and outputs. batch: the known facts of its batch axis."""
    inputs = _exchanged(session.get_inputs(), "input")
    outputs = _exchanged(session.get_outputs(), "output")
    # Initializers that are graph inputs, too. Those that no request can carry keep their values.
    own = tensors(session.get_overridable_initializers())
    optional = tuple(tensor for tensor in own if tensor.datatype in _PLAIN)
    most = 0 if batch_axis.of_session(session, batch) else max(0, max_batch_size)
    if most:
        outputs = batch_axis.with_rows(outputs)
    return ModelSpec(name, inputs, outputs, most, optional, _labels(session.get_modelmeta().custom_metadata_map))


def _unranked(path: Path, inputs: tuple[Tensor, ...]) -> frozenset[str]:
    """Inputs that ONNX Runtime describes as it does scalars, because the file says nothing of their shape."""
    known = ranks.unranked(path)
    return frozenset(tensor.name for tensor in inputs if tensor.name in known)


def _labels(properties: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    try:
        return labels.read(properties.get("labels", "{}"))
    except (ValueError, RecursionError) as error:
        log.warning("the model's metadata property 'labels' is not used: %s", error)
        return {}


def _exchanged(values: Iterable[Any], what: str) -> tuple[Tensor, ...]:
    found = tensors(values)
    if odd := [tensor for tensor in found if tensor.datatype not in NUMPY]:
        raise StageError(
            "UnsupportedDatatype",
            f"{what} {odd[0].name!r} is a {odd[0].datatype}, which the ONNX Runtime server does not support",
            "Cast it inside the model to a datatype of the Open Inference Protocol, or export the model "
            "with tensors instead of sequences or maps.",
        )
    return found
