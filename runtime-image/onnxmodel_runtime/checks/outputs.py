"""Actual datatypes and shapes of a model's outputs: what ONNX Runtime infers and runs show outweighs the declaration.

LightGBM's converter declares [1] for labels that are [N], other exporters no shape or type at all. ONNX Runtime goes by
what it computes, and so do clients.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from onnxmodel_runtime.checks import DECLARED
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.datatypes import BY_NAME, tensors

Seen = Mapping[str, list[tuple[int, ...]]]
"""Output -> the shapes that it had, one for each run."""


def typed(outputs: tuple[Tensor, ...], session: Any) -> tuple[Tensor, ...]:
    """Return the outputs, with ONNX Runtime's datatypes where the file has none."""
    known = {tensor.name: tensor.datatype for tensor in tensors(session.get_outputs())}
    return tuple(
        replace(output, datatype=known[output.name])
        if output.datatype == "UNKNOWN" and known.get(output.name) in BY_NAME
        else output
        for output in outputs
    )


def corrected(outputs: tuple[Tensor, ...], unknown: frozenset[str], seen: Seen) -> tuple[Tensor, ...]:
    """Return the outputs with the shapes that runs showed.

    unknown: those without a rank; -1 stands for an axis of uncertain size.
    """
    return tuple(_corrected(output, output.name in unknown, seen.get(output.name, ())) for output in outputs)


def by_row(seen: Seen) -> frozenset[str]:
    """The outputs whose first size differs from run to run, as far as they have one."""
    return frozenset(name for name, shapes in seen.items() if len({shape[:1] for shape in shapes}) > 1)


def differences(
    declared: tuple[Tensor, ...], served: tuple[Tensor, ...], unknown: frozenset[str], rows: frozenset[str]
) -> Iterator[Finding]:
    """Report every output whose declaration differs from the runs. rows: those that have one for each row of input."""
    for before, after in zip(declared, served, strict=True):
        if before.shape == after.shape:
            continue
        name, shape = after.name, list(after.shape)
        if before.name in unknown:
            yield DECLARED.info(name, f"output {name!r} declares no shape; its computed shape {shape} is served")
        elif name in rows and len(before.shape) == len(after.shape) and before.shape[1:] == after.shape[1:]:
            message = (
                f"output {name!r} is declared with shape {list(before.shape)} and has one row for each row of input"
            )
            yield DECLARED.info(name, f"{message}: {shape} is served")
        else:
            message = f"output {name!r} is declared with shape {list(before.shape)} but has a different one at run time"
            yield DECLARED.warning(name, f"{message}: {shape} is served")


def _corrected(output: Tensor, unknown: bool, shapes: Any) -> Tensor:
    ranks = {len(shape) for shape in shapes}
    if len(ranks) != 1:
        return output
    (rank,) = ranks
    if unknown or rank != len(output.shape):
        return replace(output, shape=(-1,) * min(rank, graph.MAX_RANK))
    axes = enumerate(output.shape)
    return replace(output, shape=tuple(dim if {shape[i] for shape in shapes} == {dim} else -1 for i, dim in axes))
