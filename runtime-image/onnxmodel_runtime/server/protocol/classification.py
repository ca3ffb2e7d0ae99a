"""The extension "classification": an output's largest numbers, as strings "value:index" or "value:index:label"."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.models import labels
from onnxmodel_runtime.server.datatypes import Array
from onnxmodel_runtime.server.errors import ServerError

MAX_ELEMENTS = 1_000_000
"""Maximum numbers of one row to sort, by Triton's own bound."""


def check(tensor: Tensor) -> None:
    """Check that an output has numbers that can be sorted. Raises ServerError."""
    try:
        labels.check(tensor)
    except ValueError as error:
        raise ServerError(str(error)) from error


def top(array: Array, count: int, batched: bool, names: Sequence[str] = ()) -> Array:
    """Return strings [min(count, numbers of a row)], with the batch axis before it if there is one.

    Raises ServerError.
    """
    rows = array.shape[0] if batched and array.ndim else 0
    table = array.reshape(max(1, rows), -1)
    if table.shape[1] > MAX_ELEMENTS:
        raise ServerError("classification output tensor too large")
    count = min(count, table.shape[1])
    found = np.empty((len(table), count), np.object_)
    for at, row in enumerate(table):
        found[at] = [
            f"{_text(row[index])}:{index}" + (f":{names[index]}" if index < len(names) else "")
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
