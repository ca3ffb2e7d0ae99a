"""Bring a model here: streamed to disk while it is hashed, whole or not at all.

The fetch container holds the credentials and parses nothing; the stage container parses and holds no credential.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from onnxmodel_runtime.contract import MODEL_FILE, FetchRequest
from onnxmodel_runtime.digests import digest
from onnxmodel_runtime.errors import StageError, size, storage_error
from onnxmodel_runtime.outcome import accepted
from onnxmodel_runtime.progress import log
from onnxmodel_runtime.sources import Remote, UnreachableError, open_source

SOURCE_FILE = "source.json"
ATTEMPTS = 4
_PROGRESS_SECONDS = 5.0
_STALE_SECONDS = 6 * 3600.0


def fetch(request: FetchRequest, *, local: bool = False, pause: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Fetch `request.uri` into `request.directory` and return what source.json holds: uri, sha256, files.

    local: file:// and plain paths may be read, which is for a person's own machine only.
    """
    directory = Path(request.directory)
    found = _existing(request, directory)
    if found is not None and accepted(directory):
        _check_files(directory, found)
        log(f"{directory} holds {request.uri} already")
        return found
    source = open_source(request.uri, local=local)
    remotes = _attempts(lambda: source.list(), pause)
    _check_listing(request, remotes)
    staging = directory.with_name(f"{directory.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    _sweep(directory, staging)
    try:
        staging.mkdir(parents=True)
        files: dict[str, dict[str, Any]] = {}
        for remote in remotes:
            budget = request.max_bytes - sum(file["bytes"] for file in files.values())
            files[remote.path] = _attempts(lambda r=remote, b=budget: _download(r, staging, b, request), pause)  # type: ignore[misc]
        record = {"uri": request.uri, "sha256": files[MODEL_FILE]["sha256"], "files": files}
        _check_pin(request, record["sha256"])
        _write(staging / SOURCE_FILE, json.dumps(record, indent=1, sort_keys=True).encode())
        return _publish(staging, directory, request, record)
    except OSError as error:
        raise storage_error(error, directory.parent) or error from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_source(directory: Path) -> dict[str, Any]:
    """The record that fetch left in `directory`; empty when it left none (a person's own model)."""
    try:
        record = json.loads((directory / SOURCE_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _existing(request: FetchRequest, directory: Path) -> dict[str, Any] | None:
    record = read_source(directory)
    if not record:
        return None
    same = record.get("uri") == request.uri and request.sha256.lower() in ("", record.get("sha256"))
    return record if same else None


def _check_files(directory: Path, record: dict[str, Any]) -> None:
    """What validate found good may be in use, so it is never replaced: it is as it was fetched, or refused."""
    files = {name: file["sha256"] for name, file in record["files"].items()}
    for name, expected in (files | {MODEL_FILE: record["sha256"]}).items():
        path = directory / name
        actual = digest(path) if path.is_file() else "none"
        if actual != expected:
            raise StageError(
                "DigestMismatch",
                f"{path} was validated and has changed since: its sha256 is {actual}, {expected} was fetched",
                "Artifacts are never overwritten: delete the model's PersistentVolumeClaim (<model>-artifacts), so that "
                "everything is made again.",
            )


def _check_listing(request: FetchRequest, remotes: list[Remote]) -> None:
    if MODEL_FILE not in {remote.path for remote in remotes}:
        names = ", ".join(remote.path for remote in remotes[:5]) or "nothing"
        raise StageError(
            "SourceNotFound",
            f"{request.uri} is a folder without {MODEL_FILE}; it holds {names}",
            f"Name the model {MODEL_FILE} in its folder, or give the file's own URI without a slash at the end.",
            "spec.source.uri",
        )
    for remote in remotes:
        path = PurePosixPath(remote.path)
        if path.is_absolute() or ".." in path.parts or path.parts[0] == SOURCE_FILE:
            raise StageError(
                "SourceInvalid", f"the folder holds a file named {remote.path!r}", "Rename it.", "spec.source.uri"
            )
    if sum(max(remote.length, 0) for remote in remotes) > request.max_bytes:
        raise _too_large(request)


def _too_large(request: FetchRequest) -> StageError:
    return StageError(
        "SourceTooLarge",
        f"{request.uri} holds more than the {size(request.max_bytes)} that are allowed",
        "Use a smaller model, or ask the platform team to raise the maximum size of models.",
        "spec.source.uri",
    )


def _check_pin(request: FetchRequest, actual: str) -> None:
    if request.sha256 and request.sha256.lower() != actual:
        raise StageError(
            "DigestMismatch",
            f"{request.uri} has sha256 {actual}, the manifest pins {request.sha256.lower()}",
            "The file changed or is not the one that was meant: put the right file there, or pin the new digest.",
            "spec.source.sha256",
        )


def _download(remote: Remote, staging: Path, budget: int, request: FetchRequest) -> dict[str, Any]:
    target = staging / remote.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if remote.length > shutil.disk_usage(staging).free:
        raise OSError(errno.ENOSPC, f"{remote.path} needs {size(remote.length)}")
    hashed, count, started = hashlib.sha256(), 0, time.monotonic()
    told = started
    with target.open("wb") as file, contextlib.closing(remote.chunks()) as chunks:
        for chunk in chunks:
            count += len(chunk)
            if count > budget:
                raise _too_large(request)
            hashed.update(chunk)
            file.write(chunk)
            if (now := time.monotonic()) - told >= _PROGRESS_SECONDS:
                told = now
                of = f" of {size(remote.length)}" if remote.length >= 0 else ""
                log(f"{remote.path}: {size(count)}{of}, {size(count / (now - started))}/s")
        file.flush()
        os.fsync(file.fileno())
    if 0 <= remote.length != count:
        raise UnreachableError(f"{remote.path} ended after {count} of {remote.length} bytes")
    log(f"{remote.path}: {size(count)}, sha256 {hashed.hexdigest()}")
    return {"sha256": hashed.hexdigest(), "bytes": count}


def _attempts(action: Callable[[], Any], pause: Callable[[float], None]) -> Any:
    """Try a few times with growing pauses: most hiccups of a network end within seconds."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except UnreachableError as error:
            log(f"attempt {attempt} of {ATTEMPTS}: {error}")
            if attempt == ATTEMPTS:
                raise StageError(
                    "SourceUnreachable",
                    f"{error} ({ATTEMPTS} attempts)",
                    "Check the host's name, that it is up, and that network policies let this namespace reach it. "
                    "It is tried again.",
                    "spec.source.uri",
                    retry=True,
                ) from error
            pause(2.0 ** (attempt - 1))
    raise AssertionError("unreachable")


def _publish(staging: Path, directory: Path, request: FetchRequest, record: dict[str, Any]) -> dict[str, Any]:
    """One rename makes the directory appear, whole."""
    for folder, _, _ in os.walk(staging):
        _sync(Path(folder))
    # What no validation accepted is replaced: who runs a refused stage again has put something better under the URI.
    if _existing(request, directory) is not None and not accepted(directory):
        shutil.rmtree(directory)
    try:
        staging.rename(directory)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        if (found := _existing(request, directory)) is not None:
            return found  # another pod of the same Job was faster
        raise StageError(
            "DestinationInUse",
            f"{directory} exists and does not hold {request.uri}",
            "Artifacts are never overwritten: choose another directory, or delete this one.",
        ) from error
    _sync(directory.parent)
    return record


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(directory: Path, own: Path) -> None:
    """Remove what fetches left that were killed half-way: it would fill the volume, one model's size at a time."""
    for leftover in _leftovers(directory):
        with contextlib.suppress(OSError):
            newest = max(path.stat().st_mtime for path in (leftover, *leftover.rglob("*")))
            if leftover == own or time.time() - newest > _STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def _leftovers(directory: Path) -> Iterator[Path]:
    if directory.parent.is_dir():
        yield from directory.parent.glob(f"{directory.name}.tmp-*")
