"""Datatypes and the protocol's binary form of strings."""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxmodel_runtime.models.datatypes import DATATYPES

Array = npt.NDArray[Any]

NUMPY: dict[str, np.dtype[Any]] = {
    # Little-endian is what the protocol says, whatever the machine is. numpy has no BF16: its raw bits are carried.
    datatype.name: np.dtype(datatype.numpy or "uint16").newbyteorder("<")
    for datatype in DATATYPES
}
BINARY_ONLY = frozenset({"FP16", "BF16"})
"""Datatypes that JSON cannot carry, by Triton's own rule."""


def triton(datatype: str) -> str:
    """Return the name in Triton's model configuration."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def pack_bytes(elements: Iterable[Any]) -> bytes:
    """Encode BYTES elements (str or bytes) in the protocol's binary form: each a little-endian length and the bytes."""
    parts: list[bytes] = []
    for element in elements:
        raw = element if isinstance(element, bytes) else str(element).encode()
        parts += (struct.pack("<I", len(raw)), raw)
    return b"".join(parts)


def unpack_bytes(buffer: memoryview) -> Iterator[memoryview]:
    """Decode `pack_bytes` lazily. Raises ValueError if the buffer ends within an element."""
    at, end = 0, len(buffer)
    while at < end:
        if end - at < 4:
            raise ValueError(f"expecting 4 bytes but only {end - at} bytes available")
        (length,) = struct.unpack_from("<I", buffer, at)
        at += 4
        if length > end - at:
            raise ValueError(f"expecting {length} bytes but only {end - at} bytes available")
        yield buffer[at : at + length]
        at += length
