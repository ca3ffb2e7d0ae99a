"""Check the values of the constants. They are read in pieces, so weights may be larger than the memory."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxmodel_runtime.checks import INFINITE, NAN, RANGE, REPEATED, UNUSED
from onnxmodel_runtime.checks.arithmetic import Readers
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import clip, size
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.graph import required_bytes

_CHUNK = 16 << 20
_FLOATS: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}
_BF16 = 16
_WIDER_THAN_FP16 = (1, 11)
_FP16_MAX = 65_504.0
_SMALL = 1024  # elements: a larger constant is a weight
_REPEATED_BYTES = 1024
_SHOWN = 5
_MOST = 20


@dataclass
class _Values:
    """Counts of one tensor's values. largest: of the finite absolute values."""

    nan: int = 0
    infinite: int = 0
    largest: float = 0.0

    def add(self, values: NDArray[Any]) -> None:
        with np.errstate(all="ignore"):
            low, high = float(values.min()), float(values.max())  # NaN makes NaN of both
        if np.isfinite(low) and np.isfinite(high):
            self.largest = max(self.largest, -low, high)
            return
        finite = values[np.isfinite(values)]
        nan = int(np.isnan(values).sum())
        self.nan += nan
        self.infinite += values.size - finite.size - nan
        if finite.size:
            self.largest = max(self.largest, -float(finite.min()), float(finite.max()))


def weights(model: Any, directory: Path) -> Iterator[Finding]:
    """Report NaN, infinity, and values beyond FP16. Call it only after the checks of sizes and external data."""
    beyond: list[tuple[str, float]] = []
    found: list[Finding] = []
    readers: Readers | None = None
    for tensor in graph.tensors(model):
        if tensor.data_type not in _FLOATS and tensor.data_type != _BF16:
            continue
        values, count = _Values(), graph.elements(tensor.dims)
        for piece in _pieces(tensor, directory):
            values.add(piece)
        name = tensor.name or "(unnamed)"
        if values.nan:
            readers = readers or Readers(model)
            found.append(_nan(tensor, values, count, readers))
        if values.infinite:
            message = f"constant {name!r} contains infinity in {values.infinite} of {count} elements"
            weight = count > _SMALL and values.largest > 0
            found.append(
                INFINITE.error(name, message)
                if weight
                else INFINITE.info(name, f"{message}, as masks do", "No action needed.")
            )
        found = _fewest(found)
        if tensor.data_type in _WIDER_THAN_FP16 and values.largest > _FP16_MAX:
            beyond.append((clip(name, 60), values.largest))
    yield from found
    if beyond:
        listed = [f"{name} ({largest:.3g})" for name, largest in beyond]
        yield RANGE.info(beyond[0][0], f"{len(beyond)} constants exceed FP16: {_some(listed)}")


def _fewest(found: list[Finding]) -> list[Finding]:
    """Some of each severity: however many constants are as they should be, what is wrong with others is told."""
    errors = [finding for finding in found if finding.severity == "error"]
    return [*errors[:_MOST], *(finding for finding in found if finding.severity != "error")][: 2 * _MOST]


def _nan(tensor: Any, values: _Values, count: int, readers: Readers) -> Finding:
    name = tensor.name or "(unnamed)"
    message = f"constant {name!r} contains NaN in {values.nan} of {count} elements"
    if count > _SMALL and values.nan < count:
        return NAN.error(name, message)
    if node := readers.computing(tensor):
        return NAN.error(name, f"{message}, and node {node!r} computes with it")
    return NAN.info(name, f"{message}: nodes select or compare it, and none computes with it", "No action needed.")


def unused(model: Any) -> Iterator[Finding]:
    """Report initializers that no node reads."""
    for body, _ in graph.graphs(model):
        initializers = [
            *((tensor.name, tensor) for tensor in getattr(body, "initializer", ())),
            *((sparse.values.name, sparse.values) for sparse in getattr(body, "sparse_initializer", ())),
        ]
        if not initializers:
            continue
        read = {value.name for value in body.output}
        for inner, _ in graph.opened(body):
            read.update(value if isinstance(value, str) else value.name for value in inner.output)
            for node in inner.node:
                read.update(node.input)
        left = [(name, required_bytes(tensor) or 0) for name, tensor in initializers if name not in read]
        if left:
            wasted = sum(count for _, count in left)
            yield UNUSED.warning(
                left[0][0],
                f"no node reads {len(left)} initializers ({size(wasted)}): {_some([name for name, _ in left])}",
            )


def repeated(model: Any, directory: Path) -> Iterator[Finding]:
    """Report initializers of the same content. Only those of the same type and shape are read and compared."""
    alike: dict[tuple[int, tuple[int, ...]], list[Any]] = defaultdict(list)
    for body, _ in graph.graphs(model):
        for tensor in getattr(body, "initializer", ()):
            if (required_bytes(tensor) or 0) >= _REPEATED_BYTES:
                alike[tensor.data_type, tuple(tensor.dims)].append(tensor)
    same: dict[bytes, list[Any]] = defaultdict(list)
    for (number, dims), tensors in alike.items():
        if len(tensors) < 2 or len(_places(tensors)) < 2:
            continue
        for tensor in tensors:
            hashed = hashlib.blake2b(f"{number} {dims}".encode(), digest_size=20)
            for piece in _bytes(tensor, directory):
                hashed.update(piece)
            same[hashed.digest()].append(tensor)
    groups = [tensors for tensors in same.values() if len(_places(tensors)) > 1]
    if groups:
        wasted = sum((required_bytes(group[0]) or 0) * (len(_places(group)) - 1) for group in groups)
        shown = [" = ".join(clip(tensor.name, 60) for tensor in group[:3]) for group in groups]
        yield REPEATED.warning(
            groups[0][1].name,
            f"{sum(map(len, groups))} initializers have only {len(groups)} different contents, which wastes "
            f"{size(wasted)} ({wasted} bytes): {_some(shown)}",
        )


def _places(tensors: list[Any]) -> set[Any]:
    """Return the distinct places of the bytes: two tensors that name the same place of a file waste nothing."""
    places = set()
    for index, tensor in enumerate(tensors):
        entries = graph.external(tensor)
        places.add((entries.get("location"), int(entries.get("offset") or 0)) if entries else index)
    return places


def _pieces(tensor: Any, directory: Path) -> Iterator[NDArray[Any]]:
    """The elements of a tensor of floats, as floats, some at a time."""
    for piece in _bytes(tensor, directory):
        if tensor.data_type == _BF16:  # the upper half of an FP32
            yield (np.frombuffer(piece, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            yield np.frombuffer(piece, _FLOATS[tensor.data_type])


def _bytes(tensor: Any, directory: Path) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor as raw data holds them, some at a time, and never an empty piece."""
    if tensor.data_location == graph.EXTERNAL:
        yield from _external_bytes(tensor, directory)
        return
    raw = tensor.raw_data if tensor.HasField("raw_data") else _plain(tensor)
    view = memoryview(raw)
    for start in range(0, len(view), _CHUNK):
        yield view[start : start + _CHUNK]


def _external_bytes(tensor: Any, directory: Path) -> Iterator[bytes]:
    entries = graph.external(tensor)
    left = required_bytes(tensor) or 0
    with (directory / entries["location"]).open("rb") as file:
        file.seek(int(entries.get("offset") or 0))
        while left > 0 and (piece := file.read(min(left, _CHUNK))):
            left -= len(piece)
            yield piece


def _plain(tensor: Any) -> bytes:
    """Elements in fields of their own are at most as large as the file, which is in memory already."""
    if tensor.data_type == _BF16:
        return np.array(tensor.int32_data, np.int64).astype("<u2").tobytes()
    return bytes(numpy_helper.to_array(tensor).tobytes())


def _some(names: list[str]) -> str:
    return f"{', '.join(clip(name, 130) for name in names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}"
