"""The interface of a store, and the store that a request names."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from onnxmodel_runtime.contract.fetch import SECRET_PREFIX
from onnxmodel_runtime.contract.store import STORE_CREDENTIALS, Bucket, Repository
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.store.index import Index, StoredFile

Pause = Callable[[float], None]


class ArtifactStore(Protocol):
    """The place of one model, or of all models, in a store. Each call asks again for a while if the store is away."""

    def close(self) -> None:
        """Close the connections."""

    def read(self, folder: str) -> Index:
        """Return the files of a folder, as the store lists them. Raises MissingError if it has none of this name."""

    def download(self, file: StoredFile, sink: Callable[[], Callable[[bytes], object]]) -> None:
        """Pass a file's bytes to what `sink` returns, which is asked again for each attempt. Raises MissingError."""

    def shown(self, file: StoredFile) -> str:
        """Return the address of a file, for messages."""

    def damaged(self, message: str) -> StageError:
        """Return the error for content that is not what was stored."""

    def incomplete(self, message: str) -> StageError:
        """Return the error for content that the store lacks."""

    def store(self, parent: Path, folder: str, names: Sequence[str]) -> int:
        """Store a folder of these files below `parent`. It appears when it is whole. Returns how many bytes were sent."""

    @property
    def images(self) -> dict[str, str]:
        """Images that servers can mount of the folders that were stored, as PushResult has them."""

    def retain(self) -> None:
        """Mark all of the model's artifacts, so that they stay without it."""

    def collect(self, keep: Collection[str]) -> list[str]:
        """Remove the folders that `keep` does not name, as "optimize/0123456789abcdef". Returns those."""

    def sweep(self, retained: Mapping[str, bool], seconds: float) -> None:
        """Remove what belongs to none of these models, and bring the marks of theirs up to date.

        retained: by uid, whether the model's artifacts stay without it. seconds: what is younger stays.
        """


def opened_store(bucket: Bucket | None, registry: Repository | None, seconds: float, pause: Pause) -> ArtifactStore:
    """Return the store that a request names. seconds: how long it is asked again while it is away."""
    if registry is not None:
        from onnxmodel_runtime.store.registry import RegistryStore

        return RegistryStore(registry, seconds, pause)
    if bucket is None:
        raise StageError(
            "RequestInvalid", "the request names no store", "Operator and image must be from the same release."
        )
    from onnxmodel_runtime.store.bucket import BucketStore

    return BucketStore(bucket, seconds, pause)


def take_store_credentials() -> None:
    """Take the keys of the store's Secret from the environment; no other variable that begins like them stays."""
    for name in sorted(os.environ):
        if name.startswith(SECRET_PREFIX):
            key, value = name.removeprefix(SECRET_PREFIX), os.environ.pop(name)
            if key in STORE_CREDENTIALS:
                os.environ[key] = value
