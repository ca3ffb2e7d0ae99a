"""Candidates that do not fit into memory together are measured in groups, each with the original.

Measured in the same turns, candidates compare best; so a group takes as many as fit, and mostly there is one group.
Between two groups the machine may have become slower or warmer. The original was measured in both: what it shows of that
is taken out of the later group's numbers, which are then as if they had been measured beside the first.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.measuring.windows import Spread
from onnxmodel_runtime.stats import significant

_SHARE = 0.8  # of the memory that there is: the rest is for what cannot be foreseen
_TIMES = 3  # the file: protobuf's copy, ONNX Runtime's, and the one that it packs for its kernels

Numbers = tuple[Point, Spread]


def fits(file_bytes: int, instances: int, original: int, resident: int, available: int) -> bool:
    """Return whether one more candidate can be loaded. All sizes are in bytes.

    original: the peak of the original, which includes its activations; resident: the present size of the process.
    """
    needed = max(original, _TIMES * file_bytes * max(1, instances))
    return resident + needed <= _SHARE * available


def file_bytes(path: Path) -> int:
    """Return the bytes of the model and its weights where optimize puts them. Others show when they are loaded."""
    return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}.data")) if file.exists())


def joined(groups: Sequence[Sequence[Numbers]], original: str) -> list[Numbers]:
    """Merge the numbers of all groups as if they were one. The original's are those of the first group."""
    first = _at_each_point(groups[0], original)
    together = list(groups[0])
    for group in groups[1:]:
        here = _at_each_point(group, original)
        for point, spread in group:
            if point.variant != original:
                at = point.batch_size, point.concurrency
                together.append(_corrected(point, spread, first[at], here[at]))
    return together


def _at_each_point(group: Sequence[Numbers], variant: str) -> dict[tuple[int, int], Point]:
    return {(point.batch_size, point.concurrency): point for point, _ in group if point.variant == variant}


def _corrected(point: Point, spread: Spread, first: Point, here: Point) -> Numbers:
    """By the original's p50 and throughput, which are steady, and not by its p99, which is chance."""
    time, rate = first.p50 / here.p50, first.throughput / here.throughput
    return (
        replace(
            point,
            p50=significant(point.p50 * time),
            p90=significant(point.p90 * time),
            p95=significant(point.p95 * time),
            p99=significant(point.p99 * time),
            throughput=significant(point.throughput * rate),
            noisy=point.noisy or first.noisy or here.noisy,
        ),
        replace(spread, milliseconds=tuple(significant(value * time) for value in spread.milliseconds)),
    )
