"""Whether a folder of variants is what its manifest says: every file, byte for byte, and none besides.

Standard library only. The manifest is data like any other: it may name no file outside of its folder.
"""

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from onnxmodel_runtime.contract import MANIFEST_FILE, REPORT_PAGE
from onnxmodel_runtime.digests import digest

BENCHMARK_FILE = "benchmark.json"
_SCHEMA = 1
# What stages leave beside the variants: measurements and words, which differ from run to run.
_BESIDE = (MANIFEST_FILE, BENCHMARK_FILE, "benchmark-*.json", "report.json", REPORT_PAGE)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file. kind: changed, missing, unknown or unreadable."""

    file: str
    kind: str
    message: str


def verify(directory: Path) -> tuple[int, list[Problem]]:
    """How many files the manifest names, and everything that is not as it says."""
    try:
        told = _read(directory / MANIFEST_FILE)
        files = {_inside(name): dict(entry) for name, entry in told["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return 0, [Problem(MANIFEST_FILE, kind, f"{MANIFEST_FILE} cannot be used: {error}")]
    problems = [problem for name, entry in sorted(files.items()) if (problem := _check(directory, name, entry))]
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        beside = "/" not in name and any(fnmatch(name, pattern) for pattern in _BESIDE)
        if name not in files and not beside and (path.is_symlink() or not path.is_dir()):
            problems.append(Problem(name, "unknown", f"{name} is not in the manifest"))
    return len(files), problems + _check_benchmark(directory)


def _read(path: Path) -> dict[str, Any]:
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or told.get("schema") != _SCHEMA:
        raise ValueError(f"it is not of schema {_SCHEMA}, which this release reads")
    return told


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"it names {name!r}, which is not in its folder")
    return name


def _check(directory: Path, name: str, entry: dict[str, Any]) -> Problem | None:
    path = directory / name
    if path.is_symlink():
        return Problem(name, "changed", f"{name} is a link, and was a file")
    if not path.is_file():
        return Problem(name, "missing", f"{name} is not there")
    size = path.stat().st_size
    if size != entry.get("bytes"):
        return Problem(name, "changed", f"{name} has {size} bytes instead of {entry.get('bytes')}")
    try:
        actual = digest(path)
    except OSError as error:
        return Problem(name, "unreadable", f"{name} cannot be read: {error.strerror}")
    if actual != entry.get("sha256"):
        return Problem(name, "changed", f"{name} has the sha256 {actual} instead of {entry.get('sha256')}")
    return None


def _check_benchmark(directory: Path) -> list[Problem]:
    """A benchmark of these very variants, where there is one."""
    path = directory / BENCHMARK_FILE
    if not path.exists():
        return []
    try:
        measured = _read(path).get("manifest_sha256")
    except (OSError, ValueError) as error:
        return [Problem(BENCHMARK_FILE, "unreadable", f"{BENCHMARK_FILE} cannot be used: {error}")]
    actual = digest(directory / MANIFEST_FILE)
    if measured == actual:
        return []
    message = f"{BENCHMARK_FILE} is of a manifest with the sha256 {measured}, and this one has {actual}"
    return [Problem(BENCHMARK_FILE, "changed", message)]
