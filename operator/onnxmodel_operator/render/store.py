"""Make the requests of the containers that move artifacts between a pod and the store."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from onnxmodel_operator import quantity
from onnxmodel_operator.plan.values import Step
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.render.identity import store_identity
from onnxmodel_operator.render.parts import Owner, as_argument
from onnxmodel_runtime.contract.codec import as_data
from onnxmodel_runtime.contract.fetch import SECRET_PREFIX
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import FOLDERS, STAGES
from onnxmodel_runtime.contract.store import Bucket, PullRequest, PushRequest, Repository, Wanted
from onnxmodel_runtime.contract.volume import ARTIFACTS, PROBE_FILE

_CACHE = "/cache"
_PATH = re.compile(rf"{ARTIFACTS}/((?:{'|'.join(map(re.escape, FOLDERS))})/[0-9a-f]{{16}})(?:/(.+))?")


@dataclass(frozen=True, slots=True)
class _Place:
    """A model's own place in the platform's store. None in both where it has a volume."""

    bucket: Bucket | None
    registry: Repository | None

    def __bool__(self) -> bool:
        return bool(self.bucket or self.registry)


@dataclass(frozen=True, slots=True)
class _Mounted:
    """An image volume of a server's pod. path: where it is mounted."""

    name: str
    path: str
    image: str


def of_step(owner: Owner, step: Step, settings: Settings, *, retain: bool) -> dict[str, Any]:
    """Return the values of a Job's template that are about the store."""
    place = _place(owner, settings)
    own = _folder(step.directory) if step.directory else ""
    pull = _pull(place, _read(step, own), settings)
    push = PushRequest(place.bucket, (own,), ARTIFACTS, retain=retain, registry=place.registry)
    return {**_common(owner, place, pull, settings), "push": _argument(push) if place and own else None}


def of_server(
    owner: Owner, request: ServeRequest, settings: Settings, images: Mapping[str, str], *, writes: bool
) -> dict[str, Any]:
    """Return the values of a server's template that are about the store: exactly what it reads, verified.

    writes: the pod leaves files beside its artifacts, which no image takes.
    """
    place = _place(owner, settings)
    if place.registry and not writes and (mounts := _mounts(request, images)):
        of = place.registry.repository
        volumes = [
            _Mounted(f"artifacts-{number}", f"{ARTIFACTS}/{folder}", f"{of}@{digest}")
            for number, (folder, digest) in enumerate(mounts.items())
        ]
        return {**_common(owner, place, None, settings), "mounted": volumes}
    model = _PATH.fullmatch(request.model)
    proven = {model[1]: {model[2]: request.sha256}} if model and model[2] else {}
    wanted = _exact((request.model, request.probe))
    wanted = tuple(Wanted(each.folder, each.paths, proven.get(each.folder, {})) for each in wanted)
    return _common(owner, place, _pull(place, wanted, settings), settings)


def _mounts(request: ServeRequest, images: Mapping[str, str]) -> dict[str, str]:
    """The image of each folder that a server reads. Empty if there is none for one of them: such a server pulls."""
    mounts = {}
    for wanted in _exact((request.model, request.probe)):
        inside = [path.removesuffix("/") for path in wanted.paths if path not in ("./", PROBE_FILE)]
        image = images.get("/".join((wanted.folder, *inside)))
        if image is None:
            return {}
        mounts[wanted.folder] = image
    return mounts


def _place(owner: Owner, settings: Settings) -> _Place:
    of = (owner.namespace, owner.name, owner.uid)
    return _Place(settings.artifacts.bucket(*of), settings.artifacts.registry(*of))


def _common(owner: Owner, place: _Place, pull: str | None, settings: Settings) -> dict[str, Any]:
    remote, s3 = settings.artifacts.remote, settings.artifacts.s3 if place.bucket else None
    return {
        "remote": bool(place),
        "mounted": [],
        "pull": pull,
        "store_secret": remote.secret_ref.name if remote and remote.secret_ref else None,
        "store_identity": store_identity(owner.namespace, s3) if s3 else None,
        "node_cache": remote.node_cache.path if remote and remote.node_cache and pull else None,
        "cache_mount": _CACHE,
        "secret_prefix": SECRET_PREFIX,
        "size": settings.artifacts.size,
    }


def _pull(place: _Place, wanted: tuple[Wanted, ...], settings: Settings) -> str | None:
    if not place or not wanted:
        return None
    cache = settings.artifacts.remote.node_cache if settings.artifacts.remote else None
    room = int(quantity.parse(cache.size)) if cache else 0
    return _argument(PullRequest(place.bucket, wanted, ARTIFACTS, _CACHE if cache else "", room, place.registry))


def _argument(request: PullRequest | PushRequest) -> str:
    """Encode a request. One to a bucket says nothing of registries: its pods are those of before there were any."""
    return as_argument({name: value for name, value in as_data(request).items() if name != "registry" or value})


def _read(step: Step, own: str) -> tuple[Wanted, ...]:
    """The stored files that a stage reads. One that works on files gets whole folders, a client of the server its probe."""
    paths = _strings(as_data(step.request))
    if not STAGES[step.stage].writes:
        return _exact(paths)
    fetched = _folder(step.fetch.directory) if step.fetch else ""
    folders = dict.fromkeys(found[1] for path in paths if (found := _PATH.fullmatch(path)))
    # What is fetched need not be there: what is there is not fetched again.
    return tuple(Wanted(folder, optional=folder == fetched) for folder in folders if folder != own or own == fetched)


def _exact(paths: Iterable[str]) -> tuple[Wanted, ...]:
    """The stored parts that hold these files.

    A variant has its weights beside it, in a folder of its own; the original in the model's.

    Paths come from the results of stages: one that names no stored folder is the server's to complain about.
    """
    wanted: dict[str, dict[str, None]] = {}
    for found in map(_PATH.fullmatch, paths):
        if found is None or not found[2]:
            continue
        folder, file = found[1], found[2]
        parent = PurePosixPath(file).parent.as_posix()
        beside = f"{parent}/" if parent != "." or file.endswith(".onnx") else file
        wanted.setdefault(folder, {})[beside] = None
    return tuple(Wanted(folder, tuple(files)) for folder, files in wanted.items())


def _folder(path: str) -> str:
    return path.removeprefix(f"{ARTIFACTS}/")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
