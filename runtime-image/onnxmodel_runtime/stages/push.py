"""Push: leave what a stage made in the store of artifacts, and remove what no spec can go back to."""

import time
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path, PurePosixPath

from onnxmodel_runtime.contract.store import PushRequest, PushResult
from onnxmodel_runtime.errors import StageError, size
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.sources.authorities import trusted
from onnxmodel_runtime.store.kinds import ArtifactStore, opened_store, take_store_credentials
from onnxmodel_runtime.store.left import files_of

_SECONDS = 900.0  # the stage would run again: that costs more than a pod that waits


def push(request: PushRequest, *, pause: Callable[[float], None] = time.sleep) -> PushResult | None:
    """Store the folders. When this returns, they can be pulled on any node. Returns what can be mounted, if anything can."""
    take_store_credentials()
    with trusted(), closing(opened_store(request.bucket, request.registry, _SECONDS, pause)) as store:
        for folder in request.folders:
            _store(store, Path(request.directory), folder)
        if request.retain:
            store.retain()
        if request.keep:
            _make_room(store, {*request.keep, *request.folders})
        return PushResult(store.images) if store.images else None


def _store(store: ArtifactStore, root: Path, folder: str) -> None:
    began = time.monotonic()
    names = files_of(root, folder)
    if not names:
        raise StageError(
            "ArtifactsRefused",
            f"the stage left nothing in {folder}",
            "Operator and image must be from the same release.",
        )
    sent = store.store(root / PurePosixPath(folder).parent, folder, names)
    log(f"stored {folder}: {len(names)} files, {size(sent)} sent in {time.monotonic() - began:.2f} s")


def _make_room(store: ArtifactStore, keep: Collection[str]) -> None:
    """Collect garbage. What cannot be removed stays: that is no reason for a stage to fail."""
    try:
        if removed := store.collect(keep):
            log(f"removed artifacts that no spec can return to: {', '.join(removed)}")
    except StageError as error:
        log(f"artifacts that no spec can return to stay for now: {error.failure.message}")
