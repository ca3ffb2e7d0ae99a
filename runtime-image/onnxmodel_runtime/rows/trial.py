"""Test on a session whether rows get the same outputs in a batch as alone.

The graph comes first (judge.py): a trial can find an influence, but never prove that there is none. It is for what no
graph shows: a provider, a kernel, a fusion that brings rows together.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.errors import runtime_message
from onnxmodel_runtime.models import parity
from onnxmodel_runtime.models.parity import Arrays

_MUCH = 8.0
# Every row at the front, in the middle and at the end, beside larger and smaller ones.
_ORDERS = (("given", "larger", "smaller"), ("permuted", "given", "larger"), ("smaller", "permuted", "given"))

Run = Callable[[dict[str, NDArray[Any]]], Arrays]


def dependence(run: Run, given: Arrays, bound: Tolerance, most: int) -> str:
    """Return how an output differs when other rows are computed with its row. "" if none does.

    given: rows that the model takes; with them go larger, smaller and permuted ones that are made of them. Those that
    the model refuses when they are alone are left out. A batch has three times the given rows, two times where `most`
    allows no more, and is not tried where `most` allows less. run: raises when the model fails.
    """
    count = len(next(iter(given.values())))
    made = {name: variation(given, name) for name in ("given", "larger", "smaller", "permuted")}
    alone: dict[str, Arrays] = {}
    for name, inputs in made.items():
        try:
            alone[name] = run(inputs)
        except Exception as error:
            if name == "given":
                return f"cannot run the rows: {runtime_message(error)}"
    for order in _ORDERS:
        names = _fitting([name for name in order if name in alone], most // count)
        if found := _together(run, [(made[name], alone[name]) for name in names], count, bound):
            return found
    return ""


def variation(given: Arrays, name: str) -> dict[str, NDArray[Any]]:
    """Return the rows with other values: `larger`, `smaller` or `permuted`.

    Integers and strings are of the given ones.
    """
    return {key: _varied(array, name) for key, array in given.items()}


def _varied(array: NDArray[Any], name: str) -> NDArray[Any]:
    if name == "given" or not array.size:
        return array
    if name == "permuted":
        return np.ascontiguousarray(array.reshape(len(array), -1)[:, ::-1].reshape(array.shape))
    large = name == "larger"
    if array.dtype.kind == "f":
        return np.asarray(array * array.dtype.type(_MUCH if large else 1 / _MUCH), array.dtype)
    if array.dtype.kind in "OUS":
        best = (max if large else min)(array.ravel(), key=lambda item: len(str(item)))
    else:
        best = array.max() if large else array.min()
    return np.full_like(array, best)


def _fitting(names: list[str], most: int) -> list[str]:
    """So many of the names that `given` is among them, at an end."""
    if len(names) <= most:
        return names
    return [name for name in names if name == "given"] if most < 2 else _beside(names)


def _beside(names: list[str]) -> list[str]:
    at = names.index("given") if "given" in names else 0
    return names[:2] if at == 0 else names[at - 1 : at + 1]


def _together(run: Run, parts: list[tuple[Mapping[str, Any], Arrays]], count: int, bound: Tolerance) -> str:
    if len(parts) < 2:
        return ""
    rows = len(parts) * count
    try:
        answers = run({name: np.concatenate([inputs[name] for inputs, _ in parts]) for name in parts[0][0]})
    except Exception as error:
        return f"cannot run a batch of {rows} rows: {runtime_message(error)}"
    if whole := next((name for name, array in answers.items() if array.shape[:1] != (rows,)), ""):
        return f"output {whole!r} does not have one row for each of {rows}"
    for index, (_, expected) in enumerate(parts):
        own = {name: array[index * count : (index + 1) * count] for name, array in answers.items()}
        found = parity.compare(own, expected, bound)
        if not found.passed:
            return parity.explain(found, bound)
    return ""
