"""The proof before traffic: every instance answers the probe file as the original model did."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import StageError, out_of_memory, ran_out_of_memory
from onnxmodel_runtime.models import parity, probefile
from onnxmodel_runtime.models.artifact import ANEW
from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.server.datatypes import Array
from onnxmodel_runtime.server.errors import ServerError
from onnxmodel_runtime.server.model import Instance, Model

log = logging.getLogger("onnxmodel.server")
_HINT = (
    "The optimize stage ran the same file and got other outputs. If the pool has several kinds of "
    "nodes, use one pool for each kind (spec.serving.nodePool). If the difference is small, "
    "relax spec.optimization.parity. If the model draws random numbers, export it in evaluation "
    "mode."
)
_NOT_RUN = (
    "The message has ONNX Runtime's error. The optimize stage ran the same input, so something is "
    "missing here: compare spec.serving.resources.limits.memory with what the model needs, and "
    "check the GPU and its driver if there is one."
)


def run(model: Model, request: ServeRequest) -> str:
    """Probe and warm up. Raises StageError when an answer differs.

    Every instance has then run at batch 1 and at the largest batch, and answered as the original did: some defects show at
    one size only, and what is allocated or compiled at the first run of a size is not the first client's to wait for.

    Without a probe nothing is run: inputs that the model takes are not known. Returns why requests are never joined, ""
    where they are.
    """
    if not request.probe:
        return _unjoined(model, request, {}).why
    inputs, expected = probefile.read(Path(request.probe))
    if not expected:
        raise StageError("ProbeUnreadable", f"the probe file {request.probe} contains no output", ANEW)
    for number, instance in enumerate(model.instances):
        try:
            answers = instance.run(list(expected), inputs)
        except ServerError as error:
            raise StageError("SelfTestFailed", f"cannot run the probe: {error}", _NOT_RUN) from error
        if difference := _difference(answers, expected, request.tolerance):
            raise StageError(
                "SelfTestFailed", f"instance {number} returns different outputs for the probe: {difference}", _HINT
            )
    unjoined = _unjoined(model, request, inputs)
    for number, instance in enumerate(model.instances):
        # Where rows influence each other, what the original would answer to a batch of them is not known.
        alike = {} if unjoined.influenced else expected
        _warm_up(number, instance, model, inputs, alike, request.tolerance)
    return unjoined.why


def _unjoined(model: Model, request: ServeRequest, given: Mapping[str, Array]) -> joining.Unjoined:
    """Return why requests are not batched.

    The trial runs without a delay too: it shows if a batch has known outputs.
    """
    spec = model.spec
    judged = joining.unjoined(request, spec.max_batch_size)
    if judged.influenced or spec.max_batch_size < 2:
        return judged
    run = partial(model.instances[0].run, [tensor.name for tensor in spec.outputs])
    tried = joining.tried(request, run, given, spec.max_batch_size)
    return tried if tried.why else judged


def _difference(answers: Mapping[str, Array], expected: Mapping[str, Array], bound: Tolerance) -> str:
    found = parity.compare(answers, expected, bound)
    return "" if found.passed else parity.explain(found, bound)


def _sizes(model: Model) -> tuple[int, ...]:
    """Batches to warm up at; none where the model has no batch axis, and the probe's shape is the only one known."""
    return tuple(sorted({1, model.spec.max_batch_size})) if model.spec.max_batch_size else ()


def _warm_up(
    number: int,
    instance: Instance,
    model: Model,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    tolerance: Tolerance,
) -> None:
    names = [tensor.name for tensor in model.spec.outputs]
    for rows in _sizes(model):
        try:
            answers = instance.run(names, _repeated(inputs, rows))
        except (ServerError, MemoryError) as error:
            if ran_out_of_memory(error):
                raise out_of_memory(f"warming up at a batch of {rows} rows", str(error)) from error
            raise StageError(
                "WarmUpFailed",
                f"instance {number} cannot run a batch of {rows} rows: {error}",
                "Lower spec.serving.batching.maxBatchSize to what the model can run.",
                "spec.serving.batching.maxBatchSize",
            ) from error
        given = {name: answers[name] for name in expected}
        if expected and (difference := _difference(given, _repeated(expected, rows), tolerance)):
            raise StageError(
                "SelfTestFailed",
                f"instance {number} returns different outputs for a batch of {rows} rows: {difference}",
                f"Lower spec.serving.batching.maxBatchSize, to 1 if the rows of a batch influence each other. {_HINT}",
                "spec.serving.batching.maxBatchSize",
            )


def _repeated(arrays: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """The probe's rows, over and over."""
    return {name: np.resize(array, (rows, *array.shape[1:])) for name, array in arrays.items()}
