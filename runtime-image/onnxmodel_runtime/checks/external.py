"""Check external data: it lies beside the model, whole, in files of its own. No other file of the machine is read."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from onnxmodel_runtime.checks import EXTERNAL, PIN
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest
from onnxmodel_runtime.contract.volume import OUR_FILES
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.graph import required_bytes

_KEYS = {"location", "offset", "length", "checksum", "basepath"}
_NUMBER = re.compile(r"[0-9]{1,19}")
_MOST = 100  # problems that are told: a model can have as many as tensors


def external_data(model: Any, directory: Path, model_file: Path) -> Iterator[Finding]:
    """Check every tensor whose data is in another file. Each kind of problem is reported once for each file."""
    seen: set[str] = set()
    for tensor in graph.tensors(model):
        if tensor.data_location != graph.EXTERNAL:
            if tensor.external_data:
                problem = "it has external data, but declares that its data is in the model"
            else:
                continue
        else:
            problem = _problem(tensor, directory, model_file)
        if problem and problem not in seen and len(seen) < _MOST:
            seen.add(problem)
            yield EXTERNAL.error(tensor.name, f"tensor {tensor.name!r}: {problem}")


def vouched(model: Any, request: ValidateRequest, signed: frozenset[str] | None) -> Iterator[Finding]:
    """Report weights that are neither pinned nor signed, in a model that is.

    signed: the files; None if none need be.
    """
    if not (request.sha256 or request.pin_all or signed is not None):
        return
    here = {location for tensor in graph.tensors(model) if (location := graph.external(tensor).get("location"))}
    open_ = sorted(here - set(request.files) - (signed or frozenset()))
    for location in open_[:_MOST]:
        message = f"weights are in {location!r}, which is {'not signed' if signed is not None else 'not pinned'}"
        found = PIN.error if signed is not None or request.pin_all else PIN.warning
        yield found(location, message)


def _problem(tensor: Any, directory: Path, model_file: Path) -> str:
    keys = [entry.key for entry in tensor.external_data]
    entries = graph.external(tensor)
    if unknown := sorted(set(keys) - _KEYS):
        # Keys that a reader stores as attributes of its own object have been used to change that object.
        return f"unknown key {unknown[0]!r} in its external data"
    if len(set(keys)) < len(keys):
        return "duplicate key in its external data: two readers may use different values"
    location = entries.get("location", "")
    if problem := _location_problem(location, directory, model_file):
        return problem
    return _extent_problem(tensor, entries, directory / location)


def _location_problem(location: str, directory: Path, model_file: Path) -> str:
    path = PurePosixPath(location.replace("\\", "/"))
    if not location.strip("./\\ ") or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return f"its data lies outside of the model's folder: {location!r}"
    if "\0" in location or "\\" in location:
        return f"the name of its data file is not valid: {location!r}"
    if path.parts[0] in OUR_FILES:
        return f"its data file {location!r} is not part of the model"
    # From the outside in: a link above is as good as a link.
    for part in (*reversed(path.parents[:-1]), path):
        try:
            found = (directory / part).lstat()
        except (OSError, ValueError):
            return f"its data file {location!r} is missing"
        if stat.S_ISLNK(found.st_mode):
            return f"its data file {location!r} is a symbolic link or behind one; links are not followed"
    if not stat.S_ISREG(found.st_mode):
        return f"its data file {location!r} is a folder, a pipe or a device"
    if found.st_nlink > 1:
        return f"its data file {location!r} is a hard link: the same file exists elsewhere too"
    if model_file.exists() and (directory / path).samefile(model_file):
        return f"its data file {location!r} is the model itself"
    return ""


def _extent_problem(tensor: Any, entries: dict[str, str], file: Path) -> str:
    written = {key: entries.get(key, "0") for key in ("offset", "length")}
    if not all(_NUMBER.fullmatch(value) for value in written.values()):
        return "offset and length of its data are not numbers"
    offset, length, available = int(written["offset"]), int(written["length"]), file.stat().st_size
    needed = required_bytes(tensor)
    if "length" not in entries:
        length = needed or 0
    if offset + length > available:
        return f"its data ends at byte {offset + length} of {file.name!r}, which has {available} bytes"
    if needed is not None and length != needed:
        return f"its dimensions need {needed} bytes, but its length is {length}"
    return ""
