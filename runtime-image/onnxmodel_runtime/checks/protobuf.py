"""Read protobuf's wire format, for files that its parser refused without a reason."""

import mmap
from typing import Any

import onnx

NESTING = 100  # how deep protobuf follows messages within messages
_FIELDS = 500_000  # as far as this looks: it explains a refusal, it does not decide one


def nesting(data: bytes | mmap.mmap) -> int:
    """Return the nesting depth of messages, as far as the file can be parsed: at most NESTING + 1."""
    view = memoryview(data)
    try:
        return _nesting(view)
    finally:
        view.release()


def _nesting(view: memoryview) -> int:
    deepest, seen = 0, 0
    # Each entry: the kind of message, where it goes on, where it ends, how deep it is.
    stack: list[tuple[Any, int, int, int]] = [(onnx.ModelProto.DESCRIPTOR, 0, len(view), 0)]
    while stack and seen < _FIELDS and deepest <= NESTING:
        kind, at, end, depth = stack.pop()
        while at < end and seen < _FIELDS:
            seen += 1
            tag, at = _varint(view, at, end)
            wire = tag & 7
            if wire == 2:
                length, at = _varint(view, at, end)
                field = kind.fields_by_number.get(tag >> 3)
                inner = field.message_type if field is not None else None
                after = at + length
                if inner is not None and length:
                    deepest = max(deepest, depth + 1)
                    stack.append((kind, after, end, depth))
                    stack.append((inner, at, min(after, end), depth + 1))
                    break
                at = after
            elif wire == 0:
                _, at = _varint(view, at, end)
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                break  # groups, or damage: nothing to follow
    return deepest


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    return value, end
