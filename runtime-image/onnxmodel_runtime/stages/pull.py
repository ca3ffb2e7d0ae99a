"""Pull: bring what a stage or a server reads from the store of artifacts. Every byte is verified by its digest."""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path, PurePosixPath

from onnxmodel_runtime.contract.store import PullRequest, Wanted
from onnxmodel_runtime.contract.volume import OUR_FILES
from onnxmodel_runtime.errors import size, storage_error
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.sources.authorities import trusted
from onnxmodel_runtime.store.blobcache import BlobCache
from onnxmodel_runtime.store.index import StoredFile
from onnxmodel_runtime.store.kinds import ArtifactStore, opened_store, take_store_credentials
from onnxmodel_runtime.store.patience import MissingError

_SECONDS = 20.0  # then the pod says why it waits, and is started again
_ATTEMPTS = 2  # of one whose bytes are wrong


def pull(request: PullRequest, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Bring each wanted folder. Raises StageError if the store lacks one that is not optional."""
    take_store_credentials()
    root, began, count = Path(request.directory), time.monotonic(), 0
    cache = BlobCache(request.cache, request.cache_bytes)
    with trusted(), closing(opened_store(request.bucket, request.registry, _SECONDS, pause)) as store:
        for wanted in request.folders:
            for name, file in _files(store, wanted).items():
                _bring(store, cache, root / PurePosixPath(wanted.folder).parent / name, file)
                count += file.bytes
    of_node = f", {cache.hits} files from the node's cache" if request.cache else ""
    log(f"brought {size(count)} in {time.monotonic() - began:.2f} s{of_node}")


def _files(store: ArtifactStore, wanted: Wanted) -> dict[str, StoredFile]:
    """Select the files of a folder, by name. Raises StageError if one of them is missing or not the known one."""
    try:
        index = store.read(wanted.folder)
    except MissingError:
        if wanted.optional:
            log(f"the store has no {wanted.folder} yet")
            return {}
        raise store.incomplete(f"the store has no folder {wanted.folder}") from None
    own = PurePosixPath(wanted.folder).name
    for path, digest in wanted.sha256.items():
        stored = index.get(f"{own}/{path}")
        if stored is None:
            raise store.incomplete(f"the store's folder {wanted.folder} has no {path}")
        if stored.sha256 != digest:
            raise store.damaged(
                f"{wanted.folder}/{path} has the sha256 {stored.sha256} in the store, but {digest} was proven"
            )
    if not wanted.paths:
        return dict(index)
    found = dict[str, StoredFile]()
    for path in wanted.paths:
        some = {name: file for name, file in index.items() if _is_asked(name, own, path)}
        if not some:
            raise store.incomplete(f"the store's folder {wanted.folder} has no {path}")
        found |= some
    return found


def _is_asked(name: str, own: str, path: str) -> bool:
    """Return whether a stored file of the folder `own` is what a wanted path stands for."""
    folder, _, inside = name.partition("/")
    if folder != own or not inside:
        return False
    if path == "./":
        return PurePosixPath(inside).parts[0] not in OUR_FILES
    return inside == path or (path.endswith("/") and inside.startswith(path))


def _bring(store: ArtifactStore, cache: BlobCache, path: Path, file: StoredFile) -> None:
    """Bring one file, and look again if its bytes are not the expected ones."""
    partial = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if cache.take(file, partial):
            partial.replace(path)
            return
        for _ in range(_ATTEMPTS):
            actual = _download(store, partial, file)
            if actual == file.sha256:
                cache.give(file, partial)
                partial.replace(path)
                return
            log(f"{path.name}: its sha256 is {actual}, not {file.sha256}")
    except MissingError:
        raise store.incomplete(f"the store has no {store.shown(file)}, which is {path.name}") from None
    except OSError as error:
        raise storage_error(error, path.parent) or error from error
    finally:
        partial.unlink(missing_ok=True)
    raise store.damaged(f"{store.shown(file)} has the sha256 {actual}")


def _download(store: ArtifactStore, path: Path, file: StoredFile) -> str:
    """Write a blob to a file, and return the digest of what came, at most one byte too many."""
    with path.open("wb") as out:
        hashed = hashlib.sha256()

        def sink() -> Callable[[bytes], object]:
            nonlocal hashed
            hashed = hashlib.sha256()
            out.seek(0)
            out.truncate()

            def take(chunk: bytes) -> None:
                hashed.update(chunk)
                out.write(chunk)

            return take

        store.download(file, sink)
    return hashed.hexdigest()
