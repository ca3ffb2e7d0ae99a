"""What is checked of a model, one small function per question. A check yields findings and decides nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from onnxmodel_runtime import graph
from onnxmodel_runtime.contract import Finding, Tensor, ValidateRequest
from onnxmodel_runtime.datatypes import BY_NAME
from onnxmodel_runtime.errors import clip, size

SERVABLE = {name for name, datatype in BY_NAME.items() if datatype.numpy}
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
_EXTERNAL_KEYS = {"location", "offset", "length", "checksum", "basepath"}
_REEXPORT_BATCH = (
    "Export with a dynamic first axis: torch.onnx.export(…, dynamic_shapes={{'{0}': {{0: 'batch'}}}}) or "
    "dynamic_axes={{'{0}': {{0: 'batch'}}}}; skl2onnx: [None, …] as the shape; tf2onnx: an input signature that starts "
    "with None. For a model without a batch axis set spec.validation.dynamicBatch: Allowed."
)


@dataclass(frozen=True)
class Check:
    """A check's stable identity. id is what people search for, reason is what machines branch on."""

    id: str
    reason: str
    field: str = "spec.source.uri"

    def error(self, target: str, message: str, fix: str) -> Finding:
        """A finding that refuses the model where validation is enforced."""
        return Finding(self.id, "error", clip(target, 200), clip(message), clip(fix))

    def warning(self, target: str, message: str, fix: str) -> Finding:
        """A finding to know about."""
        return Finding(self.id, "warning", clip(target, 200), clip(message), clip(fix))


FILE = Check("ONNX-FILE", "NotOnnx")
CORRUPT = Check("ONNX-CORRUPT", "ModelCorrupt")
EXTERNAL = Check("ONNX-EXTERNAL-DATA", "ExternalDataInvalid")
OPSET_LOW = Check("ONNX-OPSET-LOW", "OpsetTooLow", "spec.validation.opset.min")
OPSET_HIGH = Check("ONNX-OPSET-HIGH", "OpsetTooHigh")
IR_HIGH = Check("ONNX-IR-HIGH", "IrVersionTooHigh")
CHECKER = Check("ONNX-CHECKER", "CheckerFailed")
SHAPES = Check("ONNX-SHAPES", "ShapeInferenceFailed")
DATATYPE = Check("ONNX-DATATYPE", "UnsupportedDatatype")
BATCH = Check("ONNX-BATCH", "NoDynamicBatch", "spec.validation.dynamicBatch")
CONTRACT_INPUT = Check("ONNX-CONTRACT-INPUT", "ContractMismatch", "spec.validation.inputs")
CONTRACT_OUTPUT = Check("ONNX-CONTRACT-OUTPUT", "ContractMismatch", "spec.validation.outputs")
RANDOM = Check("ONNX-RANDOM", "NotReproducible")
OPERATOR = Check("ONNX-OPERATOR", "UnsupportedOperator")
SESSION = Check("ONNX-SESSION", "SessionFailed")
RUN = Check("ONNX-RUN", "InferenceFailed")
CHECKS = {
    check.id: check
    for check in (
        *(FILE, CORRUPT, EXTERNAL, OPSET_LOW, OPSET_HIGH, IR_HIGH, CHECKER, SHAPES, DATATYPE, BATCH),
        *(CONTRACT_INPUT, CONTRACT_OUTPUT, RANDOM, OPERATOR, SESSION, RUN),
    )
}

# What people upload instead of a model, by its first bytes.
_LOOKS_LIKE = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it points to", "Run git lfs pull, then upload."),
    (
        b"<!doctype html",
        "an HTML page, often a login or an error page",
        "Check the URI in a browser: use the raw file.",
    ),
    (b"<html", "an HTML page, often a login or an error page", "Check the URI in a browser: use the raw file."),
    (b"<?xml", "an XML document, often a store's error message", "Open it: the store says there what it refuses."),
    (b"{", "a JSON document, often an error message", "Open it: the server says there what it refuses."),
    (b"pk\x03\x04", "a zip archive, as PyTorch's .pt and Keras's .keras are", "Export the model to ONNX, unpacked."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it: the .onnx file itself is expected."),
    (b"\x89hdf", "an HDF5 file, as Keras's .h5 is", "Export the model to ONNX, for example with tf2onnx."),
    (b"gguf", "a GGUF file of llama.cpp", "Export the model to ONNX, for example with optimum."),
    (b"\x80\x02", "a Python pickle, as older PyTorch checkpoints are", "Export the model to ONNX."),
    (b"\x80\x04", "a Python pickle", "Export the model to ONNX."),
)


def file_kind(path: Path) -> Iterator[Finding]:
    """Is it a model at all? Answered from the first bytes, before any parser sees the file."""
    if not path.is_file():
        yield FILE.error(path.name, f"there is no file {path.name}", "Upload the model.")
        return
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        yield FILE.error(path.name, "the file is empty", "Upload it again; its export or upload was cut short.")
        return
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, what, fix in _LOOKS_LIKE:
        if start.startswith(magic):
            yield FILE.error(path.name, f"the file is {what}", fix)
            return
    if head[4:8] == b"ORTM":
        yield FILE.error(path.name, "the file is in ONNX Runtime's .ort format", "Give the .onnx file it was made of.")
    elif head[257:262] == b"ustar":
        yield FILE.error(path.name, "the file is a tar archive", "Unpack it: the .onnx file itself is expected.")


def undecodable(path: Path, detail: str) -> Finding:
    """The protobuf parser gave up. A model begins with its IR version, so a file that does not is something else."""
    with path.open("rb") as file:
        head = file.read(1)
    if head in (b"\x08", b"\x12", b"\x3a"):
        return CORRUPT.error(
            path.name,
            f"the file begins as a model does and cannot be decoded: it is cut short or damaged ({detail})",
            f"Upload it again ({size(path.stat().st_size)} are here) and compare its sha256 with the original's.",
        )
    return FILE.error(
        path.name, f"the file is no ONNX model: {detail}", "Upload the .onnx file that the exporter wrote."
    )


def has_graph(model: Any, path: Path) -> Iterator[Finding]:
    """Protobuf accepts a message cut at a field's end, and random bytes now and then."""
    if model.ir_version <= 0:
        yield FILE.error(
            path.name, "the file has no IR version: it is no ONNX model", "Upload the exporter's .onnx file."
        )
    elif not model.graph.output:
        yield CORRUPT.error(path.name, "the model has no graph with an output", "Export it again; it may be cut short.")


def external_data(model: Any, directory: Path) -> Iterator[Finding]:
    """Weights in other files must lie beside the model, whole: nothing else of the machine is read."""
    seen: set[str] = set()
    for tensor in graph.tensors(model):
        if tensor.data_location != 1:  # TensorProto.EXTERNAL
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        problem = _external_problem(entries, directory)
        if problem and problem not in seen:
            seen.add(problem)
            yield EXTERNAL.error(
                tensor.name,
                f"tensor {tensor.name!r}: {problem}",
                "Save the model again with its data beside it (onnx.save(…, save_as_external_data=True)), upload the "
                "whole folder, and give its URI with a slash at the end.",
            )


def external_files(model: Any, directory: Path) -> set[Path]:
    """The files of external data; only after external_data found nothing."""
    locations = (
        entry.value
        for tensor in graph.tensors(model)
        if tensor.data_location == 1
        for entry in tensor.external_data
        if entry.key == "location"
    )
    return {directory / location for location in locations}


def _external_problem(entries: dict[str, str], directory: Path) -> str:
    location = entries.get("location", "")
    path = PurePosixPath(location.replace("\\", "/"))
    file = directory / path
    if unknown := sorted(set(entries) - _EXTERNAL_KEYS):
        return f"unknown entry {unknown[0]!r} in its external data"
    if not location or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return f"its data lies outside of the model's folder: {location!r}"
    if any((directory / parent).is_symlink() for parent in (path, *path.parents)) or not file.is_file():
        return f"its data file {location!r} is missing"
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "0"))
    except ValueError:
        return "offset and length of its data are no numbers"
    if offset < 0 or length < 0 or offset + length > file.stat().st_size:
        return f"its data ends at byte {offset + length} of {location!r}, which has {file.stat().st_size}"
    return ""


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


def reproducible(model: Any) -> Iterator[Finding]:
    """Operators that draw random numbers give another answer each time: parity and the probe cannot hold."""
    for node in graph.nodes(model):
        if node.op_type in _RANDOM and not any(attribute.name == "seed" for attribute in node.attribute):
            yield RANDOM.warning(
                node.name or node.op_type,
                f"node {node.name!r} ({node.op_type}) draws random numbers: answers cannot be compared",
                "Export in evaluation mode, or give the operator a seed.",
            )
