"""Download of one file: hashed while it is written, and resumed where it was interrupted."""

import contextlib
import errno
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxmodel_runtime.errors import StageError, size
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.sources.source import FIELD, Remote, UnreachableError

_PROGRESS_SECONDS = 5.0


class Download:
    """A file and the part that has arrived. limit: in bytes; too_large: the error for more."""

    def __init__(self, remote: Remote, target: Path, limit: int, too_large: Callable[[], StageError]) -> None:
        self.remote, self.target, self.limit, self.too_large = remote, target, limit, too_large
        self._restart()

    def _restart(self) -> None:
        self.hashed, self.count, self.pieces = hashlib.sha256(), 0, 0

    def attempt(self) -> dict[str, Any]:
        """Get the rest, and return the file's sha256 and bytes. Raises UnreachableError if it is interrupted again."""
        body = self.remote.open(self.count)
        with contextlib.closing(body.chunks) as chunks:
            if body.start != self.count:
                self._restart()
            elif self.count:
                log(f"{self.remote.path}: resuming after {size(self.count)}")
            self.pieces += 1
            length = self.remote.length if self.remote.length >= 0 else body.length
            if length > self.limit:
                raise self.too_large()
            self.target.parent.mkdir(parents=True, exist_ok=True)
            if length - self.count > shutil.disk_usage(self.target.parent).free:
                raise OSError(errno.ENOSPC, f"{self.remote.path} needs {size(length)}")
            self._write(chunks, length)
        if 0 <= length != self.count:
            count = self.count
            if count > length:
                self._restart()
            raise UnreachableError(f"{self.remote.path} ended after {count} of {length} bytes")
        self._verify(self.remote.sha256 or body.sha256)
        log(f"{self.remote.path}: {size(self.count)}, sha256 {self.hashed.hexdigest()}")
        return {"sha256": self.hashed.hexdigest(), "bytes": self.count}

    def _write(self, chunks: Any, length: int) -> None:
        began, told, before = time.monotonic(), time.monotonic(), self.count
        with self.target.open("r+b" if self.count else "wb") as file:
            file.seek(self.count)
            file.truncate()
            for chunk in chunks:
                if self.count + len(chunk) > self.limit:
                    raise self.too_large()
                file.write(chunk)
                self.hashed.update(chunk)
                self.count += len(chunk)
                if (now := time.monotonic()) - told >= _PROGRESS_SECONDS:
                    told = now
                    of = f" of {size(length)} ({100 * self.count // max(length, 1)} %)" if length >= 0 else ""
                    log(f"{self.remote.path}: {size(self.count)}{of}, {size((self.count - before) / (now - began))}/s")
            file.flush()

    def _verify(self, expected: str) -> None:
        actual = self.hashed.hexdigest()
        if not expected or expected == actual:
            return
        if self.pieces > 1:  # the pieces may be of two different files
            self._restart()
            raise UnreachableError(f"{self.remote.path}, assembled from parts, has the sha256 {actual}, not {expected}")
        raise StageError(
            "DigestMismatch",
            f"{self.remote.path} arrived with the sha256 {actual}, but the source reports {expected}",
            "The store, or something in between, changed the file: upload it again, or check proxies in between.",
            FIELD,
        )
