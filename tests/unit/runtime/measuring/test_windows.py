"""The stop rule, by tables."""

import pytest

from onnxmodel_runtime.measuring.windows import Window, counted, settled, spread, stable


def windows(*milliseconds: float, rates: tuple[int, ...] = ()) -> list[Window]:
    """One window per p50; as many answers a second as fit, or as given."""
    answers = rates or tuple(round(1_000_000 / value) for value in milliseconds)
    return [Window(1.0, count, [value / 1000]) for value, count in zip(milliseconds, answers, strict=True)]


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (windows(), False),
        (windows(10, 10), False),
        (windows(10, 10, 10), True),
        (windows(9.6, 10, 10.4), True),
        (windows(9.4, 10, 10.6), False),
        (windows(30, 10, 10, 10), True),
        (windows(10, 10, 10, 30), False),
        (windows(10, 10, 10, rates=(100, 100, 120)), False),
        (windows(10, 11, 12, rates=(100, 100, 100)), False),
    ],
    ids=[
        "nothing",
        "two",
        "three equal",
        "within",
        "beyond",
        "after a slow start",
        "no longer",
        "the rate differs",
        "p50 differs",
    ],
)
def test_three_windows_agree(taken: list[Window], expected: bool) -> None:
    assert stable(taken, 5.0) is expected


def test_candidates_settle_together() -> None:
    """The same turns count for all: those that agree, or all turns where somebody's do not."""
    quiet, late = windows(10, 10, 10, 10), windows(30, 20, 20, 20)
    assert settled([quiet, late], 5.0)
    assert counted([quiet, late], 5.0) == [quiet[1:], late[1:]]
    restless = windows(30, 20, 20, 30)
    assert not settled([quiet, restless], 5.0)
    assert counted([quiet, restless], 5.0) == [quiet, restless]


@pytest.mark.parametrize(
    ("mine", "original", "percent"),
    [
        (windows(10, 10, 10), windows(20, 20, 20), 0),
        (windows(10, 20, 40), windows(20, 40, 80), 0),
        (windows(9, 10, 12), windows(20, 20, 20), 20),
        (windows(*[10] * 9, 90), windows(*[20] * 10), 0),
        (windows(*[10, 30] * 5), windows(*[20] * 10), 201),
        (windows(10, 10, 10, rates=(100, 100, 70)), windows(10, 10, 10, rates=(100, 100, 100)), 30),
    ],
    ids=["steady", "slow together", "restless", "one window is an accident", "two speeds", "the rate"],
)
def test_how_far_a_ratio_to_the_original_varies(mine: list[Window], original: list[Window], percent: int) -> None:
    assert spread(mine, original) == percent
    assert spread(original, original) == 0
