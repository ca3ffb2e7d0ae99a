"""Files that a stage left, opened without following a link: who parsed the model may have laid it.

The container that uploads holds credentials, in its environment and perhaps in mounted files. A link to one of those must
not be uploaded with the artifacts.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from onnxmodel_runtime.contract.volume import CALIBRATION_DATA_FOLDER, SOURCE_FOLDER
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.store.index import MOST_FILES, StoredFile

_PARTIAL = re.compile(r"\.tmp-[^/]*-\d+$")
_FETCHED = (SOURCE_FOLDER, CALIBRATION_DATA_FOLDER)


def files_of(root: Path, folder: str) -> list[str]:
    """List the files of a folder, and of what stands beside it, relative to the folder's parent.

    Raises StageError for anything that is neither a file nor a folder. Partial files are left out.
    """
    place, _, own = folder.rpartition("/")
    parent, found = root / place, list[str]()
    if (root / place).is_symlink():
        raise _odd(place)
    for name in sorted(os.listdir(parent)) if parent.is_dir() else ():
        if name.partition(".")[0] == own and not _PARTIAL.search(name):
            found += _below(parent, name, partial=place not in _FETCHED)
    if len(found) > MOST_FILES:
        raise StageError(
            "ArtifactsRefused", f"{folder} has more than {MOST_FILES} files", "Use fewer files of external data."
        )
    return found


def _below(parent: Path, name: str, *, partial: bool) -> Iterator[str]:
    """List the files of a folder. partial: there may be partial files of ours; what was fetched has the author's names."""
    mode = (parent / name).lstat().st_mode
    if stat.S_ISREG(mode):
        yield name
    elif stat.S_ISDIR(mode):
        for child in sorted(os.listdir(parent / name)):
            if not (partial and _PARTIAL.search(child)):
                yield from _below(parent, f"{name}/{child}", partial=partial)
    else:
        raise _odd(name)


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading. Raises StageError for a link to one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _odd(path.name) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _odd(path.name)
        yield file


def measured(file: BufferedReader) -> StoredFile:
    """Return the digest and the size of an open file."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return StoredFile(digest, file.tell())


def _odd(name: str) -> StageError:
    return StageError(
        "ArtifactsRefused",
        f"the stage left {name[:200]!r}, which is neither a file nor a folder",
        "No stage makes such things: treat the model as hostile.",
    )
