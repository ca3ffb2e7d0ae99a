"""Verify files against their record: of a folder of variants, or of everything on a model's volume.

Every file, byte for byte, and none besides. Standard library only. A manifest is data like any other: it may name no
file outside of its folder.
"""

import contextlib
import json
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.volume import (
    BENCHMARK_FILE,
    CALIBRATION_DATA_FOLDER,
    ENGINE_CACHE_FOLDER,
    MANIFEST_FILE,
    REPORT_PAGE,
    REPOSITORY_FOLDER,
    SOURCE_FILE,
    SOURCE_FOLDER,
    STATUS_FILE,
)
from onnxmodel_runtime.models.digests import digest

_SCHEMA = 1
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)  # of a record that is not one
# What stages leave beside the variants: measurements and words, which differ from run to run.
_BESIDE = (MANIFEST_FILE, BENCHMARK_FILE, "benchmark-*.json", "report.json", REPORT_PAGE)
_FETCHED = (SOURCE_FOLDER, CALIBRATION_DATA_FOLDER)
_KNOWN = (*_FETCHED, *Stage, ENGINE_CACHE_FOLDER, REPOSITORY_FOLDER, STATUS_FILE, "lost+found")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with one file. kind: changed, missing, unknown or unreadable."""

    file: str
    kind: str
    message: str


def verify(directory: Path) -> tuple[int, list[Problem]]:
    """Return the number of recorded files, and every deviation from the records.

    directory: of variants, with their manifest; or a model's volume, where what was fetched and each benchmark's
    manifest are verified too. The engine cache on it is known and not verified: TensorRT writes there, and no manifest
    lists it.
    """
    optimized = directory / Stage.OPTIMIZE
    variants = (directory / MANIFEST_FILE).exists() or not optimized.is_dir()
    places = [directory] if variants else [directory / name for name in (*_FETCHED, *Stage)]
    if closed := [problem for place in places for problem in _closed(directory, place)]:
        return 0, closed
    count, problems = _of_variants(directory) if variants else _of_volume(directory, optimized)
    if not count and not problems:
        problems = [Problem(".", "missing", f"no file is recorded in {directory}")]
    return count, problems


def _closed(top: Path, place: Path) -> list[Problem]:
    """Folders that may not be read: what lies in them would count as not there."""
    below = (os.path.join(folder, name) for folder, names, _ in os.walk(place) for name in names)
    return [
        Problem(name, "unreadable", f"cannot read the folder {name}: Permission denied")
        for folder in (str(place), *below)
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK)
        for name in [os.path.relpath(folder, top)]
    ]


def _of_variants(directory: Path) -> tuple[int, list[Problem]]:
    count, problems = _listed(directory, MANIFEST_FILE, _BESIDE)
    return count, problems + _check_benchmark(directory, _manifests([directory]))


def _of_volume(directory: Path, optimized: Path) -> tuple[int, list[Problem]]:
    total = 0
    found: list[Problem] = []
    made = _folders(optimized)
    for folder in (*(each for place in _FETCHED for each in _folders(directory / place)), *made):
        name, beside = (MANIFEST_FILE, _BESIDE) if folder in made else (SOURCE_FILE, (SOURCE_FILE,))
        count, problems = _listed(folder, name, beside)
        total, found = total + count, found + _below(directory, folder, problems)
        if folder in made and not problems:
            found += _below(directory, folder, _check_source(folder, directory / SOURCE_FOLDER))
    for path in sorted(directory.iterdir()):
        if path.name not in _KNOWN:
            found.append(Problem(path.name, "unknown", f"{path.name} was not written by any stage"))
    manifests = _manifests(made)
    for file in sorted((directory / Stage.BENCHMARK).glob(f"*/{BENCHMARK_FILE}")):
        found += _below(directory, file.parent, _check_benchmark(file.parent, manifests))
    return total, found


def _folders(place: Path) -> list[Path]:
    """One for each digest. What a fetch is just now bringing, or was killed at, is none yet."""
    return sorted(folder for folder in place.glob("*") if folder.is_dir() and ".tmp-" not in folder.name)


def _below(top: Path, folder: Path, problems: list[Problem]) -> list[Problem]:
    where = folder.relative_to(top).as_posix()
    return [replace(each, file=f"{where}/{each.file}", message=f"{where}: {each.message}") for each in problems]


def _listed(directory: Path, record: str, beside: Collection[str]) -> tuple[int, list[Problem]]:
    """Return the number of files in the record, and their problems. beside: patterns of files that it need not name."""
    try:
        told = _read(directory / record, _SCHEMA if record == MANIFEST_FILE else None)
        files = {_inside(name): dict(entry) for name, entry in told["files"].items()}
    except _BROKEN as error:
        if isinstance(error, FileNotFoundError):
            return 0, [Problem(record, "missing", f"{record} does not exist: {directory} is not a folder of variants")]
        return 0, [Problem(record, "unreadable", f"{record} is not valid: {_why(error)}")]
    problems = [problem for name, entry in sorted(files.items()) if (problem := _check(directory, name, entry))]
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        known = name in files or ("/" not in name and any(fnmatch(name, pattern) for pattern in beside))
        if not known and (path.is_symlink() or not path.is_dir()):
            problems.append(Problem(name, "unknown", f"{name} is not in {record}"))
    return len(files), problems


def _read(path: Path, schema: int | None = _SCHEMA) -> dict[str, Any]:
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or (schema and told.get("schema") != schema):
        raise ValueError(
            f"its schema is not {schema}, the one that this release reads" if schema else "it is not an object"
        )
    return told


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "a value in it is of the wrong type" if isinstance(error, TypeError | AttributeError) else str(error)


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"it lists {name!r}, which is not in its folder")
    return name


def _check(directory: Path, name: str, entry: dict[str, Any]) -> Problem | None:
    path = directory / name
    if path.is_symlink():
        return Problem(name, "changed", f"{name} is a link, but was a file")
    if not path.is_file():
        return Problem(name, "missing", f"{name} does not exist")
    size = path.stat().st_size
    if size != entry.get("bytes"):
        return Problem(name, "changed", f"{name} has {size} bytes instead of {entry.get('bytes')}")
    try:
        actual = digest(path)
    except OSError as error:
        return Problem(name, "unreadable", f"cannot read {name}: {error.strerror}")
    if actual != entry.get("sha256"):
        return Problem(name, "changed", f"{name} has the sha256 {actual} instead of {entry.get('sha256')}")
    return None


def _check_source(directory: Path, sources: Path) -> list[Problem]:
    """The model that these are variants of: it may serve too."""
    try:
        wanted = _read(directory / MANIFEST_FILE)["source"]["sha256"]
    except _BROKEN as error:
        return [Problem(MANIFEST_FILE, "unreadable", f"{MANIFEST_FILE} is not valid: {_why(error)}")]
    for folder in _folders(sources):
        with contextlib.suppress(*_BROKEN):
            if _read(folder / SOURCE_FILE, None).get("sha256") == wanted:
                return []
    message = (
        f"{MANIFEST_FILE} belongs to a model with the sha256 {wanted}, which was not fetched into {SOURCE_FOLDER}/"
    )
    return [Problem(MANIFEST_FILE, "unknown", message)]


def _manifests(folders: Collection[Path]) -> list[str]:
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):  # which is a problem already
            found.append(digest(folder / MANIFEST_FILE))
    return found


def _check_benchmark(directory: Path, manifests: list[str]) -> list[Problem]:
    """A benchmark of these very variants, where there is one."""
    path = directory / BENCHMARK_FILE
    if not path.exists():
        return []
    try:
        measured = _read(path).get("manifest_sha256")
    except _BROKEN as error:
        return [Problem(BENCHMARK_FILE, "unreadable", f"{BENCHMARK_FILE} is not valid: {error}")]
    if measured in manifests:
        return []
    there = " and ".join(manifests) or "there is no manifest"
    message = f"{BENCHMARK_FILE} belongs to a manifest with the sha256 {measured}, but there is: {there}"
    return [Problem(BENCHMARK_FILE, "changed", message)]
