"""What the server asks of a model file, and ONNX Runtime does not say: which tensors have no shape, and whether it branches.

The server has no onnx package in memory: the file is mapped, and all but a few bytes of it are skipped.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

_GRAPH, _FUNCTION = 7, 25  # fields of ModelProto
_NODE, _INPUT, _OUTPUT = 1, 11, 12  # of GraphProto
_FUNCTION_NODE = 7  # of FunctionProto
_ATTRIBUTE, _SUBGRAPH, _SUBGRAPHS = 5, 6, 11  # of NodeProto, and of its attribute
_NAME, _TYPE = 1, 2  # of ValueInfoProto
_TENSOR, _SHAPE = 1, 2  # of TypeProto, and of its tensor type
_LENGTH, _EIGHT, _FOUR = 2, 1, 5  # wire types of protobuf; 0 is a number


_ORT_FORMAT = b"ORTM"  # a flatbuffer's identifier, behind four bytes
_BRANCHING = ("If", "Loop", "Scan", "BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")


def unranked(path: Path) -> frozenset[str]:
    """Tensors among the graph's inputs and outputs without a shape. Nothing of a file that is no ONNX model."""
    try:
        return frozenset(_unranked(memoryview(_mapped(path))))
    except (IndexError, ValueError):  # cut short, or empty
        return frozenset()


def branches(path: Path) -> bool:
    """Whether a node holds a graph of its own, as If, Loop and Scan do: then values decide how long a run takes.

    True of a file that cannot be followed.
    """
    try:
        content = _mapped(path)
        if content[4:8] == _ORT_FORMAT:  # strings stand there behind their length
            return any(content.find(b"%c\0\0\0%b\0" % (len(name), name.encode())) >= 0 for name in _BRANCHING)
        return any(
            kind in (_SUBGRAPH, _SUBGRAPHS)
            for node in _nodes(memoryview(content))
            for field, attribute in _messages(node)
            if field == _ATTRIBUTE
            for kind, _ in _messages(attribute)
        )
    except (IndexError, ValueError):
        return True


def _mapped(path: Path) -> mmap.mmap:
    """Not closed by its readers: what was cut of it is still referred to when something raises."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _nodes(model: memoryview) -> Iterator[memoryview]:
    """Those of the graph and of functions; not those of subgraphs."""
    for number, part in _messages(model):
        if number in (_GRAPH, _FUNCTION):
            wanted = _NODE if number == _GRAPH else _FUNCTION_NODE
            yield from (node for kind, node in _messages(part) if kind == wanted)


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
                raise ValueError("a field ends behind its message")
            yield tag >> 3, view[at : at + length]
            at += length
        elif wire == 0:
            _, at = _varint(view, at)
        elif wire in (_EIGHT, _FOUR):
            at += 8 if wire == _EIGHT else 4
        else:
            raise ValueError("no field of a model")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("no number")
