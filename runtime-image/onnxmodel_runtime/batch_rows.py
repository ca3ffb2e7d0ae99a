"""Whether rows of one batch influence each other: then rows of different requests must not be computed together."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime import parity
from onnxmodel_runtime.contract import Tolerance
from onnxmodel_runtime.parity import Arrays


def dependence(
    run: Callable[[dict[str, NDArray[Any]]], Arrays], given: Arrays, expected: Arrays, bound: Tolerance
) -> str:
    """How the probe's answer differs when as many rows of zeros are computed with it; "" when it does not.

    run: computes the expected outputs; what it raises is the caller's to explain.
    """
    rows = len(next(iter(given.values())))
    answers = run({name: np.concatenate([array, _zeros(array)]) for name, array in given.items()})
    if whole := next((name for name, array in answers.items() if array.shape[:1] != (2 * rows,)), ""):
        return f"output {whole!r} has no batch axis"
    found = parity.compare({name: array[:rows] for name, array in answers.items()}, expected, bound)
    return "" if found.passed else parity.explain(found, bound)


def _zeros(array: NDArray[Any]) -> NDArray[Any]:
    return np.full_like(array, "") if array.dtype.kind == "O" else np.zeros_like(array)
