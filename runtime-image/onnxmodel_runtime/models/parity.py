"""Measure the difference between two sets of outputs, and judge whether it is within the tolerance.

max_relative is |a-b| / max(|b|, tolerance.absolute): without that floor a difference of nothing from almost nothing
would look like a catastrophe. Integers, booleans and strings must be equal: a label is right or wrong.

top1 is for people: the tolerance alone decides. An output looks like class scores when it is a matrix of floats, a row
for each example and a column for each class, of which there are 2 to MAX_CLASSES. An embedding of that shape is taken
for scores too: then top1 is the share of rows in which the largest component is the same one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxmodel_runtime.contract.model import Parity, Tolerance
from onnxmodel_runtime.errors import NAME_CHARACTERS, clip

MAX_CLASSES = 32_768

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Difference:
    """One output at one batch size. excess: the worst element's difference, as a multiple of what is allowed.

    rows: of class scores; agreed: those of them with the same best class.
    """

    output: str
    passed: bool
    absolute: float = 0.0
    relative: float = 0.0
    cosine: float = 1.0
    excess: float = 0.0
    note: str = ""
    rows: int = 0
    agreed: int = 0


def measure(
    answers: Callable[[int], Arrays], expected: Callable[[int], Arrays], batch_sizes: tuple[int, ...], bound: Tolerance
) -> Parity:
    """Compare outputs at every batch size and keep the worst difference: some defects show at one size only."""
    return judge(((batch, answers(batch), expected(batch)) for batch in batch_sizes), bound)


def judge(cases: Iterable[tuple[int, Arrays, Arrays]], bound: Tolerance) -> Parity:
    """Compare (batch size, outputs, expected outputs) one after the other, so that one is in memory at a time."""
    differences: list[_Difference] = []
    sizes: dict[int, None] = {}
    for batch, answers, expected in cases:
        sizes[batch] = None
        differences += [
            _compare(clip(name, NAME_CHARACTERS), answers[name], want, bound, batch) for name, want in expected.items()
        ]
    worst = max(differences, key=lambda item: (not item.passed, bool(item.note), item.excess))
    return Parity(
        passed=all(item.passed for item in differences),
        max_absolute=_round(max(item.absolute for item in differences)),
        max_relative=_round(max(item.relative for item in differences)),
        cosine=round(min(item.cosine for item in differences), 6),
        output=worst.output,
        batch_sizes=tuple(sizes),
        note=clip(worst.note),
        top1=_top1(differences),
    )


def compare(answers: Arrays, expected: Arrays, bound: Tolerance) -> Parity:
    """Compare one set of outputs."""
    return measure(lambda _: answers, lambda _: expected, (1,), bound)


def explain(parity: Parity, bound: Tolerance) -> str:
    """Explain in a sentence why a parity did not pass."""
    if parity.note:
        return parity.note
    changed = "" if parity.top1 in (None, 1) else f"; the top class matches in {100 * parity.top1:.4g} % of the rows"
    return (
        f"output {parity.output!r} differs by up to {parity.max_absolute:g} absolute and "
        f"{parity.max_relative:g} relative, cosine {parity.cosine:g}; the tolerance is "
        f"{bound.absolute:g} + {bound.relative:g} of the value, cosine {bound.cosine:g}{changed}"
    )


def _compare(name: str, got: NDArray[Any], want: NDArray[Any], bound: Tolerance, batch: int) -> _Difference:
    at = f"output {name!r} at batch size {batch}"
    if got.shape != want.shape:
        return _Difference(name, False, note=f"{at} has the shape {list(got.shape)} instead of {list(want.shape)}")
    if want.dtype.kind != "f":
        wrong = int(np.sum(got != want))
        note = f"{at} differs in {wrong} of {want.size} elements, which must be equal" if wrong else ""
        return _Difference(name, not wrong, note=note)
    a, b = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    rows, agreed = _same_class(got, want)
    finite = np.isfinite(b)
    # NaN and infinities must be the same ones, in the same places.
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(a[finite]).all():
        note = f"{at} has NaN or infinity where the other one does not"
        return _Difference(name, False, note=note, rows=rows, agreed=agreed)
    a, b = a[finite], b[finite]
    if not a.size:
        return _Difference(name, True)
    difference, allowed = np.abs(a - b), bound.absolute + bound.relative * np.abs(b)
    excess = float(np.max(difference / np.maximum(allowed, np.finfo(np.float64).tiny)))
    cosine = _cosine(a, b)
    return _Difference(
        name,
        bool((difference <= allowed).all()) and cosine >= bound.cosine,
        float(difference.max()),
        float((difference / np.maximum(np.abs(b), bound.absolute or np.finfo(np.float64).tiny)).max()),
        cosine,
        excess,
        rows=rows,
        agreed=agreed,
    )


def _same_class(got: NDArray[Any], want: NDArray[Any]) -> tuple[int, int]:
    """Rows, and rows whose best class is the same. Any of several equally good classes is right.

    Rows with a NaN have no best class: where the other has it too, they are not counted.
    """
    if want.ndim != 2 or not 2 <= want.shape[1] <= MAX_CLASSES:
        return 0, 0
    chosen = np.take_along_axis(want, got.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    mine, theirs = np.isnan(got).any(axis=1), np.isnan(want).any(axis=1)
    right = (chosen == want.max(axis=1)) & ~mine
    return int((~(mine & theirs)).sum()), int(right.sum())


def _top1(differences: list[_Difference]) -> float | None:
    """Of the output that has the least of it, over all its rows at all batch sizes."""
    counts: dict[str, tuple[int, int]] = {}
    for item in differences:
        rows, agreed = counts.get(item.output, (0, 0))
        counts[item.output] = rows + item.rows, agreed + item.agreed
    return min((round(agreed / rows, 4) for rows, agreed in counts.values() if rows), default=None)


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.dot(a, b)) / norms if norms else 1.0  # nothing but zeros has no direction; the elements decide


def _round(value: float) -> float:
    """Three digits, and a number that JSON has."""
    return float(f"{min(value, 1e300):.3g}")
