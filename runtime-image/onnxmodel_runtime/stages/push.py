"""Push: leave what a stage made in the store of artifacts, and remove what no spec can go back to."""

import time
from collections.abc import Callable, Collection
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from onnxmodel_runtime.contract.store import PushRequest
from onnxmodel_runtime.errors import StageError, size
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.sources.authorities import trusted
from onnxmodel_runtime.store.index import (
    BLOBS,
    FOLDERS,
    RETAIN,
    StoredFile,
    blob_name,
    index_name,
    read_index,
    write_index,
)
from onnxmodel_runtime.store.left import files_of, measured, opened
from onnxmodel_runtime.store.objects import MissingError, Objects, take_store_credentials

_SECONDS = 900.0  # the stage would run again: that costs more than a pod that waits
_YOUNG = timedelta(hours=1)  # another Job of the model may be about to name such a blob


def push(request: PushRequest, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Store the folders. When this returns, they can be pulled on any node."""
    take_store_credentials()
    with trusted(), closing(Objects(request.bucket, _SECONDS, pause)) as objects:
        for folder in request.folders:
            _store(objects, Path(request.directory), folder)
        if request.retain:
            objects.put(RETAIN, b"")
        if request.keep:
            _make_room(objects, {*request.keep, *request.folders})


def _store(objects: Objects, root: Path, folder: str) -> None:
    began, place = time.monotonic(), root / PurePosixPath(folder).parent
    names = files_of(root, folder)
    if not names:
        raise StageError(
            "ArtifactsRefused",
            f"the stage left nothing in {folder}",
            "Operator and image must be from the same release.",
        )
    there, sent, index = objects.list(BLOBS), 0, {}
    for name in names:
        with opened(place / name) as file:
            stored = index[name] = measured(file)
            known = there.get(stored.sha256)
            if known is None or known.bytes != stored.bytes:
                objects.upload(blob_name(stored.sha256), file)
                sent += stored.bytes
    write_index(objects, folder, index)
    _check(objects, place, index)
    log(f"stored {folder}: {len(names)} files, {size(sent)} sent in {time.monotonic() - began:.2f} s")


def _check(objects: Objects, place: Path, index: dict[str, StoredFile]) -> None:
    """Send again what another Job of the model removed before the index named it."""
    there = objects.list(BLOBS)
    for name, stored in index.items():
        if stored.sha256 not in there:
            with opened(place / name) as file:
                objects.upload(blob_name(stored.sha256), file)


def _make_room(objects: Objects, keep: Collection[str]) -> None:
    """Collect garbage. What cannot be removed stays: that is no reason for a stage to fail."""
    try:
        collect_stored(objects, keep)
    except StageError as error:
        log(f"artifacts that no spec can return to stay for now: {error.failure.message}")


def collect_stored(objects: Objects, keep: Collection[str]) -> list[str]:
    """Remove the folders that `keep` does not name, as "optimize/0123456789abcdef", and the blobs of none. Returns those.

    A folder goes before its blobs, so that none is there without them.
    """
    folders = {name.removesuffix(".json") for name in objects.list(FOLDERS)}
    removed = sorted(folders - {*keep})
    for folder in removed:
        objects.delete(index_name(folder))
    needed = set()
    for folder in folders & {*keep}:
        try:
            needed |= {file.sha256 for file in read_index(objects, folder).values()}
        except MissingError:
            continue  # another Job removed it
    before = datetime.now(UTC) - _YOUNG
    for blob in objects.list(BLOBS).values():
        if blob.name not in needed and blob.time < before:
            objects.delete(blob_name(blob.name))
    if removed:
        log(f"removed artifacts that no spec can return to: {', '.join(removed)}")
    return removed
