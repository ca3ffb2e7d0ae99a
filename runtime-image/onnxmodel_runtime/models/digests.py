"""Digests of files, and the check of a pinned one. Standard library only."""

import hashlib
from pathlib import Path

from onnxmodel_runtime.errors import StageError


def digest(path: Path) -> str:
    """Return the sha256 of a file, which is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_pin(what: str, actual: str, pin: str, field: str) -> None:
    """Check a file against its pinned digest, if any. Raises StageError. actual: "none" for a missing file."""
    if pin and pin.lower() != actual:
        raise StageError(
            "DigestMismatch",
            f"{what} has the sha256 {actual}, but the pinned one is {pin.lower()}",
            "The file has changed or is not the intended one: use the right file, or pin the new digest.",
            field,
        )
