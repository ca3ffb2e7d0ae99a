"""What callers and authors see of a model: versions, inputs and outputs."""

from collections.abc import Iterator
from typing import Any

from onnxmodel_runtime import graph
from onnxmodel_runtime.checks import BATCH, CONTRACT_INPUT, DATATYPE, IR_HIGH, OPSET_HIGH, OPSET_LOW, Check
from onnxmodel_runtime.contract import Finding, Tensor, ValidateRequest
from onnxmodel_runtime.datatypes import BY_NAME

SERVABLE = {name for name, datatype in BY_NAME.items() if datatype.numpy}
_REEXPORT_BATCH = (
    "Export with a dynamic first axis: torch.onnx.export(…, dynamic_shapes={{'{0}': {{0: 'batch'}}}}) or "
    "dynamic_axes={{'{0}': {{0: 'batch'}}}}; skl2onnx: [None, …] as the shape; tf2onnx: an input signature that starts "
    "with None. For a model without a batch axis set spec.validation.dynamicBatch: Allowed."
)


def versions(model: Any, request: ValidateRequest, opset_max: int, ir_max: int) -> Iterator[Finding]:
    """Opset and IR version, against the author's bounds and what this ONNX Runtime loads."""
    opset = graph.opset(model)
    # A model of ai.onnx.ml operators alone has no version of the standard ones.
    only_others = opset == 0 and len(model.opset_import) > 0
    if not only_others and opset < request.opset_min:
        yield OPSET_LOW.error(
            "ai.onnx",
            f"the model uses opset {opset}, at least {request.opset_min} is asked for",
            f"Export with opset_version={max(request.opset_min, 17)}, or convert: onnx.version_converter."
            f"convert_version(model, {request.opset_min}).",
        )
    bound = min(request.opset_max or opset_max, opset_max)
    if opset > bound:
        yield OPSET_HIGH.error(
            "ai.onnx",
            f"the model uses opset {opset}, the newest that is served here is {bound}",
            f"Export with opset_version={bound}.",
        )
    if model.ir_version > ir_max:
        yield IR_HIGH.error(
            "ir_version",
            f"the model has IR version {model.ir_version}, this ONNX Runtime reads up to {ir_max}",
            f"Save it with an older onnx package, or set model.ir_version = {min(ir_max, 10)} before saving.",
        )


def datatypes(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Iterator[Finding]:
    """Only tensors can travel in the Open Inference Protocol."""
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            if tensor.datatype in SERVABLE:
                continue
            yield DATATYPE.error(
                tensor.name,
                f"{kind} {tensor.name!r} is {tensor.datatype}, which cannot be sent to or by a server",
                "Export plain tensors; for scikit-learn: convert_sklearn(…, options={'zipmap': False})."
                if tensor.datatype in ("SEQUENCE", "MAP")
                else f"Cast it in the model to one of {', '.join(sorted(SERVABLE))}.",
            )


def batch_axes(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], known_rank: set[str]) -> Iterator[Finding]:
    """Every input and output needs a dynamic first axis. known_rank: the tensors whose shape is declared or inferred."""
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            if tensor.datatype not in BY_NAME or (kind == "output" and tensor.name not in known_rank):
                continue  # an output of unknown shape is settled by running the model with several rows
            if not tensor.shape:
                what = "has no axis at all" if tensor.name in known_rank else "declares no shape"
            elif tensor.shape[0] >= 0:
                what = f"has the shape {list(tensor.shape)}: its first axis is fixed to {tensor.shape[0]}"
            else:
                continue
            yield BATCH.error(
                tensor.name,
                f"{kind} {tensor.name!r} {what}, so requests cannot be batched",
                _REEXPORT_BATCH.format(tensor.name),
            )


def contract(check: Check, declared: tuple[Tensor, ...], actual: tuple[Tensor, ...]) -> Iterator[Finding]:
    """Every difference from what the author declared, by name. Nothing declared: nothing to compare."""
    if not declared:
        return
    kind = "input" if check is CONTRACT_INPUT else "output"
    fix = f"Export the model that the contract describes, or correct {check.field}."
    have = {tensor.name: tensor for tensor in actual}
    for want in declared:
        found = have.pop(want.name, None)
        if found is None:
            names = ", ".join(tensor.name for tensor in actual)
            yield check.error(want.name, f"{kind} {want.name!r} is declared; the model has {names}", fix)
            continue
        if found.datatype != want.datatype:
            message = f"{kind} {want.name!r} is declared as {want.datatype}; in the model it is {found.datatype}"
            yield check.error(want.name, message, fix)
        if found.shape != want.shape:
            message = (
                f"{kind} {want.name!r} is declared with shape {list(want.shape)}; in the model {list(found.shape)}"
            )
            yield check.error(want.name, message, fix)
    for name in have:
        yield check.error(name, f"the model has the {kind} {name!r}, which is not declared", fix)
