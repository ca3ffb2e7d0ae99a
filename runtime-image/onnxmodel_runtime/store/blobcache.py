"""Blobs on a node's disk, which outlive the pods that brought them. What is read from there is verified like what is brought.

Pods of many models use it at once, each by its own `pull`: a blob appears by one rename, and the least recently used go.
"""

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from onnxmodel_runtime.errors import StageError, size
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.store.index import StoredFile, is_digest
from onnxmodel_runtime.store.left import opened

_CHUNK = 1 << 20
_PARTIAL = ".tmp-"


class BlobCache:
    """A folder of blobs by digest. A folder that cannot be used is as good as an empty one."""

    def __init__(self, folder: str, most: int) -> None:
        """folder: "" for none. most: bytes that all blobs together may have."""
        self._folder, self._most = Path(folder) if folder else None, most
        self.hits = 0

    def take(self, file: StoredFile, target: Path) -> bool:
        """Copy a blob to `target`. Returns False, and leaves nothing, if it is not there or not what it should be."""
        if self._folder is None:
            return False
        blob = self._folder / file.sha256
        try:
            with opened(blob) as source, target.open("wb") as out:
                hashed = hashlib.sha256()
                while chunk := source.read(_CHUNK):
                    hashed.update(chunk)
                    out.write(chunk)
            if hashed.hexdigest() == file.sha256:
                os.utime(blob)
                self.hits += 1
                return True
            log(f"the node's copy of {file.sha256} is damaged: it is replaced")
        except (OSError, StageError):
            pass
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            blob.unlink()
        return False

    def give(self, file: StoredFile, source: Path) -> None:
        """Keep a verified file for the pods to come, if there is room for it."""
        if self._folder is None or file.bytes > self._most:
            return
        partial = self._folder / f"{file.sha256}{_PARTIAL}{socket.gethostname()}-{os.getpid()}"
        try:
            self._make_room(file.bytes)
            with source.open("rb") as read, partial.open("wb") as out:
                while chunk := read.read(_CHUNK):
                    out.write(chunk)
            partial.replace(self._folder / file.sha256)
        except OSError as error:
            log(f"the node's cache cannot be written: {error.strerror or error}. It must belong to user 10001")
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        """Remove the least recently used until so many bytes fit."""
        there = sorted(self._blobs(), key=lambda item: item[1].st_mtime)
        total = sum(stat.st_size for _, stat in there)
        for path, stat in there:
            if total + needed <= self._most:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                log(f"removed {path.name}, {size(stat.st_size)}, from the node's cache")
            total -= stat.st_size

    def _blobs(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The blobs, and what pods that were killed left half-way. Nothing else in the folder is ours."""
        assert self._folder is not None
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if is_digest(path.name.partition(_PARTIAL)[0]) and path.is_file() and not path.is_symlink():
                    yield path, path.stat()
