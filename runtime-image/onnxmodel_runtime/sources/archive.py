"""Folders packed into one file: unpacked by our own loop, within bounds, and never through a link.

An archive is untrusted, and small ones can unpack to anything: every bound holds while it is unpacked, not after.
Nothing of an archive is held in memory but a piece at a time and the headers, which are bounded too.
"""

import gzip
import hashlib
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.errors import StageError, size
from onnxmodel_runtime.sources.source import CHUNK, FIELD, MAX_FILES, safe_path, shown

MAX_RATIO = 200  # weights hardly shrink; what unpacks to more than this was made to
RATIO_FREE_BYTES = 64 << 20  # below this, no ratio does harm
_HEADER_BYTES = 1 << 20  # of one entry of a tar: long names and the like
_HEADERS_BYTES = 64 << 20  # of all
_DIRECTORY_BYTES = 4 << 20  # of a zip: it is read at once
_KINDS = {".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar": "tar", ".zip": "zip"}
_JUNK = ("__MACOSX", ".DS_Store")
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    NotADirectoryError,
    IsADirectoryError,
    FileExistsError,
)
Entry = tuple[str, IO[bytes]]


def kind(path: str) -> str:
    """Return "tar", "tar.gz" or "zip" by the end of a path. "" for anything else."""
    return next((found for end, found in _KINDS.items() if path.lower().endswith(end)), "")


def unpack(path: Path, form: str, target: Path, limit: int, uri: str) -> dict[str, dict[str, Any]]:
    """Unpack `path` into `target` and return each file's sha256 and bytes. limit: of all files together."""
    bound = MAX_RATIO * path.stat().st_size + RATIO_FREE_BYTES
    files: dict[str, dict[str, Any]] = {}
    total = 0
    try:
        with path.open("rb") as file:
            for name, content in _zip(file) if form == "zip" else _tar(file, form):
                if any(part in _JUNK or part.startswith("._") for part in PurePosixPath(name).parts):
                    continue
                safe = safe_path(name, uri)
                if safe in files:
                    raise _broken(uri, f"it contains {safe!r} twice")
                hashed, count = hashlib.sha256(), 0
                with _create(target / safe) as out:
                    while chunk := content.read(CHUNK):
                        count += len(chunk)
                        total += len(chunk)
                        if total > limit:
                            raise _too_large(uri, f"unpacks to more than the remaining {size(limit)}")
                        if total > bound:
                            raise _too_large(uri, f"unpacks to more than {MAX_RATIO} times its size")
                        hashed.update(chunk)
                        out.write(chunk)
                files[safe] = {"sha256": hashed.hexdigest(), "bytes": count}
    except _BROKEN as error:
        raise _broken(uri, str(error) or type(error).__name__) from error
    return files


def find_model(names: list[str], uri: str) -> str:
    """Find the model among the files of a loose folder: the model.onnx nearest to the top, or the only .onnx there."""
    named = sorted((name for name in names if PurePosixPath(name).name == MODEL_FILE), key=lambda name: name.count("/"))
    if named and (len(named) == 1 or named[0].count("/") < named[1].count("/")):
        return named[0]
    models = [name for name in names if name.lower().endswith(".onnx")]
    if len(models) == 1:
        return models[0]
    held = ", ".join(sorted(models or names)[:5]) or "nothing"
    what = f"{len(models)} models, none of which is {MODEL_FILE}" if models else f"no {MODEL_FILE}"
    raise StageError(
        "SourceNotFound",
        f"{shown(uri)} contains {what}; it contains {held}",
        f"Name the model {MODEL_FILE}, and put it at the root.",
        FIELD,
    )


def _tar(file: IO[bytes], form: str) -> Iterator[Entry]:
    stream = _Meter(gzip.GzipFile(fileobj=file) if form == "tar.gz" else file)
    count = headers = 0
    # "r|" reads forward only: nothing in the file can send it back.
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
        while True:
            before = stream.count
            stream.allowed = _HEADER_BYTES
            member = archive.next()
            archive.members = []  # type: ignore[attr-defined]  # it would keep every header
            headers += stream.count - before
            if member is None:
                while stream.read(CHUNK):
                    pass  # to gzip's checksum at the end
                return
            count += 1
            if count > MAX_FILES:
                raise ValueError(f"it contains more than {MAX_FILES} entries")
            if headers > _HEADERS_BYTES:
                raise ValueError(f"its headers take more than {size(_HEADERS_BYTES)}")
            if member.isdir():
                continue  # folders come with their files
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE) or member.issparse():
                raise ValueError(f"{member.name[:200]!r} is {_type(member)}; only files and folders are allowed")
            if member.size < 0:
                raise ValueError(f"{member.name[:200]!r} has a negative size")
            stream.allowed = member.size + _HEADER_BYTES
            content = archive.extractfile(member)
            assert content is not None
            yield member.name, content


def _zip(file: IO[bytes]) -> Iterator[Entry]:
    with zipfile.ZipFile(_Pieces(file)) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_FILES:
            raise ValueError(f"it contains more than {MAX_FILES} entries")
        for entry in entries:
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise ValueError(f"{entry.filename[:200]!r} is a link or a device; only files and folders are allowed")
            if entry.flag_bits & 0x1:
                raise ValueError(f"{entry.filename[:200]!r} is encrypted")
            # Others may need as much memory as the archive says.
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{entry.filename[:200]!r} has an unsupported compression; use deflate")
            with archive.open(entry) as content:
                yield entry.filename, content


class _Meter(io.RawIOBase):
    """Counts what is read of a tar and stops what reads on and on without giving a file."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.count, self.allowed = inner, 0, _HEADER_BYTES

    def read(self, count: int = -1) -> bytes:
        if count < 0 or count > CHUNK:
            count = CHUNK
        data: bytes = self.inner.read(count)
        self.count += len(data)
        self.allowed -= len(data)
        if self.allowed < 0:
            raise ValueError(f"the headers of an entry take more than {size(_HEADER_BYTES)}")
        return data


class _Pieces(io.RawIOBase):
    """A file of which nobody reads much at once: a zip's directory is as large as the zip says."""

    def __init__(self, inner: IO[bytes]) -> None:
        self.inner = inner

    def read(self, count: int = -1) -> bytes:
        data = self.inner.read(_DIRECTORY_BYTES + 1 if count < 0 else min(count, _DIRECTORY_BYTES + 1))
        if len(data) > _DIRECTORY_BYTES:
            raise ValueError(f"its directory takes more than {size(_DIRECTORY_BYTES)}")
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self.inner.seek(offset, whence)
        except OSError as error:  # before the beginning
            raise ValueError("it points outside of the archive") from error

    def tell(self) -> int:
        return self.inner.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _create(path: Path) -> IO[bytes]:
    """A new file; nothing that is there already is written to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _type(member: tarfile.TarInfo) -> str:
    named: tuple[tuple[Callable[[], bool], str], ...] = (
        (member.issym, "a link"),
        (member.islnk, "a hard link"),
        (member.isdev, "a device or a pipe"),
    )
    return next((text for test, text in named if test()), "of a special type")


def _broken(uri: str, why: str) -> StageError:
    return StageError(
        "SourceInvalid", f"cannot unpack the archive {shown(uri)}: {why}", "Pack the folder again.", FIELD
    )


def _too_large(uri: str, why: str) -> StageError:
    return StageError(
        "SourceTooLarge",
        f"the archive {shown(uri)} {why}",
        "Pack only the model's files, or ask the platform team to raise settings.policy.maxModelBytes.",
        FIELD,
    )
