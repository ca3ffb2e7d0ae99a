"""Verify a batch axis by running the model: a dynamic first axis may count something else.

Axis 0 is a batch when as many rows come out as go in, and reordering the rows only reorders their outputs. That holds
for models whose rows influence each other's values too (a maximum over the batch): those have a batch, whose requests
must not be batched (rows/). It does not hold for time, for samples of a waveform, or for positions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.errors import ran_out_of_memory, runtime_message
from onnxmodel_runtime.models import parity

ROWS = 3
_ORDER = (2, 0, 1)
_MOST_INPUTS = 64  # whose lengths are varied one by one

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]


def disproved(run: Run, rows: Arrays, first_axes: Sequence[str], bound: Tolerance) -> str:
    """Return why axis 0 is no batch, as running the model shows. "" if nothing disproves it.

    run: raises what the model raises. rows: inputs of ROWS rows. first_axes: the name of each input's first axis, ""
    for none; inputs whose first axes have one name have one length.
    """
    try:
        answers = run(rows)
        alone = run(_taken(rows, (0,)))
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return f"the model fails with {ROWS} rows or with a single one of them: {runtime_message(error)}"
    for count, given in ((ROWS, answers), (1, alone)):
        for name, array in given.items():
            if array.shape[:1] != (count,):
                return f"output {name!r} has the shape {list(array.shape)} for {count} rows of input"
    vectors = all(array.ndim == 1 for array in rows.values())
    influenced = _difference(alone, _taken(answers, (0,)), bound) if vectors else ""
    moved = _moved(run, rows, answers, bound)
    if (influenced or moved) and _difference(run(rows), answers, bound):
        return ""  # it draws random numbers: no difference tells anything
    if influenced:
        return f"the inputs are vectors, and the output for one value depends on the others: {influenced}"
    if moved:
        return f"the output for a row depends on its position among the rows: {moved}"
    return next(_lengths(run, rows, answers, first_axes), "")


def _moved(run: Run, rows: Arrays, answers: Arrays, bound: Tolerance) -> str:
    """Return how the outputs for reordered rows differ from the reordered outputs."""
    try:
        return _difference(run(_taken(rows, _ORDER)), _taken(answers, _ORDER), bound)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return f"the model fails with reordered rows: {runtime_message(error)}"


def _lengths(run: Run, rows: Arrays, answers: Arrays, first_axes: Sequence[str]) -> Iterator[str]:
    """Inputs that may have other first sizes than the rest, and then give another answer. An unused one gives the same."""
    if len(rows) < 2 or (len(set(first_axes)) == 1 and first_axes[0]):
        return
    for name in list(rows)[:_MOST_INPUTS]:
        try:
            others = run({**rows, name: rows[name][: ROWS - 1]})
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            continue
        if any(not _equal(others[key], answers[key]) for key in answers):
            yield f"input {name!r} accepts a different first size than the other inputs"


def _taken(arrays: Arrays, order: Sequence[int]) -> dict[str, NDArray[Any]]:
    return {name: array[list(order)] for name, array in arrays.items()}


def _difference(answers: Arrays, expected: Arrays, bound: Tolerance) -> str:
    found = parity.compare(answers, expected, bound)
    return "" if found.passed else parity.explain(found, bound)


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and bool(np.all((one == other) | ((one != one) & (other != other))))
