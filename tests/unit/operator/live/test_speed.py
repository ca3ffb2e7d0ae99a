from datetime import UTC, datetime, timedelta

import pytest

from onnxmodel_operator.live.speed import Proven, is_slow, latest, speed
from onnxmodel_operator.live.windows import Counts, Live, Reading, Window, of

START = datetime(2026, 1, 1, tzinfo=UTC)
PROVEN = Proven("r", milliseconds=10.0, rows_per_second=200.0, batch=8)


def counted(executions: int, rows: int, milliseconds: float, **fields: object) -> Counts:
    """Executions of one request each that took so long."""
    seconds = executions * milliseconds / 1000
    given = {"successes": executions, "run_seconds": seconds, "computing": seconds, **fields}
    return Counts(executions=executions, rows=rows, seconds=seconds, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, 10.0), (2, 15.0), (8, 45.0), (0.5, 10.0)],
)
def test_an_execution_takes_at_most_what_one_client_waited_and_a_share_for_each_further_row(
    rows: float, expected: float
) -> None:
    assert PROVEN.at_most(rows) == expected


def test_instances_that_share_cores_take_longer_for_each() -> None:
    two = Proven("r", 10.0, 120.0, 1, instances=2)
    assert two.at_most(1) == pytest.approx(2 * 1000 / 120)


@pytest.mark.parametrize(
    ("counts", "ratio"),
    [
        (counted(100, 100, 10.0), 1.0),
        (counted(100, 100, 25.0), 2.5),
        (counted(100, 800, 45.0), 1.0),
        (counted(29, 29, 100.0), None),  # too few
        (counted(100, 1700, 100.0), None),  # larger batches than anything that was measured
        # Triton: one request in each execution, or several.
        (counted(100, 100, 20.0, run_seconds=None), 2.0),
        (counted(100, 400, 20.0, run_seconds=None, successes=400), None),
        (counted(0, 0, 0.0, successes=40), None),
    ],
)
def test_executions_are_compared_at_as_many_rows(counts: Counts, ratio: float | None) -> None:
    found = speed(of(counts, 60.0), PROVEN)
    assert (found.ratio if found else None) == (None if ratio is None else pytest.approx(ratio))


@pytest.mark.parametrize("window", [None, Window(60, 0, 0)])
def test_no_traffic_has_no_speed(window: Window | None) -> None:
    assert speed(window, PROVEN) is None
    assert speed(of(counted(100, 100, 10.0), 60.0), Proven("r", 0.0, 0.0, 1)) is None


def lived(*spans: tuple[int, float] | None, before: int = 0) -> Live:
    """Readings each 30 s. For each minute: how many executions of one row, and how long each took; None: unreachable."""
    total, seconds, readings = 0, 0.0, []
    for minute, span in enumerate(spans, start=before):
        for half in range(2):
            if span is None:
                continue
            total += span[0] // 2
            seconds += span[0] // 2 * span[1] / 1000
            counts = Counts(successes=total, executions=total, rows=total, run_seconds=seconds)
            readings.append(Reading(START + timedelta(seconds=60 * minute + 30 * half), counts))
    return Live({"r": {"pod": tuple(readings)}})


FAST, NEAR, SLOW, IDLE = (600, 10.0), (600, 18.0), (600, 30.0), (0, 0.0)


@pytest.mark.parametrize(
    ("spans", "was", "expected"),
    [
        ((FAST,) * 4, False, False),
        ((SLOW,) * 4, False, True),
        ((FAST, SLOW, SLOW), False, False),
        ((SLOW, SLOW, FAST, SLOW), False, False),
        ((SLOW, SLOW, SLOW, FAST), False, False),
        ((SLOW,) * 4, True, True),
        ((SLOW, SLOW, FAST, FAST), True, True),
        ((SLOW, FAST, FAST, FAST, FAST), True, False),
        # Near the limit nothing flips.
        ((NEAR,) * 5, True, True),
        ((NEAR,) * 5, False, False),
        # Without traffic nothing is known, until it has been so for long.
        ((SLOW, *(IDLE,) * 5), True, True),
        ((SLOW, *(IDLE,) * 12), True, False),
        ((IDLE,) * 12, False, False),
        ((), True, True),
        ((), False, False),
    ],
)
def test_it_takes_several_minutes_in_a_row_to_flip(
    spans: tuple[tuple[int, float], ...], was: bool, expected: bool
) -> None:
    assert is_slow(lived(*spans), PROVEN, 2.0, was) is expected


def test_the_factor_is_the_platforms() -> None:
    assert not is_slow(lived(*(SLOW,) * 4), PROVEN, 3.5, was=False)


def test_the_latest_speed_is_of_the_last_minute() -> None:
    found = latest(lived(SLOW, SLOW, FAST), PROVEN)
    assert found is not None
    assert found.milliseconds == pytest.approx(10.0, abs=0.1)
    assert latest(Live(), PROVEN) is None
