"""The build cache: an artifact is named by the digest of the recipe that makes it.

Same recipe: the file is there and nothing is built. Changed recipe: another name. A build that was killed leaves a
temporary file and never a half artifact, since the last step is a rename.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from .locking import exclusive
from .paths import cache


def digest(*parts: str | bytes | Path) -> str:
    """Digest of a recipe: strings and bytes as they are, files and folders by their content and names."""
    total = hashlib.sha256()
    for part in parts:
        for name, content in _contents(part):
            total.update(f"{name}\0{len(content)}\0".encode())
            total.update(content)
    return total.hexdigest()


def cached(kind: str, name: str, key: str) -> Path | None:
    """Path of the artifact when the cache has it."""
    path = _path(kind, name, key)
    if not path.exists():
        return None
    os.utime(path)  # it is in use: `artifact` keeps those used last
    return path


def artifact(kind: str, name: str, key: str, make: Callable[[Path], None], kept: int = 8) -> Path:
    """Path of the artifact `name` of recipe `key`, made by `make(path)` when the cache has none.

    `make` gets a path to create, file or folder. Two clones that want the same artifact at the same time build it once.
    The `kept` most recently used artifacts of a name stay in the cache.
    """
    path = _path(kind, name, key)
    if not path.exists():
        with exclusive(cache() / "locks" / f"{kind}-{name}"):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _prune(path.parent, name, kept - 1)
                unfinished = path.with_name(f".{path.name}.{os.getpid()}")
                try:
                    make(unfinished)
                    unfinished.rename(path)
                finally:
                    remove(unfinished)
    os.utime(path)
    return path


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _path(kind: str, name: str, key: str) -> Path:
    return cache() / kind / f"{name}-{key[:16]}"


def _prune(folder: Path, name: str, kept: int) -> None:
    by_age = sorted(folder.glob(f"{name}-{'?' * 16}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for unused in by_age[kept:]:
        remove(unused)


def _contents(part: str | bytes | Path) -> Iterable[tuple[str, bytes]]:
    match part:
        case str():
            yield "", part.encode()
        case bytes():
            yield "", part
        case Path() if part.is_dir():
            for file in sorted(part.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    yield str(file.relative_to(part)), file.read_bytes()
        case Path():
            yield part.name, part.read_bytes()
