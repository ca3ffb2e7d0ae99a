"""The store in a bucket: a blob for each file, and an index for each folder that is written last."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from onnxmodel_runtime.contract.store import Bucket
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.store.index import Index, StoredFile, checked
from onnxmodel_runtime.store.left import measured, opened
from onnxmodel_runtime.store.objects import Listed, Objects, damaged, incomplete
from onnxmodel_runtime.store.patience import MissingError

_MOST_BYTES = 16 << 20
_BLOBS, _FOLDERS = "blobs/sha256/", "folders/"
_RETAIN = "retain"
_LEVELS = 3  # NAMESPACE/NAME/UID
_YOUNG = timedelta(hours=1)  # another Job of the model may be about to name such a blob


class BucketStore:
    """The part of a bucket of one model, or of all models."""

    def __init__(self, bucket: Bucket, seconds: float, pause: Callable[[float], None]) -> None:
        self._objects = Objects(bucket, seconds, pause)

    def close(self) -> None:
        """Close the connections."""
        self._objects.close()

    def read(self, folder: str) -> Index:
        """Read a folder's index. Raises MissingError if the bucket has none, and StageError for one that cannot be believed."""
        where = self._objects.shown(_index(folder))
        content = self._objects.get(_index(folder), _MOST_BYTES)
        try:
            files = json.loads(content)["files"]
            told = {name: StoredFile(file["sha256"], file["bytes"]) for name, file in files.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise damaged(f"{where} is no index of a folder: {type(error).__name__}") from error
        return checked(told, folder, where, damaged)

    def download(self, file: StoredFile, sink: Callable[[], Callable[[bytes], object]]) -> None:
        """Pass a blob's bytes to what `sink` returns. Raises MissingError."""
        self._objects.download(_blob(file), sink, file.bytes)

    def shown(self, file: StoredFile) -> str:
        """Return the address of a blob, for messages."""
        return self._objects.shown(_blob(file))

    def damaged(self, message: str) -> StageError:
        """Return the error for content that is not what was stored."""
        return damaged(message)

    def incomplete(self, message: str) -> StageError:
        """Return the error for content that the bucket lacks."""
        return incomplete(message)

    def store(self, parent: Path, folder: str, names: Sequence[str]) -> int:
        """Store each file that the bucket lacks, and then the index."""
        there, sent, index = self._objects.list(_BLOBS), 0, {}
        for name in names:
            with opened(parent / name) as file:
                stored = index[name] = measured(file)
                known = there.get(stored.sha256)
                if known is None or known.bytes != stored.bytes:
                    self._objects.upload(_blob(stored), file)
                    sent += stored.bytes
        self._write_index(folder, index)
        self._check(parent, index)
        return sent

    @property
    def images(self) -> dict[str, str]:
        """Nothing: a bucket has no images."""
        return {}

    def _write_index(self, folder: str, index: Index) -> None:
        """Make a folder appear. All its blobs must be there."""
        files = {name: {"sha256": file.sha256, "bytes": file.bytes} for name, file in sorted(index.items())}
        self._objects.put(_index(folder), json.dumps({"schema": 1, "files": files}, indent=1).encode())

    def _check(self, parent: Path, index: Index) -> None:
        """Send again what another Job of the model removed before the index named it."""
        there = self._objects.list(_BLOBS)
        for name, stored in index.items():
            if stored.sha256 not in there:
                with opened(parent / name) as file:
                    self._objects.upload(_blob(stored), file)

    def retain(self) -> None:
        """Put the mark."""
        self._objects.put(_RETAIN, b"")

    def collect(self, keep: Collection[str]) -> list[str]:
        """Remove the folders that `keep` does not name, and the blobs of none.

        A folder goes before its blobs, so that none is there without them.
        """
        folders = {name.removesuffix(".json") for name in self._objects.list(_FOLDERS)}
        removed = sorted(folders - {*keep})
        for folder in removed:
            self._objects.delete(_index(folder))
        needed = set()
        for folder in folders & {*keep}:
            try:
                needed |= {file.sha256 for file in self.read(folder).values()}
            except MissingError:
                continue  # another Job removed it
        before = datetime.now(UTC) - _YOUNG
        for blob in self._objects.list(_BLOBS).values():
            if blob.name not in needed and blob.time < before:
                self._objects.delete(f"{_BLOBS}{blob.name}")
        return removed

    def sweep(self, retained: Mapping[str, bool], seconds: float) -> None:
        """Remove the parts of other models once their newest object is older than `seconds`, and bring marks up to date."""
        before = datetime.now(UTC) - timedelta(seconds=seconds)
        for part, there in _parts(self._objects.list("")).items():
            uid = part.rpartition("/")[2]
            if uid in retained:
                self._mark(part, retained[uid], _RETAIN in there)
            elif _RETAIN not in there and max(item.time for item in there.values()) < before:
                # Indexes first: what is cut short leaves blobs that nothing names, and they go the next time.
                for name in sorted(there, key=lambda name: (not name.startswith(_FOLDERS), name)):
                    self._objects.delete(f"{part}/{name}")
                log(f"removed {part}: {len(there)} objects")

    def _mark(self, part: str, retained: bool, marked: bool) -> None:
        """Bring the mark up to date while the model is there to say so."""
        if retained and not marked:
            self._objects.put(f"{part}/{_RETAIN}", b"")
        elif marked and not retained:
            self._objects.delete(f"{part}/{_RETAIN}")


def _index(folder: str) -> str:
    return f"{_FOLDERS}{folder}.json"


def _blob(file: StoredFile) -> str:
    return f"{_BLOBS}{file.sha256}"


def _parts(objects: Mapping[str, Listed]) -> Mapping[str, Mapping[str, Listed]]:
    """The objects of each model, by NAMESPACE/NAME/UID. What lies elsewhere is not ours."""
    parts: dict[str, dict[str, Listed]] = defaultdict(dict)
    for name, item in objects.items():
        *levels, rest = name.split("/", _LEVELS)
        if len(levels) == _LEVELS:
            parts["/".join(levels)][rest] = item
    return parts
