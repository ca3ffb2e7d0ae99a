"""Check that a file is a model at all, before the protobuf parser runs or instead of it."""

import mmap
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxmodel_runtime.checks import CORRUPT, DEPTH, FILE, FILE_SIZE
from onnxmodel_runtime.checks.protobuf import NESTING, nesting
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import size
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.sandbox.memory import available_bytes

_PROTOBUF_BYTES = 2**31 - 1

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
# What people upload instead of a model, by its first bytes.
_LOOKS_LIKE = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer instead of the file itself",
        "Run git lfs pull, and use the file that it brings.",
    ),
    (
        b"<!doctype html",
        "an HTML page, often a login or an error page",
        "Check the URI in a browser: use the raw file.",
    ),
    (b"<html", "an HTML page, often a login or an error page", "Check the URI in a browser: use the raw file."),
    (b"<?xml", "an XML document, often a store's error message", "Open it to see the store's error."),
    (b"{", "a JSON document, often an error message", "Open it to see the server's error."),
    (
        b"pk\x03\x04",
        "a zip archive, like PyTorch's .pt and Keras's .keras",
        "Export the model to ONNX, and use the .onnx file without packing it.",
    ),
    (b"\x1f\x8b", "a gzip archive", "Unpack it: the .onnx file itself is expected."),
    (b"\x89hdf", "an HDF5 file, like Keras's .h5", "Export the model to ONNX, for example with tf2onnx."),
    (b"gguf", "a GGUF file for llama.cpp", "Export the model to ONNX, for example with optimum."),
    (b"\x80\x02", "a Python pickle, like older PyTorch checkpoints", "Export the model to ONNX."),
    (b"\x80\x04", "a Python pickle", "Export the model to ONNX."),
    (b"\x7felf", "a Linux executable or library", "Use the .onnx file that the exporter wrote."),
)


def file_kind(path: Path) -> Iterator[Finding]:
    """Check the kind of the file and its first bytes, without parsing it."""
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        yield FILE.error(path.name, f"there is no file {path.name}", "Put the model there.")
        return
    if kind != stat.S_IFREG:
        yield FILE.error(path.name, f"{path.name} is {_KINDS.get(kind, 'a device')}, not a regular file")
        return
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        yield FILE.error(
            path.name, "the file is empty", "Replace it with an intact copy: its export or transfer was interrupted."
        )
        return
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, what, fix in _LOOKS_LIKE:
        if start.startswith(magic):
            yield FILE.error(path.name, f"the file is {what}", fix)
            return
    if head[4:8] == b"ORTM":
        yield FILE.error(
            path.name, "the file is in ONNX Runtime's .ort format", "Use the .onnx file that it was built from."
        )
    elif head[257:262] == b"ustar":
        yield FILE.error(path.name, "the file is a tar archive", "Unpack it: the .onnx file itself is expected.")


def file_size(path: Path) -> Iterator[Finding]:
    """Check the size first: a parser with too much data fails with a meaningless message."""
    count, limit = path.stat().st_size, available_bytes()
    if count > _PROTOBUF_BYTES:
        yield FILE_SIZE.error(path.name, f"the file has {size(count)}, but protobuf reads at most 2 GiB")
    elif limit and count > limit:
        yield FILE_SIZE.error(
            path.name,
            f"the file has {size(count)}, but there are only {size(limit)} of memory to read it",
            "Give the stage more memory, or save the weights as external data.",
        )


def undecodable(path: Path, detail: str) -> Finding:
    """Explain a failure of the protobuf parser.

    A model begins with its IR version; any other file is something else.
    """
    with path.open("rb") as file:
        head = file.read(1)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            deep = nesting(content) > NESTING
    if deep:
        return DEPTH.error(
            path.name, f"messages are nested more than {NESTING} levels deep, which protobuf refuses to read"
        )
    if head in (b"\x08", b"\x12", b"\x3a"):
        return CORRUPT.error(
            path.name,
            f"the file starts like a model but cannot be decoded: it is truncated or damaged ({detail})",
            f"Replace it with an intact copy (this one has {size(path.stat().st_size)}), and compare its sha256 with the "
            "original's.",
        )
    return FILE.error(path.name, f"the file is not an ONNX model: {detail}")


def names_are_text(model: Any, path: Path) -> Iterator[Finding]:
    """Check that names are text: protobuf returns bytes for a string that is not UTF-8, which fails later elsewhere."""
    for text in _strings(model):
        if isinstance(text, bytes):
            yield CORRUPT.error(path.name, f"the model has a name that is not text: {text[:40]!r}")
            return


def _strings(model: Any) -> Iterator[Any]:
    yield from (model.producer_name, model.producer_version, model.domain)
    yield from (entry.domain for entry in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, function.overload, *function.input, *function.output)
    for body, _ in graph.graphs(model):
        yield body.name
        for value in (*getattr(body, "value_info", ()), *_values(body)):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
        for node in body.node:
            yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)
    for tensor in graph.tensors(model):
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)


def _values(body: Any) -> Iterator[Any]:
    """Inputs and outputs of a graph; a function's are names alone."""
    return (value for value in (*body.input, *body.output) if not isinstance(value, str | bytes))


def has_graph(model: Any, path: Path) -> Iterator[Finding]:
    """Check that there is a graph: protobuf accepts a message cut at the end of a field, and sometimes random bytes."""
    if model.ir_version <= 0:
        yield FILE.error(
            path.name, "the file has no IR version: it is not an ONNX model", "Use the exporter's .onnx file."
        )
    elif not model.graph.output:
        yield CORRUPT.error(path.name, "the model has no graph with outputs", "Export it again; it may be truncated.")
