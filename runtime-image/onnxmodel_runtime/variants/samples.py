"""Rows for calibration: the calibration data, else the golden data's inputs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxmodel_runtime.contract.model import BATCH_NONE
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.volume import CALIBRATION_FILE, CALIBRATION_FOLDER, GOLDEN_FILE, GOLDEN_FOLDER
from onnxmodel_runtime.models import golden, graph
from onnxmodel_runtime.models.golden import GoldenError
from onnxmodel_runtime.models.inputs import Arrays
from onnxmodel_runtime.variants.task import Skip

_ROWS = 8  # at a time: all activations of these are in memory


def batches(request: OptimizeRequest, model: Any) -> Iterator[Arrays]:
    """Yield as many rows as the request allows, a few at a time. Raises Skip if there are none. model: takes them."""
    directory = Path(request.model).parent
    if request.calibration_data:
        place = golden.beside(Path(request.calibration_data), CALIBRATION_FOLDER, CALIBRATION_FILE)
    elif request.golden:
        place = golden.beside(directory, GOLDEN_FOLDER, GOLDEN_FILE)
    else:
        raise Skip(
            "there is no calibration data: set spec.optimization.calibration.uri to a few hundred inputs as "
            "the model will receive them, or provide golden data"
        )
    inputs = tuple(graph.describe(value) for value in graph.inputs(model))
    outputs = tuple(graph.describe(value) for value in model.graph.output)
    left = request.calibration.samples
    try:
        for data in golden.load(place, inputs, outputs, answers=False):
            axes = {tensor.shape[:1] for tensor in inputs}
            if request.batch == BATCH_NONE and axes == {(-1,)}:
                axes = {()}  # a first axis of any length, and no batch: nothing is cut
            for batch, rows in _pieces(data, left, axes):
                yield batch
                left -= rows
            if left <= 0:
                return
    except GoldenError as error:
        raise Skip(f"cannot use the calibration data: {error}") from error


def _pieces(data: golden.GoldenSet, most: int, axes: set[tuple[int, ...]]) -> Iterator[tuple[Arrays, int]]:
    """A set in pieces of a few rows, or whole where its inputs do not have rows in common.

    axes: the first of each input's. A model of one batch size takes no other; what is left over is not used.
    """
    rows = golden.rows(data)
    fixed = next(iter(axes))[:1] if len(axes) == 1 and axes != {()} else ()
    size = _ROWS if fixed == (-1,) else fixed[0] if fixed else 0
    if not size or any(array.shape[:1] != (rows,) for array in data.inputs.values()):
        yield data.inputs, rows
        return
    for start in range(0, min(rows, most), size):
        end = start + size if fixed != (-1,) else min(start + size, rows, most)
        if end <= rows:
            yield {name: array[start:end] for name, array in data.inputs.items()}, end - start
