"""sha256 of files. Standard library only: stages that load no model use it too."""

import hashlib
from pathlib import Path

from onnxmodel_runtime.errors import StageError


def digest(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str) -> None:
    """The file is the one that was proven. Raises StageError; a file of which nothing was proven is not used either."""
    try:
        actual = digest(path)
    except OSError as error:
        raise StageError(
            "ModelUnreadable",
            f"{path} cannot be read: {error.strerror or error}",
            "Check that the volume of artifacts is mounted and holds the model.",
            retry=True,
        ) from error
    if actual != expected:
        raise StageError(
            "DigestMismatch",
            f"{path} has the sha256 {actual}, and {expected or 'none'} was proven",
            "The artifact was changed or damaged after it was proven: run the pipeline again.",
            "sha256",
        )


def check_pin(what: str, actual: str, pin: str, field: str) -> None:
    """What came is what the author pinned, if anything. Raises StageError. actual: "none" for a file that did not come."""
    if pin and pin.lower() != actual:
        raise StageError(
            "DigestMismatch",
            f"{what} has the sha256 {actual}, the manifest pins {pin.lower()}",
            "The file changed or is not the one that was meant: put the right file there, or pin the new digest.",
            field,
        )
