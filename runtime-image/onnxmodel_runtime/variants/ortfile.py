"""Files in the ORT format: their content, and equal bytes for equal content.

ONNX Runtime walks through a hash table of operators when it writes such a file, in an order that changes from process
to process. They come after the model, which in a FlatBuffer means before it: that part is written again, in order.
"""

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
from onnxruntime.tools.ort_format_model.ort_model_processor import OrtFormatModelProcessor
from ort_flatbuffers_py import fbs  # type: ignore[import-not-found]  # the line above puts it on the path

_ALIGNED = 64  # more than any part of the file asks for


def nodes(path: Path) -> int:
    """Return the number of nodes in the graph."""
    return int(OrtFormatModelProcessor(str(path), {}, None)._model.Graph().NodesLength())


def operators(path: Path) -> list[str]:
    """Return the operators that a build of ONNX Runtime needs, in the format of its --include_ops_by_config."""
    found: dict[str, dict[int, set[str]]] = {}
    OrtFormatModelProcessor(str(path), found, None).process()
    return [
        f"{domain};{version};{','.join(sorted(names))}"
        for domain, versions in sorted(found.items())
        for version, names in sorted(versions.items())
        if names
    ]


def sort_operators(path: Path) -> None:
    """Write the operators again, in the order of their names; the model itself stays as it is."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        session = fbs.InferenceSession.InferenceSession.GetRootAs(data, 0)
        model = session.Model()._tab.Pos
        start = min(model, model - flatbuffers.encode.Get(flatbuffers.packer.soffset, data, model))
        # Only distances matter: of the model, the builder sees as much as it needs to keep them and the alignment.
        seen = min(len(data) - start, 2 * _ALIGNED + (len(data) - start) % _ALIGNED)
        builder = flatbuffers.Builder(0)
        builder.Bytes, builder.head = bytearray(data[start : start + seen]), 0
        resolver = _resolver(builder, session.KernelTypeStrResolver())
        version = builder.CreateString(session.OrtVersion())
        part = fbs.InferenceSession
        part.Start(builder)
        part.AddOrtVersion(builder, version)
        part.AddModel(builder, seen - (model - start))
        part.AddKernelTypeStrResolver(builder, resolver)
        builder.minalign = _ALIGNED
        builder.Finish(part.End(builder), file_identifier=b"ORTM")
        front = bytes(builder.Output())[:-seen]
        target = path.with_suffix(".settled")
        with target.open("wb") as out:
            out.write(front)
            for at in range(start, len(data), 1 << 20):
                out.write(data[at : at + (1 << 20)])
    target.replace(path)


def _resolver(builder: Any, old: Any) -> int:
    """For each operator, for each of its types: the inputs and outputs that have this type."""
    part, kinds = fbs.OpIdKernelTypeStrArgsEntry, fbs.KernelTypeStrArgsEntry
    entries = []
    for entry in sorted(_all(old.OpKernelTypeStrArgs, old.OpKernelTypeStrArgsLength()), key=lambda one: one.OpId()):
        types = []
        for kind in sorted(
            _all(entry.KernelTypeStrArgs, entry.KernelTypeStrArgsLength()), key=lambda one: one.KernelTypeStr()
        ):
            found = [_argument(builder, one) for one in _all(kind.Args, kind.ArgsLength())]
            arguments = _vector(builder, kinds.StartArgsVector, found)
            name = builder.CreateString(kind.KernelTypeStr())
            kinds.Start(builder)
            kinds.AddKernelTypeStr(builder, name)
            kinds.AddArgs(builder, arguments)
            types.append(kinds.End(builder))
        listed = _vector(builder, part.StartKernelTypeStrArgsVector, types)
        name = builder.CreateString(entry.OpId())
        part.Start(builder)
        part.AddOpId(builder, name)
        part.AddKernelTypeStrArgs(builder, listed)
        entries.append(part.End(builder))
    whole = fbs.KernelTypeStrResolver
    listed = _vector(builder, whole.KernelTypeStrResolverStartOpKernelTypeStrArgsVector, entries)
    whole.Start(builder)
    whole.AddOpKernelTypeStrArgs(builder, listed)
    return int(whole.KernelTypeStrResolverEnd(builder))


def _argument(builder: Any, old: Any) -> int:
    part = fbs.ArgTypeAndIndex
    part.Start(builder)
    part.AddArgType(builder, old.ArgType())
    part.AddIndex(builder, old.Index())
    return int(part.End(builder))


def _vector(builder: Any, start: Callable[[Any, int], object], offsets: list[int]) -> int:
    start(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _all(get: Callable[[int], Any], count: int) -> Iterable[Any]:
    return (get(index) for index in range(count))
