"""Fetch a model: streamed to disk while it is hashed, whole or not at all.

The fetch container holds the credentials and parses nothing but archives; the stage container parses and holds no
credential. The pin is of the model file, also of one that comes in an archive: it is compared after unpacking, and
before anything reads the model.
"""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from onnxmodel_runtime.contract.fetch import SECRET_PREFIX, FetchRequest, SourcePolicy
from onnxmodel_runtime.contract.volume import (
    CALIBRATION_FILE,
    CALIBRATION_FOLDER,
    GOLDEN_FILE,
    GOLDEN_FOLDER,
    MODEL_FILE,
    OUR_FILES,
    SIGNATURE_FILE,
    SOURCE_FILE,
)
from onnxmodel_runtime.errors import StageError, clip, size, storage_error
from onnxmodel_runtime.models.digests import check_pin, digest
from onnxmodel_runtime.models.records import accepted, read_source
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.sources import CREDENTIALS, archive, open_source
from onnxmodel_runtime.sources.authorities import trusted
from onnxmodel_runtime.sources.download import Download
from onnxmodel_runtime.sources.network import LOOPBACK, guarded
from onnxmodel_runtime.sources.source import Remote, Source, UnreachableError, invalid, safe_path, shown

ATTEMPTS = 4
_STALE_SECONDS = 6 * 3600.0
_SIGNATURE_FIELD = "spec.source.signature.uri"
_GOLDEN_FIELD = "spec.validation.golden.uri"
_CALIBRATION_FIELD = "spec.optimization.calibration.uri"
Files = dict[str, dict[str, Any]]


def fetch(request: FetchRequest, *, local: bool = False, pause: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """Fetch `request.uri` into `request.directory` and return what source.json holds: uri, resolved, sha256, files.

    local: file://, plain paths and servers on this machine may be read, which is for a person's own machine only.
    """
    directory = Path(request.directory)
    found = _existing(request, directory)
    if found is not None and _kept(request, directory):
        _check_files(directory, found)
        log(f"{directory} already contains {shown(request.uri)}")
        return found
    staging = directory.with_name(f"{directory.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    _sweep(directory, staging)
    try:
        fetching = _Fetching(request, staging, local, pause)
        with trusted():
            record = fetching.record()
        return _publish(fetching.folder, directory, request, record)
    except OSError as error:
        raise storage_error(error, directory.parent) or error from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def take_credentials() -> None:
    """Take the variables that sources know from a Secret; they replace those that the image or the node set."""
    for name in sorted(os.environ):
        if not name.startswith(SECRET_PREFIX):
            continue
        key, value = name.removeprefix(SECRET_PREFIX), os.environ.pop(name)
        if key in CREDENTIALS:
            os.environ[key] = value
        else:
            print(f"the Secret's key {clip(key, 100)} is not used by any source", file=sys.stderr)


class _Fetching:
    """One fetch under way. folder: what becomes the request's directory; work: where things are put together."""

    def __init__(self, request: FetchRequest, staging: Path, local: bool, pause: Callable[[float], None]) -> None:
        self.request, self.local, self.pause = request, local, pause
        self.folder, self.work = staging / "model", staging / "work"
        self.left = request.max_bytes
        policy = request.policy
        # A person's own machine is theirs to ask, unless they want to see what a platform's rules say.
        networks = (*policy.networks, *LOOPBACK) if local and policy == SourcePolicy() else policy.networks
        self.policy: SourcePolicy = dataclasses.replace(policy, networks=networks)

    def record(self) -> dict[str, Any]:
        """Fetch everything, and write the record of it."""
        request = self.request
        if request.kind == "calibration":
            with _about(_CALIBRATION_FIELD):
                files = self._data(request.uri, CALIBRATION_FILE, CALIBRATION_FOLDER)
            return self._written({"uri": request.uri, "files": files})
        files, resolved = self._model()
        record: dict[str, Any] = {"uri": request.uri, "resolved": resolved, "sha256": files[MODEL_FILE]["sha256"]}
        check_pin(shown(request.uri), record["sha256"], request.sha256, "spec.source.sha256")
        for name, pin in request.files.items():
            actual = files[name]["sha256"] if name in files else "none"
            check_pin(f"{name} of {shown(request.uri)}", actual, pin, "spec.source.files")
        if request.signature_uri:
            record["signature_uri"] = request.signature_uri
            with _about(_SIGNATURE_FIELD, "SignatureMissing"):
                files |= self._one(request.signature_uri, SIGNATURE_FILE)
        if request.golden_uri:
            record["golden_uri"] = request.golden_uri
            with _about(_GOLDEN_FIELD):
                files |= self._data(request.golden_uri, GOLDEN_FILE, GOLDEN_FOLDER)
        return self._written(record | {"files": files})

    def _written(self, record: dict[str, Any]) -> dict[str, Any]:
        _write(self.folder / SOURCE_FILE, json.dumps(record, indent=1, sort_keys=True).encode())
        return record

    def _model(self) -> tuple[Files, str]:
        uri = self.request.uri
        source, remotes = self._list(uri)
        loose = source.loose or any(remote.pack for remote in remotes)
        if not any(remote.pack for remote in remotes):  # all names are known: say what is wrong before gigabytes come
            names = [remote.path for remote in remotes]
            if loose:
                archive.find_model(names, uri)
            else:
                _check_listing(uri, names)
        files = self._bring(uri, remotes)
        self.folder.mkdir(parents=True)
        if loose:
            files = self._settle(uri, files)
        else:
            _move(self.work, self.folder)
        for name in files:
            _check_reserved(uri, name)
        return files, source.resolved

    def _settle(self, uri: str, files: Files) -> Files:
        """The model's folder becomes the top, and the model is model.onnx; what is not below that folder is no part of it."""
        model = archive.find_model(list(files), uri)
        top = PurePosixPath(model).parent
        log(f"the model is {model}")
        inside = {PurePosixPath(name): file for name, file in files.items() if PurePosixPath(name).is_relative_to(top)}
        settled = {path.relative_to(top).as_posix(): file for path, file in inside.items()}
        name = PurePosixPath(model).name
        if name != MODEL_FILE:
            (self.work / model).rename(self.work / top / MODEL_FILE)
            settled[MODEL_FILE] = settled.pop(name)
        _move(self.work / top, self.folder)
        return settled

    def _one(self, uri: str, name: str) -> Files:
        """One file, under a name of ours."""
        _, remotes = self._list(uri, packed=False)
        if len(remotes) != 1 or remotes[0].pack:
            raise invalid(uri, f"expected one file, but it contains {len(remotes)}")
        (file,) = self._bring(uri, remotes).values()
        (source,) = (path for path in self.work.rglob("*") if path.is_file())
        self.folder.mkdir(parents=True, exist_ok=True)
        source.rename(self.folder / name)
        return {name: file}

    def _data(self, uri: str, name: str, directory: str) -> Files:
        """Inputs and answers: one file, or a folder."""
        source, remotes = self._list(uri)
        folder = uri.endswith("/") or any(remote.pack for remote in remotes) or (source.loose and len(remotes) > 1)
        if not folder:
            return self._one(uri, name)
        files = self._bring(uri, remotes)
        _move(self.work, self.folder / directory)
        return {f"{directory}/{path}": file for path, file in files.items()}

    def _list(self, uri: str, *, packed: bool = True) -> tuple[Source, list[Remote]]:
        """List the files of a URI, with names that are safe."""

        def ask() -> tuple[Source, list[Remote]]:
            source = open_source(uri, local=self.local, home=self.request.home or self.request.uri)
            return source, source.list()

        scheme = uri.partition("://")[0] if "://" in uri else ""
        with guarded(self.policy) as guard:
            if not (self.local and scheme in ("", "file")):
                guard.check_scheme(scheme.lower())
        source, remotes = self._attempts(ask)
        form = archive.kind(urlsplit(uri).path) if packed and not source.loose else ""
        if form and not uri.endswith("/"):
            remotes = [dataclasses.replace(remote, pack=form) for remote in remotes]
        remotes = [dataclasses.replace(remote, path=safe_path(remote.path, uri)) for remote in remotes]
        for remote in remotes:
            if not remote.pack and not source.loose:
                _check_reserved(uri, remote.path)
        names = [remote.path for remote in remotes if not remote.pack]
        if len(set(names)) < len(names):
            raise invalid(uri, "two of its files have the same name")
        if sum(max(remote.length, 0) for remote in remotes) > self.left:
            raise self._too_large(uri)
        return source, remotes

    def _bring(self, uri: str, remotes: list[Remote]) -> Files:
        """Everything into `work`, which is empty then but for that."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        packed = self.work.with_name("packed")
        files: Files = {}
        for remote in remotes:
            target = packed if remote.pack else self.work / remote.path
            download = Download(remote, target, self.left, lambda: self._too_large(uri))
            try:
                came = self._attempts(download.attempt)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise invalid(uri, f"{remote.path} is both a file and a folder") from error
            new = {remote.path: came}
            if remote.pack:
                log(f"unpacking {size(came['bytes'])}")
                new = archive.unpack(packed, remote.pack, self.work, self.left, uri)
                for name, file in new.items():
                    log(f"{name}: {size(file['bytes'])}, sha256 {file['sha256']}")
                packed.unlink()
            if twice := files.keys() & new.keys():
                raise invalid(uri, f"it contains {min(twice)!r} twice")
            files |= new
            self.left -= sum(file["bytes"] for file in new.values())
        return files

    def _too_large(self, uri: str) -> StageError:
        limit = self.request.max_bytes
        rest = "" if self.left == limit else f" together with {size(limit - self.left)} fetched before"
        return StageError(
            "SourceTooLarge",
            f"{shown(uri)} exceeds the limit of {size(limit)}{rest}",
            "Use a smaller model, or ask the platform team to raise the maximum size of models.",
            "spec.source.uri",
        )

    def _attempts(self, action: Callable[[], Any]) -> Any:
        """Try a few times with growing pauses: most hiccups of a network end within seconds."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with guarded(self.policy):
                    return action()
            except UnreachableError as error:
                log(f"attempt {attempt} of {ATTEMPTS}: {error}")
                if attempt == ATTEMPTS:
                    raise StageError(
                        "SourceUnreachable",
                        f"{error} ({ATTEMPTS} attempts)",
                        "Check the host's name, that it is up, and that network policies let this namespace reach it. "
                        "It is retried.",
                        "spec.source.uri",
                        retry=True,
                    ) from error
                self.pause(2.0 ** (attempt - 1))
        raise AssertionError("unreachable")


@contextlib.contextmanager
def _about(field: str, missing: str = "SourceNotFound") -> Iterator[None]:
    """Errors about the URI are about this field. missing: the reason when nothing is there."""
    try:
        yield
    except StageError as error:
        if error.failure.reason == "SourceNotFound":
            error.failure = dataclasses.replace(error.failure, reason=missing)
        if error.failure.field == "spec.source.uri":
            error.failure = dataclasses.replace(error.failure, field=field)
        raise


def _existing(request: FetchRequest, directory: Path) -> dict[str, Any] | None:
    record = read_source(directory)
    if not record:
        return None
    same = record.get("uri") == request.uri and request.sha256.lower() in ("", record.get("sha256"))
    same = same and record.get("signature_uri", "") == request.signature_uri
    same = same and record.get("golden_uri", "") == request.golden_uri
    here = {name: file["sha256"] for name, file in record.get("files", {}).items()}
    same = same and all(here.get(name) == pin.lower() for name, pin in request.files.items())
    return record if same else None


def _kept(request: FetchRequest, directory: Path) -> bool:
    """Return whether existing files stay: of an accepted model, or data that variants may be made with right now."""
    return request.kind == "calibration" or accepted(directory)


def _check_files(directory: Path, record: dict[str, Any]) -> None:
    """Check that validated files are as they were fetched: they may be in use, so they are never replaced."""
    files = {name: file["sha256"] for name, file in record["files"].items()}
    if "sha256" in record:
        files[MODEL_FILE] = record["sha256"]
    for name, expected in files.items():
        path = directory / name
        actual = digest(path) if path.is_file() else "none"
        if actual != expected:
            raise StageError(
                "DigestMismatch",
                f"{path} was validated and has changed since: its sha256 is {actual}, but {expected} was fetched",
                "Artifacts are never overwritten: delete them (in a cluster, the PersistentVolumeClaim "
                "<model>-artifacts), so that everything is created again.",
            )


def _check_listing(uri: str, names: list[str]) -> None:
    if MODEL_FILE not in names:
        held = ", ".join(names[:5]) or "nothing"
        raise StageError(
            "SourceNotFound",
            f"{shown(uri)} is a folder without {MODEL_FILE}; it contains {held}",
            f"Name the model {MODEL_FILE} in its folder, or use the file's own URI without a slash at the end.",
            "spec.source.uri",
        )


def _check_reserved(uri: str, name: str) -> None:
    """A source that brought one of these would vouch for itself."""
    if PurePosixPath(name).parts[0] in OUR_FILES:
        raise StageError(
            "SourceInvalid",
            f"{shown(uri)} contains a file named {name!r}, which onnxmodel reserves",
            "Rename it.",
            "spec.source.uri",
        )


def _publish(staging: Path, directory: Path, request: FetchRequest, record: dict[str, Any]) -> dict[str, Any]:
    """One rename makes the directory appear, whole."""
    for folder, _, names in os.walk(staging):
        for name in names:
            _sync(Path(folder) / name)
        _sync(Path(folder))
    # What no validation accepted is replaced: who runs a refused stage again has put something better under the URI.
    if _existing(request, directory) is not None and not _kept(request, directory):
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
            f"{directory} exists and does not contain {shown(request.uri)}",
            "Artifacts are never overwritten: choose another directory, or delete this one.",
        ) from error
    _sync(directory.parent)
    return record


def _move(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in list(folder.iterdir()):
        path.rename(target / path.name)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
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
