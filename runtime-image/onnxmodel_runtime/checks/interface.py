"""Check the interface of a model that callers and authors see: versions, inputs and outputs."""

import math
from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime.checks import (
    BATCH,
    CONTRACT_INPUT,
    DATATYPE,
    EMPTY,
    IR_HIGH,
    LABELS,
    OPSET_HIGH,
    OPSET_LOW,
    SIZES,
    UNRANKED,
    Check,
)
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest
from onnxmodel_runtime.models import batch_axis, graph
from onnxmodel_runtime.models import labels as label
from onnxmodel_runtime.models.datatypes import BY_NAME
from onnxmodel_runtime.models.inputs import Signature

SERVABLE = {name for name, datatype in BY_NAME.items() if datatype.numpy}
ML = ("ai.onnx.ml",)
_USUAL_OPSET = 13  # the default of spec.validation.opset.min, which is about graphs of ai.onnx: decision 0019
_REEXPORT_BATCH = (
    "If the model has no batch axis by nature (scalars, several lengths, a state), set "
    "spec.validation.batch: None. Otherwise export with a dynamic first axis: torch.onnx.export(…, "
    "dynamic_shapes={{'{0}': {{0: 'batch'}}}}) or dynamic_axes={{'{0}': {{0: 'batch'}}}}; skl2onnx: "
    "[None, …] as the shape; tf2onnx: an input signature that starts with None. To accept a batch "
    "size that the export fixed, set spec.validation.dynamicBatch: Allowed."
)


def versions(model: Any, request: ValidateRequest, opset_max: int, ir_max: int) -> Iterator[Finding]:
    """Check opset and IR version against the author's bounds and the versions that this ONNX Runtime loads."""
    opset = graph.opset(model)
    # A model of ai.onnx.ml operators alone has no version of the standard ones.
    only_others = opset == 0 and len(model.opset_import) > 0
    if not only_others and opset < request.opset_min:
        message = f"the model uses opset {opset} of ai.onnx, but at least {request.opset_min} is required"
        if request.opset_min <= _USUAL_OPSET and (classical := graph.classical(model)):
            yield OPSET_LOW.info(
                "ai.onnx",
                f"{message}; accepted, because it is a model with ai.onnx.ml {graph.opset(model, ML)} operators "
                f"({', '.join(classical[:5])}), whose exporters use the oldest opset that works",
                f"No action needed. To refuse it anyway, set spec.validation.opset.min above {_USUAL_OPSET}.",
            )
        else:
            yield OPSET_LOW.error(
                "ai.onnx",
                message,
                f"Export with opset_version={max(request.opset_min, 17)}, or convert: onnx.version_converter."
                f"convert_version(model, {request.opset_min}). To accept it as it is, set spec.validation.opset.min: {opset}.",
            )
    bound = min(request.opset_max or opset_max, opset_max)
    if opset > bound:
        yield OPSET_HIGH.error(
            "ai.onnx",
            f"the model uses opset {opset}, but the newest supported one is {bound}",
            f"Export with opset_version={bound}.",
        )
    if model.ir_version > ir_max:
        yield IR_HIGH.error(
            "ir_version",
            f"the model has IR version {model.ir_version}, but this ONNX Runtime supports at most {ir_max}",
            f"Save it with an older onnx package, or set model.ir_version = {min(ir_max, 10)} before saving.",
        )


def datatypes(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], *, zipmap: bool) -> Iterator[Finding]:
    """Check that the Open Inference Protocol can carry each tensor. zipmap: whether the model has such a node."""
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            if tensor.datatype in SERVABLE:
                continue
            yield DATATYPE.error(
                tensor.name,
                f"{kind} {tensor.name!r} is {tensor.datatype}, which the protocol does not support",
                _plain(kind, tensor.datatype, zipmap),
            )


def _plain(kind: str, datatype: str, zipmap: bool) -> str:
    """Explain how to export a tensor that clients can exchange. kind: input or output."""
    if kind == "output" and zipmap and datatype in ("SEQUENCE", "MAP"):
        return (
            "Export plain tensors, without ZipMap: convert_sklearn(…, options={'zipmap': False}) for scikit-learn, "
            "convert_lightgbm(…, zipmap=False) for LightGBM."
        )
    if kind == "output" and datatype == "SEQUENCE":
        return (
            "Export plain tensors: concatenate the sequence in the model (ConcatFromSequence), or return "
            "each of its elements."
        )
    if datatype in ("SEQUENCE", "MAP", "OPTIONAL", "SPARSE_TENSOR", "OPAQUE", "UNKNOWN"):
        return f"Export the model with plain tensors instead of this {kind}."
    return f"Cast it in the model to one of {', '.join(sorted(SERVABLE))}."


def batch_axes(kind: str, tensors: tuple[Tensor, ...]) -> Iterator[Finding]:
    """Check that every input or output (`kind`) declares a dynamic first axis."""
    for _, tensor, what in batch_axis.obstacles(tensors, ()):
        if tensor.datatype not in BY_NAME:
            continue
        yield BATCH.error(
            tensor.name,
            f"{kind} {tensor.name!r} {what}, so requests cannot be batched",
            _REEXPORT_BATCH.format(tensor.name),
        )


def no_batch(why: str) -> Iterator[Finding]:
    """Report that a model has no batch axis by nature, which exempts it from spec.validation.dynamicBatch.

    why: the reason; "" for none.
    """
    if why:
        yield BATCH.info(
            "graph",
            f"{why}: the model has no batch axis, and each request is one inference",
            "No action needed. Set spec.validation.batch: None to declare it explicitly.",
        )


def empty_axes(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Iterator[Finding]:
    """Report tensors that never hold a value."""
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            if 0 in tensor.shape:
                message = f"{kind} {tensor.name!r} has the shape {list(tensor.shape)}: with an axis of size 0 it is always empty"
                yield EMPTY.warning(tensor.name, message)


def labels(model: Any, outputs: tuple[Tensor, ...]) -> Iterator[Finding]:
    """Report entries of the metadata property "labels" that the servers cannot use, or would use wrongly."""
    told = next((entry.value for entry in model.metadata_props if entry.key == "labels"), "{}")
    try:
        found = label.read(told)
    except (ValueError, RecursionError) as error:
        yield LABELS.warning("labels", f"the metadata property 'labels' is not used: {error}")
        return
    known = {output.name: output for output in outputs}
    for name, each in found.items():
        if name not in known:
            yield LABELS.warning(name, f"there are labels for {name!r}; the model's outputs are {', '.join(known)}")
            continue
        try:
            label.check(known[name])
        except ValueError as error:
            yield LABELS.warning(name, f"the labels of output {name!r} are not used: {error}")
            continue
        row = known[name].shape[1:]
        if row and min(row) > 0 and math.prod(row) != len(each):
            yield LABELS.warning(
                name,
                f"a row of output {name!r} has {math.prod(row)} values, but there are {len(each)} labels for them",
            )


def unranked(names: frozenset[str]) -> Iterator[Finding]:
    """Report inputs that declare no shape, and the consequences."""
    for name in sorted(names):
        yield UNRANKED.info(
            name, f"input {name!r} declares no shape: any shape is accepted, and requests are not batched"
        )


def sizes(asked: dict[str, int], signed: Signature) -> Iterator[Finding]:
    """Report sizes in the spec for axes that are not dynamic, do not exist or are the batch."""
    for name in asked:
        if name in signed.axes:
            continue
        axes = ", ".join(signed.axes) or "none besides the batch"
        message = f"spec.validation.sizes contains {name!r}; the model's dynamic axes are: {axes}"
        if name in signed.first_axes:
            yield SIZES.error(
                name,
                f"{message}; {name!r} is a first axis, which counts as the batch",
                "Remove it from spec.validation.sizes. If that axis is not a batch (time, samples, positions), set "
                "spec.validation.batch: None, and the size is used.",
            )
        else:
            yield SIZES.error(name, message)


def contract(
    check: Check,
    declared: tuple[Tensor, ...],
    actual: tuple[Tensor, ...],
    *,
    in_file: tuple[Tensor, ...] = (),
    optional: tuple[Tensor, ...] = (),
    unranked: frozenset[str] = frozenset(),
) -> Iterator[Finding]:
    """Every difference from what the author declared, by name. Nothing declared: nothing to compare.

    in_file: the same tensors with the shapes that the file declares, which an author may have copied. optional: inputs that
    may be declared and need not be. unranked: those that take any shape.
    """
    if not declared:
        return
    kind = "input" if check is CONTRACT_INPUT else "output"
    fix = f"Export the model that the contract describes, or correct {check.field}."
    have = {tensor.name: tensor for tensor in (*actual, *optional)}
    shapes = {tensor.name: tensor.shape for tensor in in_file}
    for want in declared:
        found = have.pop(want.name, None)
        if found is None:
            names = ", ".join(tensor.name for tensor in actual)
            yield check.error(want.name, f"{kind} {want.name!r} is declared; the model has {names}", fix)
            continue
        if found.datatype != want.datatype:
            message = f"{kind} {want.name!r} is declared as {want.datatype}; in the model it is {found.datatype}"
            yield check.error(want.name, message, fix)
        if want.shape not in (found.shape, shapes.get(want.name)) and want.name not in unranked:
            message = (
                f"{kind} {want.name!r} is declared with shape {list(want.shape)}; in the model {list(found.shape)}"
            )
            yield check.error(want.name, message, fix)
    for name in have.keys() - {tensor.name for tensor in optional}:
        yield check.error(name, f"the model has {kind} {name!r}, which is not declared", fix)
