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
    """How the probe's answer differs when as many other rows are computed with it; "" when it does not.

    Rows of zeros change a mean, a maximum or a norm over the batch, the probe's own rows a sum; both are input that every
    model takes. run: computes the expected outputs; what it raises is the caller's to explain.
    """
    rows = len(next(iter(given.values())))
    for others in ({name: _zeros(array) for name, array in given.items()}, given):
        answers = run({name: np.concatenate([array, others[name]]) for name, array in given.items()})
        if whole := next((name for name, array in answers.items() if array.shape[:1] != (2 * rows,)), ""):
            return f"output {whole!r} has no batch axis"
        found = parity.compare({name: array[:rows] for name, array in answers.items()}, expected, bound)
        if not found.passed:
            return parity.explain(found, bound)
    return ""


def _zeros(array: NDArray[Any]) -> NDArray[Any]:
    return np.full_like(array, "") if array.dtype.kind == "O" else np.zeros_like(array)
