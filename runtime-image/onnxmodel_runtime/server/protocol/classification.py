"""The extension "classification": an output's largest numbers, as strings "value:index" or "value:index:label"."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.server.datatypes import NUMPY, Array
from onnxmodel_runtime.server.errors import ServerError

MAX_ELEMENTS = 1_000_000
"""Numbers of one row that are sorted; Triton's own bound."""
_NUMBERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64"})


def check(tensor: Tensor) -> None:
    """Whether an output has numbers that can be sorted. Raises ServerError."""
    if tensor.datatype not in _NUMBERS:
        raise ServerError(
            f"class result not available for output '{tensor.name}' due to unsupported type '{tensor.datatype}'"
        )


def labels(text: str) -> dict[str, tuple[str, ...]]:
    """Labels by the names of outputs, from a model's metadata property "labels". Raises ValueError."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("an object of lists of strings, by outputs, is expected")
    for name, each in found.items():
        if not isinstance(each, list) or not all(isinstance(label, str) for label in each):
            raise ValueError(f"a list of strings is expected for {name!r}")
    return {name: tuple(each) for name, each in found.items()}


def top(array: Array, count: int, batched: bool, labels: Sequence[str] = ()) -> Array:
    """Strings [min(count, numbers of a row)], with the batch's axis before it where there is one. Raises ServerError."""
    rows = array.shape[0] if batched and array.ndim else 0
    table = array.reshape(max(1, rows), -1)
    if table.shape[1] > MAX_ELEMENTS:
        raise ServerError("classification output tensor too large")
    count = min(count, table.shape[1])
    found = np.empty((len(table), count), np.object_)
    for at, row in enumerate(table):
        found[at] = [
            f"{_text(row[index])}:{index}" + (f":{labels[index]}" if index < len(labels) else "")
            for index in _largest(row, count)
        ]
    return found if rows else found[0]


def _largest(row: Array, count: int) -> Any:
    """Indices of the largest numbers, the first of equal ones first, and NaN last."""
    if row.dtype.kind == "f":
        row = np.where(np.isnan(row), -np.inf, row)
    rising = np.argsort(row[::-1], kind="stable")
    return (len(row) - 1 - rising[::-1])[:count]


def _text(value: Any) -> str:
    """As std::to_string writes it."""
    return f"{value:f}" if value.dtype.kind == "f" else str(value)


assert set(NUMPY) >= _NUMBERS
