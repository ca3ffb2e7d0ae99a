"""pvc:// and, for people, local files: sources that are mounted here already."""

import stat
from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.source import CHUNK, FIELD, MAX_FILES, Body, Remote, invalid, not_found, shown


def below(mount: Path, path: str, uri: str) -> Path:
    """Return `path` below the mounted PVC. Raises StageError for one that leads out of it."""
    parts = PurePosixPath(path.lstrip("/"))
    if ".." in parts.parts or not parts.parts:
        raise invalid(uri, "expected a path within the PersistentVolumeClaim, without '..'")
    return mount / parts


@dataclass(frozen=True)
class FolderSource:
    """Files that are mounted here already. root: nothing outside of it is read, whatever links say."""

    uri: str
    root: Path
    path: Path
    folder: bool
    loose: bool = False

    @property
    def resolved(self) -> str:
        """The URI: a claim has no versions."""
        return self.uri

    def list(self) -> list[Remote]:
        """List the file, or every file below the folder."""
        if not self.folder:
            return [self._remote(MODEL_FILE, self.path)]
        if not self.path.is_dir():
            raise not_found(self.uri, "there is no such folder")
        # Folders that are links are not walked: what they hold would come twice, or without end.
        files = sorted(islice((path for path in self.path.rglob("*") if not path.is_dir()), MAX_FILES + 1))
        if len(files) > MAX_FILES:
            raise invalid(self.uri, f"the folder contains more than {MAX_FILES} files")
        return [self._remote(path.relative_to(self.path).as_posix(), path) for path in files]

    def _remote(self, name: str, path: Path) -> Remote:
        try:
            real = path.resolve(strict=True)
            details = real.stat()
        except FileNotFoundError as error:
            raise not_found(self.uri, f"{path} does not exist") from error
        except PermissionError as error:
            raise _unreadable(self.uri, error) from error
        except (OSError, RuntimeError) as error:
            raise invalid(self.uri, str(error)) from error
        if not real.is_relative_to(self.root.resolve()):
            raise invalid(
                self.uri,
                f"{name} is a link that points outside of the model's folder or volume",
                "Replace the link with a copy of its file.",
            )
        if not stat.S_ISREG(details.st_mode):
            raise invalid(
                self.uri, f"{name} is not a regular file", "Remove it from the folder, or name a regular file."
            )
        return Remote(name, details.st_size, lambda start: Body(start, self._chunks(real, start), details.st_size))

    def _chunks(self, path: Path, start: int) -> Generator[bytes, None, None]:
        try:
            with path.open("rb") as file:
                file.seek(start)
                while chunk := file.read(CHUNK):
                    yield chunk
        except PermissionError as error:
            raise _unreadable(self.uri, error) from error


def _unreadable(uri: str, error: PermissionError) -> StageError:
    """Files have owners and modes, and no credentials."""
    return StageError(
        "SourceForbidden",
        f"no permission to read {shown(uri)}: {error.strerror}",
        "Make the file and its folders readable for the user that fetches it.",
        FIELD,
    )
