"""Where models come from: s3://, http(s)://, pvc:// and, for people, local files.

A source lists its files and streams each one. `UnreachableError` is what may pass; everything else is a StageError.
"""

import os
import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from onnxmodel_runtime.contract import MODEL_FILE
from onnxmodel_runtime.errors import StageError

CHUNK = 1 << 20
CLAIM_MOUNT = "/source"  # the operator mounts the claim of a pvc:// URI here, read-only
FIELD = "spec.source.uri"


class UnreachableError(Exception):
    """The source did not answer, or broke off: trying again may help."""


@dataclass(frozen=True)
class Remote:
    """One file of a source. path: where it goes below the model's directory; length: in bytes, -1 when not known yet."""

    path: str
    length: int
    chunks: Callable[[], Generator[bytes, None, None]]


class Source(Protocol):
    """A place that holds a model."""

    def list(self) -> list[Remote]:
        """The files to fetch: one named model.onnx, or a folder's."""


def open_source(uri: str, *, local: bool = False) -> Source:
    """The source that a URI names. Raises StageError for a URI that names none."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise invalid(uri, str(error)) from error
    if parts.scheme == "s3":
        from onnxmodel_runtime.source_s3 import S3Source

        return S3Source(uri)
    if parts.scheme in ("http", "https"):
        from onnxmodel_runtime.source_http import HttpSource

        return HttpSource(uri)
    if parts.scheme == "pvc":
        mount = Path(os.environ.get("ONNXMODEL_CLAIM_MOUNT", CLAIM_MOUNT))
        return FolderSource(uri, mount, below(mount, unquote(parts.path), uri), uri.endswith("/"))
    if local and parts.scheme in ("", "file"):
        path = Path(unquote(parts.path) if parts.scheme else uri).absolute()
        return FolderSource(uri, path if path.is_dir() else path.parent, path, path.is_dir())
    raise StageError(
        "SourceUnsupported",
        f"{uri!r} has the scheme {parts.scheme!r}",
        "Use s3://bucket/key, https://host/path, http://host/path or pvc://claim/path.",
        FIELD,
    )


def invalid(uri: str, why: str) -> StageError:
    """The URI itself is wrong."""
    return StageError("SourceInvalid", f"{uri!r}: {why}", "Correct the URI.", FIELD)


def not_found(uri: str, detail: str) -> StageError:
    """The source answers, and has no such file."""
    return StageError(
        "SourceNotFound", f"{uri} does not exist: {detail}", "Check the path, or upload the model there.", FIELD
    )


def forbidden(uri: str, detail: str) -> StageError:
    """The source answers, and does not let us."""
    return StageError(
        "SourceForbidden",
        f"{uri} may not be read: {detail}",
        "Check the credentials in the Secret that spec.source.secretRef names, and what they allow.",
        "spec.source.secretRef",
    )


def below(mount: Path, path: str, uri: str) -> Path:
    """`path` below the mounted claim. Raises StageError for one that climbs out."""
    parts = PurePosixPath(path.lstrip("/"))
    if ".." in parts.parts or not parts.parts:
        raise invalid(uri, "a path below the claim is expected, without '..'")
    return mount / parts


@dataclass(frozen=True)
class FolderSource:
    """Files that are mounted here already. root: nothing outside of it is read, whatever links say."""

    uri: str
    root: Path
    path: Path
    folder: bool

    def list(self) -> list[Remote]:
        """The file, or every file below the folder."""
        if not self.folder:
            return [self._remote(MODEL_FILE, self.path)]
        if not self.path.is_dir():
            raise not_found(self.uri, "there is no such folder")
        # Folders that are links are not walked: what they hold would come twice, or without end.
        files = sorted(path for path in self.path.rglob("*") if not path.is_dir())
        return [self._remote(path.relative_to(self.path).as_posix(), path) for path in files]

    def _remote(self, name: str, path: Path) -> Remote:
        try:
            real = path.resolve(strict=True)
            details = real.stat()
        except FileNotFoundError as error:
            raise not_found(self.uri, f"{path} is not there") from error
        except PermissionError as error:
            raise forbidden(self.uri, str(error)) from error
        except (OSError, RuntimeError) as error:
            raise invalid(self.uri, str(error)) from error
        if not real.is_relative_to(self.root.resolve()):
            raise invalid(self.uri, f"{name} is a link that leaves the claim")
        if not stat.S_ISREG(details.st_mode):
            raise invalid(self.uri, f"{name} is not a regular file")
        return Remote(name, details.st_size, lambda: self._chunks(real))

    def _chunks(self, path: Path) -> Generator[bytes, None, None]:
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except PermissionError as error:
            raise forbidden(self.uri, str(error)) from error
