"""The index of a stored folder: the name, digest and size of each file. It comes from a bucket: what it says is checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.source import safe_path
from onnxmodel_runtime.store.objects import Objects, damaged

MOST_FILES = 20_000
_MOST_BYTES = 16 << 20
BLOBS = "blobs/sha256/"
FOLDERS = "folders/"
RETAIN = "retain"
"""The name of a mark: what is beside it stays when the model is deleted."""
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a folder."""

    sha256: str
    bytes: int


Index = Mapping[str, StoredFile]
"""Files by name. Names begin with the folder's own, as "0123456789abcdef/model.onnx" or "0123456789abcdef.accepted"."""


def index_name(folder: str) -> str:
    """Return the object's name of a folder's index."""
    return f"{FOLDERS}{folder}.json"


def blob_name(digest: str) -> str:
    """Return the object's name of a file's bytes."""
    return f"{BLOBS}{digest}"


def write_index(objects: Objects, folder: str, index: Index) -> None:
    """Make a folder appear in the store. All its blobs must be there."""
    files = {name: {"sha256": file.sha256, "bytes": file.bytes} for name, file in sorted(index.items())}
    objects.put(index_name(folder), json.dumps({"schema": 1, "files": files}, indent=1).encode())


def read_index(objects: Objects, folder: str) -> Index:
    """Read a folder's index. Raises MissingError if the store has none, and StageError for one that cannot be believed."""
    where, own = objects.shown(index_name(folder)), folder.rpartition("/")[2]
    content = objects.get(index_name(folder), _MOST_BYTES)
    try:
        files = json.loads(content)["files"]
        found = {safe_path(name, where): StoredFile(file["sha256"], file["bytes"]) for name, file in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(f"{where} is no index of a folder: {type(error).__name__}") from error
    except StageError as error:
        raise damaged(error.failure.message) from error
    for name, file in found.items():
        if name.partition("/")[0].partition(".")[0] != own:
            raise damaged(f"{where} names the file {name[:200]!r}, which does not belong to the folder")
        if type(file.bytes) is not int or file.bytes < 0 or not is_digest(file.sha256):
            raise damaged(f"{where} has no digest or size of {name[:200]!r}")
    if len(found) > MOST_FILES:
        raise damaged(f"{where} names more than {MOST_FILES} files")
    return found


def is_digest(text: object) -> bool:
    """Return whether this is a SHA-256 in lower-case hexadecimal."""
    return isinstance(text, str) and len(text) == 64 and _HEX.issuperset(text)
