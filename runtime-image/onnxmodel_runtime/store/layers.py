"""A file as a layer of an image: an uncompressed tar with that file alone. Equal files at equal paths give equal bytes.

containerd and CRI-O mount such layers, and no others: neither mounts artifacts that are no images.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

_CHUNK = 1 << 20
_BLOCK = 512
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Layer:
    """A file in its tar. sha256, bytes: of the file. digest, size: of the layer."""

    head: bytes
    sha256: str
    bytes: int
    digest: str
    size: int


def head(path: str, size: int) -> bytes:
    """Return what comes before the bytes of a file in its layer: the same whoever makes it, and whenever."""
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)


def layer_of(path: str, file: BufferedReader) -> Layer:
    """Return the layer of an open file, which is `path` in the image."""
    size = file.seek(0, 2)
    start = head(path, size)
    own, whole, length = hashlib.sha256(), hashlib.sha256(start), len(start)
    for chunk in _chunks(file, size):
        own.update(chunk)
        whole.update(chunk)
        length += len(chunk)
    whole.update(rest := _rest(size))
    return Layer(start, own.hexdigest(), size, f"sha256:{whole.hexdigest()}", length + len(rest))


def content(layer: Layer, file: BufferedReader) -> Iterator[bytes]:
    """Yield the bytes of a layer. A file that has changed since gives others: the registry compares them with the digest."""
    yield layer.head
    yield from _chunks(file, layer.bytes)
    yield _rest(layer.bytes)


def layer_size(path: str, size: int) -> int:
    """Return the size of the layer of a file of this size."""
    return len(head(path, size)) + size + len(_rest(size))


def _chunks(file: BufferedReader, size: int) -> Iterator[bytes]:
    file.seek(0)
    while size and (chunk := file.read(min(size, _CHUNK))):
        size -= len(chunk)
        yield chunk


def _rest(size: int) -> bytes:
    return bytes(-size % _BLOCK) + _END
