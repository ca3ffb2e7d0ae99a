"""The index of a stored folder: the name, digest and size of each file. It comes from a store: what it says is checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.source import safe_path

MOST_FILES = 20_000
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a folder.

    layer, skip: of a registry, the digest of the layer that holds the file, and the bytes there that come before it.
    """

    sha256: str
    bytes: int
    layer: str = ""
    skip: int = 0


Index = Mapping[str, StoredFile]
"""Files by name. Names begin with the folder's own, as "0123456789abcdef/model.onnx" or "0123456789abcdef.accepted"."""


def checked(index: Index, folder: str, where: str, damaged: Callable[[str], StageError]) -> Index:
    """Return an index that can be believed. Raises `damaged` for a name that leaves the folder, and for what is no digest."""
    own, found = folder.rpartition("/")[2], {}
    if len(index) > MOST_FILES:
        raise damaged(f"{where} names more than {MOST_FILES} files")
    for name, file in index.items():
        try:
            path = safe_path(name, where)
        except StageError as error:
            raise damaged(error.failure.message) from error
        if path.partition("/")[0].partition(".")[0] != own:
            raise damaged(f"{where} names the file {name[:200]!r}, which does not belong to the folder")
        if type(file.bytes) is not int or file.bytes < 0 or not is_digest(file.sha256):
            raise damaged(f"{where} has no digest or size of {name[:200]!r}")
        found[path] = file
    return found


def is_digest(text: object) -> bool:
    """Return whether this is a SHA-256 in lower-case hexadecimal."""
    return isinstance(text, str) and len(text) == 64 and _HEX.issuperset(text)
