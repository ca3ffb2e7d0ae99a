"""Facts of a model file that ONNX Runtime does not report: tensors without a shape, and runs of unpredictable duration.

The server has no onnx package in memory: the file is mapped, and all but a few bytes of it are skipped.
"""

import mmap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

_GRAPH, _FUNCTION = 7, 25  # fields of ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 5, 11, 12, 15  # of GraphProto
_FUNCTION_NODE = 7  # of FunctionProto
_NODES = {_GRAPH: _NODE, _FUNCTION: _FUNCTION_NODE}
_READ, _WRITTEN, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5  # of NodeProto
_SUBGRAPH, _SUBGRAPHS = 6, 11  # of its attributes
_TENSOR_NAME, _SPARSE_VALUES = 8, 1  # of TensorProto and SparseTensorProto
_NAME, _TYPE = 1, 2  # of ValueInfoProto
_TENSOR, _SHAPE = 1, 2  # of TypeProto, and of its tensor type
_LENGTH, _EIGHT, _FOUR = 2, 1, 5  # wire types of protobuf; 0 is a number


_ORT_FORMAT = b"ORTM"  # a flatbuffer's identifier, behind four bytes
_BRANCHING = ("If", "Loop", "Scan", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")
# Operator of any domain -> its inputs whose values say how large its output is.
_SIZES: Mapping[bytes, Collection[int]] = {
    **dict.fromkeys((b"ConstantOfShape", b"HannWindow", b"HammingWindow", b"BlackmanWindow"), (0,)),
    **dict.fromkeys((b"Expand", b"Tile", b"Upsample", b"Pad", b"OneHot", b"CenterCropPad", b"Col2Im", b"AffineGrid"), (1,)),
    **dict.fromkeys((b"DFT", b"ConvTransposeWithDynamicPads"), (1, 2)),
    b"MaxUnpool": (2,),
    b"CropAndResize": (3,),
    b"STFT": (1, 3),
    b"Resize": (1, 2, 3),
    b"Range": (0, 1, 2),
    b"MelWeightMatrix": (0, 1, 2, 3, 4),
    b"GroupQueryAttention": (6,),
}  # fmt: skip


def unranked(path: Path) -> frozenset[str]:
    """Return the graph's inputs and outputs that have no shape. Empty for a file that is no ONNX model."""
    try:
        return frozenset(_unranked(memoryview(_mapped(path))))
    except (IndexError, ValueError):  # cut short, or empty
        return frozenset()


def branches(path: Path) -> bool:
    """Return whether values decide how long a run takes.

    They do if a node holds a graph of its own, or takes a size from a value of the request. Sizes that shapes give are
    known: they grow no faster than the inputs. True of a file that cannot be parsed. In ORT format, where only the
    names of operators are read, one that could take a size is enough.
    """
    try:
        content = _mapped(path)
        if content[4:8] == _ORT_FORMAT:  # strings stand there behind their length
            names = (*(name.encode() for name in _BRANCHING), *_SIZES)
            return any(content.find(b"%c\0\0\0%b\0" % (len(name), name)) >= 0 for name in names)
        return any(_undecided(part, number) for number, part in _messages(memoryview(content)) if number in _NODES)
    except (IndexError, ValueError):
        return True


def _undecided(body: memoryview, kind: int) -> bool:
    """Return whether a graph or function, whose inputs may hold anything, has such a node."""
    fixed = {b""}  # an input that is left out
    if kind == _GRAPH:
        fixed |= _initializers(body)
    for number, node in _messages(body):
        if number != _NODES[kind]:
            continue
        read, written, operator = list[bytes](), list[bytes](), b""
        for field, value in _messages(node):
            if field == _READ:
                read.append(bytes(value))
            elif field == _WRITTEN:
                written.append(bytes(value))
            elif field == _OPERATOR:
                operator = bytes(value)
            elif field == _ATTRIBUTE and any(inner in (_SUBGRAPH, _SUBGRAPHS) for inner, _ in _messages(value)):
                return True
        if any(read[at : at + 1] and read[at] not in fixed for at in _SIZES.get(operator, ())):
            return True
        if operator in (b"Shape", b"Size") or fixed.issuperset(read):
            fixed.update(written)
    return False


def _initializers(graph: memoryview) -> set[bytes]:
    """Those that no request can replace."""
    names, given = set[bytes](), set[bytes]()
    for number, part in _messages(graph):
        if number == _INPUT:
            given.add(_name(part, _NAME))
        elif number == _INITIALIZER:
            names.add(_name(part, _TENSOR_NAME))
        elif number == _SPARSE:
            names.update(_name(values, _TENSOR_NAME) for field, values in _messages(part) if field == _SPARSE_VALUES)
    return names - given


def _name(message: memoryview, field: int) -> bytes:
    return next((bytes(value) for number, value in _messages(message) if number == field), b"")


def _mapped(path: Path) -> mmap.mmap:
    """Not closed by its readers: what was cut of it is still referred to when something raises."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _unranked(model: memoryview) -> Iterator[str]:
    for number, graph in _messages(model):
        if number != _GRAPH:
            continue
        for kind, value in _messages(graph):
            if kind not in (_INPUT, _OUTPUT):
                continue
            fields = dict(_messages(value))
            for number, tensor in _messages(fields.get(_TYPE, memoryview(b""))):
                if number == _TENSOR and _SHAPE not in dict(_messages(tensor)):
                    yield bytes(fields.get(_NAME, b"")).decode("utf-8", "replace")


def _messages(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that are of variable length: number and content."""
    at, end = 0, len(view)
    while at < end:
        tag, at = _varint(view, at)
        wire = tag & 7
        if wire == _LENGTH:
            length, at = _varint(view, at)
            if length > end - at:
                raise ValueError("a field extends beyond its message")
            yield tag >> 3, view[at : at + length]
            at += length
        elif wire == 0:
            _, at = _varint(view, at)
        elif wire in (_EIGHT, _FOUR):
            at += 8 if wire == _EIGHT else 4
        else:
            raise ValueError("not a field of a model")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("not a number")
