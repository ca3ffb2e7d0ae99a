"""Which inputs and outputs of a model file have no shape at all: ONNX Runtime describes them as it does scalars.

The server asks, which has no onnx package in memory: the file is mapped, and all but a few bytes of it are skipped.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

_GRAPH, _INPUT, _OUTPUT = 7, 11, 12  # fields of ModelProto and GraphProto
_NAME, _TYPE = 1, 2  # of ValueInfoProto
_TENSOR, _SHAPE = 1, 2  # of TypeProto, and of its tensor type
_LENGTH, _EIGHT, _FOUR = 2, 1, 5  # wire types of protobuf; 0 is a number


def unranked(path: Path) -> frozenset[str]:
    """Tensors among the graph's inputs and outputs without a shape. Nothing of a file that is no ONNX model."""
    try:
        with path.open("rb") as file:
            # Not closed here: what was cut of it is still referred to when something raises.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return frozenset(_unranked(memoryview(content)))
    except (IndexError, ValueError):  # cut short, or empty
        return frozenset()


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
