"""Compare the model with its golden data: the answers that its author expects of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from onnxmodel_runtime.checks import GOLDEN, GOLDEN_DATA
from onnxmodel_runtime.contract.model import Parity, Tensor, Tolerance
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest
from onnxmodel_runtime.errors import runtime_message
from onnxmodel_runtime.models import parity
from onnxmodel_runtime.models.golden import GoldenError, GoldenSet, load, place, rows
from onnxmodel_runtime.sandbox.progress import step


def compare_sets(
    session: Any, request: ValidateRequest, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> tuple[Parity | None, list[Finding]]:
    """Run every set and compare. The parity is the worst of all sets; None where nothing could be compared."""
    assert request.golden is not None
    worst: Parity | None = None
    compared = 0
    where = place(request)
    try:
        for data in load(where, inputs, outputs):
            compared += sum(array.size for array in data.outputs.values())
            step(f"comparing with the golden data {data.name}")
            found = _compare(session, data, request.golden)
            worst = found if worst is None else _worse(worst, found)
    except GoldenError as error:
        return worst, [GOLDEN_DATA.error(where.name, str(error))]
    if worst is None or worst.passed:
        empty = "the golden outputs have no elements: nothing was compared"
        return worst, [] if compared else [GOLDEN_DATA.warning(where.name, empty, "Record at least one row.")]
    return worst, [GOLDEN.error(worst.output, f"the golden outputs differ: {parity.explain(worst, request.golden)}")]


def _compare(session: Any, data: GoldenSet, bound: Tolerance) -> Parity:
    names = list(data.outputs)
    try:
        answers = session.run(names, data.inputs)
    except Exception as error:
        raise GoldenError(f"the model fails with the inputs of {data.name}: {runtime_message(error)}") from error
    got: Mapping[str, NDArray[Any]] = dict(zip(names, answers, strict=True))
    return parity.measure(lambda _: got, lambda _: data.outputs, (rows(data),), bound)


def _worse(one: Parity, other: Parity) -> Parity:
    """The worst numbers of two, at the output that failed, or that is further off."""
    worst = max(one, other, key=lambda item: (not item.passed, bool(item.note), item.max_absolute))
    return replace(
        worst,
        passed=one.passed and other.passed,
        max_absolute=max(one.max_absolute, other.max_absolute),
        max_relative=max(one.max_relative, other.max_relative),
        cosine=min(one.cosine, other.cosine),
        top1=min((item.top1 for item in (one, other) if item.top1 is not None), default=None),
        batch_sizes=tuple(sorted({*one.batch_sizes, *other.batch_sizes})),
    )
