"""Golden data: inputs with the outputs that the author expects of the model. Untrusted, as the model is.

An .npz file with the keys input:NAME and output:NAME (a bare NAME where it is clear which), or folders test_data_set_*
with input_0.pb and output_0.pb, as ONNX's own test data and torch.onnx come with.
"""

import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.contract.volume import GOLDEN_FILE, GOLDEN_FOLDER
from onnxmodel_runtime.errors import clip, size
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.datatypes import BY_NAME

MAX_BYTES = 512 << 20  # of one set, unpacked
_MAX_SETS = 100
_SAMPLE_ROWS = 64  # that are enough to make batches of
_MAX_ARRAYS = 256
_HEADER_BYTES = 4096  # of one array: numpy reads it as Python

Arrays = dict[str, NDArray[Any]]


class GoldenError(Exception):
    """Unusable golden data. The message names the part and the problem."""


@dataclass(frozen=True)
class GoldenSet:
    """One set of inputs and expected outputs. name: where it comes from."""

    name: str
    inputs: Arrays
    outputs: Arrays


def load(
    place: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], *, answers: bool = True
) -> Iterator[GoldenSet]:
    """Load the sets, one at a time. Raises GoldenError. answers: whether a set must have outputs."""
    if place.is_symlink():
        raise GoldenError(f"{place.name} is a symbolic link")
    if place.is_dir():
        folders = sorted(path for path in place.iterdir() if path.name.startswith("test_data_set_"))
        folders = folders or [place]
        if len(folders) > _MAX_SETS:
            raise GoldenError(f"{place.name} contains {len(folders)} sets, the limit is {_MAX_SETS}")
        for folder in folders:
            yield _checked(_folder(folder, inputs, outputs), inputs, outputs, answers)
    elif place.is_file():
        yield _checked(_npz(place, inputs, outputs), inputs, outputs, answers)
    else:
        raise GoldenError(f"golden data is requested, but there is no {place.name} beside the model")


def beside(directory: Path, folder: str, file: str) -> Path:
    """Return where fetch put data of this kind: the folder if there is one, else the file."""
    return directory / folder if (directory / folder).is_dir() else directory / file


def rows(data: GoldenSet) -> int:
    """Return the number of examples in a set."""
    return max((int(array.shape[0]) for array in data.inputs.values() if array.ndim), default=1)


DIFFERENT_ROWS = "the inputs in the golden data have different first sizes"
"""The reason why axis 0 is no batch, where a sample is not shared."""


@dataclass(frozen=True)
class Sample:
    """Inputs that belong together. shared: every one has as many rows, so that any number of rows can be made of them."""

    inputs: Arrays
    shared: bool

    def rows(self, count: int) -> Arrays:
        """Return so many rows, from the first on, repeated as needed.

        Returns all there is if no row count is shared.
        """
        if not self.shared:
            return self.inputs
        return {name: array[[index % len(array) for index in range(count)]] for name, array in self.inputs.items()}


def sample(place: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], *, batched: bool = True) -> Sample:
    """Of the sets that have rows in common and fit the first such. Raises GoldenError.

    Inputs that are made from a signature cannot know which of them must fit each other: these do. Sets are often of one row
    each, and a batch of equal rows would not show that one row changes another's answer.

    A set whose inputs have different first sizes shows that axis 0 is no batch: it is taken as it is. batched: False takes
    the first set so, whatever it looks like.
    """
    empty: Sample | None = None
    fitting: list[Arrays] = []
    for data in load(place, inputs, outputs, answers=False):
        whole, count = Sample(data.inputs, shared=False), rows(data)
        if not batched:
            return whole
        if not count:
            empty = empty or whole
        elif any(array.shape[:1] != (count,) for array in data.inputs.values()):
            return whole
        elif not fitting or _shapes(data.inputs) == _shapes(fitting[0]):
            fitting.append(data.inputs)
            if sum(len(next(iter(each.values()))) for each in fitting) >= _SAMPLE_ROWS:
                break
    if fitting:
        return Sample({name: np.concatenate([each[name] for each in fitting]) for name in fitting[0]}, shared=True)
    if empty is None:
        raise GoldenError(f"{place.name} contains no set")
    return empty


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    """But for the rows."""
    return {name: array.shape[1:] for name, array in arrays.items()}


def place(request: ValidateRequest) -> Path:
    """Return the path of the golden data."""
    if request.golden_path:
        return Path(request.golden_path).absolute()
    return beside(Path(request.directory).absolute(), GOLDEN_FOLDER, GOLDEN_FILE)


# ---- reading ---------------------------------------------------------------------------------------------------------


def _npz(path: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> GoldenSet:
    arrays: Arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_ARRAYS:
                raise GoldenError(f"{path.name} contains {len(entries)} arrays, the limit is {_MAX_ARRAYS}")
            if (total := sum(entry.file_size for entry in entries)) > MAX_BYTES:
                raise GoldenError(f"{path.name} has {size(total)} unpacked, the limit is {size(MAX_BYTES)}")
            for entry in entries:
                arrays[entry.filename.removesuffix(".npy")] = _npy(archive, entry)
    except GoldenError:
        raise
    except Exception as error:  # readers of zip files and of headers raise whatever they meet
        raise GoldenError(f"{path.name} is not an .npz file of plain arrays: {clip(str(error), 200)}") from error
    return _sorted_out(path.name, arrays, inputs, outputs)


def _npy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file, max_header_size=_HEADER_BYTES)
        if dtype.kind not in "biufSU":
            raise GoldenError(f"array {entry.filename!r} contains Python objects or records, which are never unpickled")
        count = graph.elements(shape)
        # The header is believed only after it fits what is really there: numpy would allocate first.
        if count * dtype.itemsize > entry.file_size:
            raise GoldenError(
                f"array {entry.filename!r} declares the shape {list(shape)} but has {entry.file_size} bytes"
            )
        data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise GoldenError(f"array {entry.filename!r} is truncated")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array).reshape(shape)


def _sorted_out(name: str, arrays: Arrays, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> GoldenSet:
    names = {"input": {tensor.name for tensor in inputs}, "output": {tensor.name for tensor in outputs}}
    found: dict[str, Arrays] = {"input": {}, "output": {}}
    for key, array in arrays.items():
        kind, colon, rest = key.partition(":")
        if not colon or kind not in found:
            kinds = [kind for kind, known in names.items() if key in known]
            if len(kinds) != 1:
                what = "is both an input and an output" if kinds else "is neither an input nor an output of the model"
                raise GoldenError(f"array {clip(key, 100)!r} of {name} {what}")
            kind, rest = kinds[0], key
        found[kind][rest] = array
    return GoldenSet(name, found["input"], found["output"])


def _folder(folder: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> GoldenSet:
    found: dict[str, Arrays] = {"input": {}, "output": {}}
    budget = MAX_BYTES
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for path in sorted(folder.glob(f"{kind}_*.pb"), key=_number)[:_MAX_ARRAYS]:
            budget -= path.lstat().st_size
            name, array = _pb(path, budget)
            number = _number(path)
            if name not in {tensor.name for tensor in tensors} and number < len(tensors):
                name = tensors[number].name  # older files have no names: the number is the place
            found[kind][name] = array
    return GoldenSet(folder.name, found["input"], found["output"])


def _number(path: Path) -> int:
    match = re.fullmatch(r"\w+_([0-9]{1,6})\.pb", path.name)
    return int(match.group(1)) if match else 1_000_000


def _pb(path: Path, budget: int) -> tuple[str, NDArray[Any]]:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise GoldenError(f"{path.name} is not a regular file")
    if budget < 0:
        raise GoldenError(f"the golden data exceeds {size(MAX_BYTES)}")
    try:
        tensor = TensorProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise GoldenError(f"{path.name} is not a tensor: {clip(str(error), 100)}") from error
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise GoldenError(f"{path.name} has its data in another file")
    needed = graph.required_bytes(tensor)
    if needed is not None and needed > MAX_BYTES:
        raise GoldenError(f"{path.name} declares {needed} bytes")
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:
        raise GoldenError(f"{path.name} is not a tensor: {clip(str(error), 100)}") from error
    return tensor.name, np.asarray(array)


# ---- checking --------------------------------------------------------------------------------------------------------


def _checked(data: GoldenSet, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], answers: bool) -> GoldenSet:
    if not data.inputs and not data.outputs:
        raise GoldenError(f"{data.name} is empty: it contains no input and no output")
    for kind, arrays, tensors in (("input", data.inputs, inputs), ("output", data.outputs, outputs)):
        known = {tensor.name: tensor for tensor in tensors}
        names = ", ".join(known)
        if unknown := [name for name in arrays if name not in known]:
            raise GoldenError(f"{data.name} has the {kind} {clip(unknown[0], 100)!r}; the model has {clip(names, 200)}")
        missing = [name for name in known if name not in arrays]
        if missing and (kind == "input" or (answers and len(missing) == len(known))):
            raise GoldenError(f"{data.name} lacks the {kind} {clip(missing[0], 100)!r}")
    return replace(
        data,
        inputs=_typed(data, data.inputs, inputs, "input"),
        outputs=_typed(data, data.outputs, outputs, "output"),
    )


def _typed(data: GoldenSet, arrays: Arrays, tensors: tuple[Tensor, ...], kind: str) -> Arrays:
    """Arrays of the model's datatypes. FP64 becomes FP32, as Python's own numbers come; never a number a label."""
    known = {tensor.name: tensor.datatype for tensor in tensors}
    typed: Arrays = {}
    for name, array in arrays.items():
        datatype = BY_NAME.get(known[name])
        if datatype is None or not datatype.numpy:
            raise GoldenError(f"{kind} {name!r} is {known[name]}, which golden data does not support")
        wanted = np.dtype(datatype.numpy)
        if array.dtype.kind == "S":
            array = _decoded(array, f"{kind} {name!r} of {data.name}")
        elif array.dtype.kind == "U":
            array = _strings(array, f"{kind} {name!r} of {data.name}")
        both_integers = array.dtype.kind in "iu" and wanted.kind in "iu"
        if array.dtype != wanted:
            if array.dtype.kind != wanted.kind and not both_integers:
                raise GoldenError(f"{kind} {name!r} of {data.name} is {array.dtype}, but {wanted} in the model")
            with np.errstate(all="ignore"):
                changed = array.astype(wanted)
            if both_integers and not np.array_equal(changed, array):
                raise GoldenError(f"{kind} {name!r} of {data.name} contains numbers that {wanted} cannot represent")
            array = changed
        typed[name] = array
    return typed


def _decoded(array: NDArray[Any], what: str) -> NDArray[Any]:
    try:
        return np.char.decode(array, "utf-8").astype(np.object_)
    except UnicodeDecodeError as error:
        raise GoldenError(f"{what} is not UTF-8 text") from error


def _strings(array: NDArray[Any], what: str) -> NDArray[Any]:
    try:
        return array.astype(np.object_)
    except Exception as error:  # numbers that are no characters
        raise GoldenError(f"{what} is not text") from error
