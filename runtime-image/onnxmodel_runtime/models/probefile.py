"""probe.npz: inputs of one row and the original model's outputs, under the keys input:<name> and output:<name>.

Equal content gives equal bytes. Strings are stored as UTF-8 with a fixed width (dtype S), because numpy would pickle
objects, and unpickling runs code.
"""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime.errors import StageError

Arrays = dict[str, NDArray[Any]]
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip archive knows


def write(path: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Write the file atomically."""
    keyed = {f"input:{name}": array for name, array in inputs.items()}
    keyed |= {f"output:{name}": array for name, array in outputs.items()}
    partial = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with zipfile.ZipFile(partial, "w") as archive:
        for key in sorted(keyed):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, _plain(keyed[key]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, buffer.getvalue())
    partial.replace(path)


def read(path: Path) -> tuple[Arrays, Arrays]:
    """Read inputs and expected outputs. Raises StageError if the file is no probe."""
    inputs: Arrays = {}
    outputs: Arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                kind, _, name = key.partition(":")
                if kind in ("input", "output"):
                    (inputs if kind == "input" else outputs)[name] = _objects(archive[key])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        why = (
            f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else "it is not an .npz file of arrays"
        )
        raise StageError(
            "ProbeUnreadable",
            f"{path} is not a probe file: {why}",
            "Check that the artifacts volume is mounted; the optimize stage writes this file.",
            retry=isinstance(error, OSError),
        ) from error
    return inputs, outputs


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "OU":
        return np.ascontiguousarray(array).reshape(array.shape)  # it makes [1] of a scalar
    encoded = [str(item).encode() for item in array.ravel()]
    return np.array(encoded or [b""], dtype="S")[: len(encoded)].reshape(array.shape)


def _objects(array: NDArray[Any]) -> NDArray[Any]:
    return np.char.decode(array, "utf-8").astype(np.object_) if array.dtype.kind == "S" else array
