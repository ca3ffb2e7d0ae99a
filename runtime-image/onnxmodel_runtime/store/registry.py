"""The store in a registry: each folder is an image with a layer for each file, under a tag that is written last.

Tags begin with the model's uid, and manifests name their tag: no two tags have one manifest, so that removing a manifest
by its digest removes one tag. Which blobs are needed is the registry's to know, and its to collect.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.store import Repository
from onnxmodel_runtime.contract.volume import OUR_FILES, PROBE_FILE, SOURCE_FOLDER
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.store.distribution import MANIFEST, SETTINGS, Distribution, take_docker_config
from onnxmodel_runtime.store.index import Index, StoredFile, checked
from onnxmodel_runtime.store.layers import Layer, content, head, layer_of, layer_size
from onnxmodel_runtime.store.left import opened
from onnxmodel_runtime.store.patience import MissingError

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_TITLE = "org.opencontainers.image.title"
_SHA256, _BYTES, _TAG, _SINCE = (f"dev.onnx-operator.{name}" for name in ("sha256", "bytes", "tag", "since"))
_RETAIN, _GONE = "retain", "gone"
_UID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FOLDER = re.compile("([a-z]+)-([0-9a-f]{16})(?:-image(?:-.+)?)?")
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_MOST_FILES = 5_000  # of short names, a manifest that registries take
_MOST_LAYERS = 100  # that a node can mount on top of each other
_VARIANT = re.compile("[a-z0-9-]{1,32}")
_WHITEOUT = ".wh."  # of a layer's file that removes another


class RegistryStore:
    """The tags of one model, or the repositories of all models."""

    def __init__(self, place: Repository, seconds: float, pause: Callable[[float], None]) -> None:
        self._place, self._seconds, self._pause = place, seconds, pause
        self._path = place.repository.partition("/")[2]
        take_docker_config(place)
        self._own = self._repository(self._path)
        self.images: dict[str, str] = {}
        """Digests of images of what servers read, as PushResult has them."""

    def close(self) -> None:
        """Do nothing: no connection outlives its reply."""

    def read(self, folder: str) -> Index:
        """Read the manifest of a folder's image. Raises MissingError, and StageError for one that cannot be believed."""
        tag = self._tag(folder.replace("/", "-"))
        where = f"{self._own.uri}:{tag}"
        index = {}
        try:
            manifest = json.loads(self._own.manifest(tag))
            if manifest["annotations"][_TAG] != tag:
                raise self.damaged(f"{where} is the image of another folder")
            for layer in manifest["layers"]:
                notes = layer["annotations"]
                name, size = notes[_TITLE], int(notes[_BYTES])
                skip = len(head(_inside(name), size))
                if not _DIGEST.fullmatch(layer["digest"]) or layer["size"] != layer_size(_inside(name), size):
                    raise self.damaged(f"{where} has no layer of ours for {name[:200]!r}")
                index[name] = StoredFile(notes[_SHA256], size, layer["digest"], skip)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self.damaged(f"{where} is no image of a folder: {type(error).__name__}") from error
        return checked(index, folder, where, self.damaged)

    def download(self, file: StoredFile, sink: Callable[[], Callable[[bytes], object]]) -> None:
        """Pass the bytes of the file in a layer to what `sink` returns. Raises MissingError."""
        self._own.download(file.layer, lambda: _cut(sink(), file), layer_size_at_most(file))

    def shown(self, file: StoredFile) -> str:
        """Return the address of a layer, for messages."""
        return f"{self._own.uri}@{file.layer}"

    def damaged(self, message: str) -> StageError:
        """Return the error for content that is not what was stored."""
        return StageError(
            "StoreDamaged",
            message,
            "Something else writes to the repository. Give the model another name, or change "
            "settings.artifacts.oci.repository for all models, and everything is made again.",
            SETTINGS,
        )

    def incomplete(self, message: str) -> StageError:
        """Return the error for content that the registry lacks."""
        return StageError(
            "StoreIncomplete",
            message,
            "Something else deletes from the repository, such as a retention rule. Give the model another name, or "
            "change settings.artifacts.oci.repository for all models, and everything is made again.",
            SETTINGS,
        )

    def store(self, parent: Path, folder: str, names: Sequence[str]) -> int:
        """Store each layer that the registry lacks, and then the manifest."""
        if len(names) > _MOST_FILES:
            raise StageError(
                "ArtifactsRefused",
                f"{folder} has {len(names)} files, and an image can have {_MOST_FILES}",
                "Use fewer files of external data.",
            )
        layers, sent = {}, 0
        for name in names:
            with opened(parent / name) as file:
                layers[name] = layer_of(_inside(name), file)
                sent += self._send(layers[name], file)
        tag = self._tag(folder.replace("/", "-"))
        try:
            self._put(tag, layers)
        except MissingError:  # the registry collected one that nothing named yet
            for name, layer in layers.items():
                with opened(parent / name) as file:
                    self._send(layer, file)
            self._put(tag, layers)
        for name, some in _served(folder, names).items():
            self.images[name] = self._put(_image_tag(tag, folder, name), {each: layers[each] for each in some})
        return sent

    def _send(self, layer: Layer, file: Any) -> int:
        if self._own.has(layer.digest):
            return 0
        self._own.upload(layer.digest, layer.size, lambda: content(layer, file))
        return layer.bytes

    def _put(self, tag: str, layers: Mapping[str, Layer]) -> str:
        """Make an image appear. All its layers must be there. Returns its digest."""
        return _put_image(self._own, tag, layers, {})

    def retain(self) -> None:
        """Put the mark."""
        _put_image(self._own, self._tag(_RETAIN), {}, {})

    def collect(self, keep: Collection[str]) -> list[str]:
        """Remove the images of folders that `keep` does not name."""
        removed = []
        for tag in self._own.tags():
            found = _FOLDER.fullmatch(tag.removeprefix(self._tag(""))) if tag.startswith(self._tag("")) else None
            if found and f"{found[1]}/{found[2]}" not in keep:
                self._own.delete(tag)
                removed.append(f"{found[1]}/{found[2]}")
        return sorted({*removed})

    def sweep(self, retained: Mapping[str, bool], seconds: float) -> None:
        """Remove the tags of other models `seconds` after they were first seen without their model.

        A registry does not say when a tag was written. So the sweep leaves a mark with the time, and takes it away if
        the model is there: one that is newer than the inventory.
        """
        try:
            every = self._own.repositories()
        except MissingError:
            raise StageError(
                "StoreInvalid",
                f"{self._own.host} does not list its repositories, so that nothing can be swept",
                "Disable sweep.enabled, and remove the repositories of deleted models by the registry's own rules.",
                SETTINGS,
            ) from None
        failed: list[StageError] = []
        for path in every:
            levels = path.removeprefix(f"{self._path}/").split("/")
            if path.startswith(f"{self._path}/") and len(levels) == 2:  # NAMESPACE/NAME
                try:
                    _sweep(self._repository(path), retained, seconds)
                except StageError as error:  # one that refuses must not keep the others
                    log(error.failure.message)
                    failed.append(error)
        if failed:
            raise failed[0]

    def _repository(self, path: str) -> Distribution:
        return Distribution(self._place, path, self._seconds, self._pause)

    def _tag(self, rest: str) -> str:
        return f"{self._place.uid}-{rest}"


def _sweep(repository: Distribution, retained: Mapping[str, bool], seconds: float) -> None:
    parts: dict[str, set[str]] = defaultdict(set)
    for tag in repository.tags():
        if found := re.fullmatch(f"({_UID})-(.+)", tag):
            parts[found[1]].add(found[2])
    for uid, there in parts.items():
        if uid in retained:
            _mark(repository, f"{uid}-{_RETAIN}", retained[uid], _RETAIN in there)
            _mark(repository, f"{uid}-{_GONE}", False, _GONE in there)
        elif _RETAIN in there:
            continue
        elif _GONE not in there or (age := _age(repository, f"{uid}-{_GONE}")) is None:
            _mark_gone(repository, uid)
        elif age >= seconds:
            for rest in sorted(there - {_GONE}):
                repository.delete(f"{uid}-{rest}")
            repository.delete(f"{uid}-{_GONE}")  # last: what is cut short goes on the next time
            log(f"removed {repository.uri}:{uid}-…: {len(there) - 1} images")


def _mark_gone(repository: Distribution, uid: str) -> None:
    _put_image(repository, f"{uid}-{_GONE}", {}, {_SINCE: datetime.now(UTC).isoformat()})


def _age(repository: Distribution, tag: str) -> float | None:
    """For how many seconds a mark has been there. None for one that does not say so, and must be made again."""
    try:
        since = datetime.fromisoformat(json.loads(repository.manifest(tag))["annotations"][_SINCE])
        age = (datetime.now(UTC) - since).total_seconds()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, MissingError):
        return None
    return age if age >= 0 else None


def _mark(repository: Distribution, tag: str, wanted: bool, marked: bool) -> None:
    if wanted and not marked:
        _put_image(repository, tag, {}, {})
    elif marked and not wanted:
        repository.delete(tag)


def _put_image(repository: Distribution, tag: str, layers: Mapping[str, Layer], notes: Mapping[str, str]) -> str:
    """Write an image's configuration and its manifest. The same layers under the same tag give the same digest."""
    diffs = [layer.digest for layer in layers.values()]
    # Of any platform: runtimes compare these two for an index of images alone.
    config = _json({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diffs}})
    described = {"mediaType": _CONFIG, "digest": f"sha256:{hashlib.sha256(config).hexdigest()}", "size": len(config)}
    if not repository.has(str(described["digest"])):
        repository.upload(str(described["digest"]), len(config), lambda: (config,))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described,
        "layers": [
            {
                "mediaType": _LAYER,
                "digest": layer.digest,
                "size": layer.size,
                "annotations": {_TITLE: name, _SHA256: layer.sha256, _BYTES: str(layer.bytes)},
            }
            for name, layer in layers.items()
        ],
        "annotations": {_TAG: tag, **notes},
    }
    content = _json(manifest)
    repository.put_manifest(tag, content)
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _served(folder: str, names: Iterable[str]) -> dict[str, list[str]]:
    """The files of each image that a server may mount, by what PushResult calls it.

    A stage that a model took over chooses names too: what no image can have is pulled.
    """
    stage, _, own = folder.partition("/")
    inside = [(name, path) for name in names for of, _, path in [name.partition("/")] if of == own and path]
    images: dict[str, list[str]] = {}
    if stage == SOURCE_FOLDER:
        images[folder] = [name for name, path in inside if path.partition("/")[0] not in OUR_FILES]
    elif stage == Stage.OPTIMIZE:
        probe = [name for name, path in inside if path == PROBE_FILE]
        images[folder] = probe
        for name, path in inside:
            variant, slash, _ = path.partition("/")
            if slash and _VARIANT.fullmatch(variant):
                images.setdefault(f"{folder}/{variant}", [*probe]).append(name)
    return {
        key: some
        for key, some in images.items()
        if 0 < len(some) <= _MOST_LAYERS and not any(f"/{_WHITEOUT}" in f"/{name}" for name in some)
    }


def _image_tag(tag: str, folder: str, name: str) -> str:
    variant = name.removeprefix(folder).strip("/")
    return f"{tag}-image-{variant}" if variant else f"{tag}-image"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _inside(name: str) -> str:
    """The path in an image of a file of a folder. What stands beside the folder is in no image that is mounted."""
    folder, slash, path = name.partition("/")
    return path if slash else f"beside/{folder.partition('.')[2]}"


def layer_size_at_most(file: StoredFile) -> int:
    """Return the bytes of a layer up to the end of the file and its padding."""
    return file.skip + file.bytes + 3 * 512


def _cut(take: Callable[[bytes], object], file: StoredFile) -> Callable[[bytes], object]:
    """Pass on what belongs to the file."""
    skip, left = file.skip, file.bytes

    def cut(chunk: bytes) -> None:
        nonlocal skip, left
        chunk, skip = chunk[skip:], max(0, skip - len(chunk))
        if chunk := chunk[:left]:
            left -= len(chunk)
            take(chunk)

    return cut
