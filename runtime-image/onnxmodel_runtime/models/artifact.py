"""The identity of a model: the sha256 of its file and of the weights beside it, and whether it is the one that was proven."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.digests import digest

ANEW = (
    "In a cluster, apply the OnnxModel under another name, move the clients, and delete this one. "
    "If an outage is acceptable, delete it and apply it again: this recreates its volume, and stops "
    "the revision that serves."
)


def data_digest(path: Path, files: Iterable[Path] | None = None) -> str:
    """Return the sha256 over the names and digests of a model's weight files. "" if it has none.

    files: the weight files, if the model has been parsed already.
    """
    if files is None:
        import onnx

        from onnxmodel_runtime.models import graph

        files = graph.external_files(onnx.load_model(path, load_external_data=False), path.parent)
    lines = [f"{digest(file)}  {file.relative_to(path.parent).as_posix()}\n" for file in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def check_digest(path: Path, expected: str, data: str = "") -> None:
    """Check that the file is the proven one. Raises StageError, also if nothing is proven of it.

    data: the result of data_digest for it; "" for a model in one file.
    """
    _check(path, expected, digest)
    if data:
        _check(path, data, data_digest, "with its weights ")


def _check(path: Path, expected: str, read: Callable[[Path], str], what: str = "") -> None:
    try:
        actual = read(path)
    except OSError as error:
        raise StageError(
            "ModelUnreadable",
            f"cannot read {error.filename or path}: {error.strerror or error}",
            "Check that the artifacts volume is mounted and contains the model.",
            retry=True,
        ) from error
    if actual != expected:
        raise StageError(
            "DigestMismatch",
            f"{path} {what}has the sha256 {actual or 'none'}, but the verified one is {expected or 'none'}",
            f"The artifact was changed or damaged after it was verified. {ANEW} Outside of a cluster, build "
            "the variants again.",
            "sha256",
        )
