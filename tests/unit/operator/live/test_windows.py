from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from onnxmodel_operator.live import windows
from onnxmodel_operator.live.windows import MOST_SAMPLES, Compared, Counts, Latencies, Live, Reading, Window, thinned

START = datetime(2026, 1, 1, tzinfo=UTC)
BOUNDS = (0.001, 0.01, 0.1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def sample(seconds: float, successes: int, failures: int = 0, fast: int = 0, **fields: object) -> Reading:
    """Counts of a server where so many requests took 1 to 10 ms, and the rest 10 to 100."""
    latencies = Latencies(BOUNDS, (0, fast, successes), successes)
    given = {"seconds": successes * 0.02, "latencies": latencies, **fields}
    return Reading(at(seconds), Counts(successes, failures, **given))  # type: ignore[arg-type]


def window(*pods: list[Reading], since: float = 0, now: float = 100) -> Window | None:
    return Live({"r": {str(number): pod for number, pod in enumerate(pods)}}).window("r", at(since), at(now))


def test_a_window_is_the_difference_of_its_first_and_last_sample() -> None:
    found = window([sample(0, 100, 1), sample(30, 150, 2), sample(60, 300, 6)])
    assert found is not None
    assert (found.seconds, found.requests, found.failures) == (60, 205, 5)
    assert found.mean == pytest.approx(20)


def test_pods_are_added_up() -> None:
    found = window([sample(0, 0), sample(60, 100, fast=100)], [sample(10, 50, 1), sample(70, 150, 3)])
    assert found is not None
    assert (found.seconds, found.requests, found.failures) == (70, 202, 2)
    assert found.p50 == pytest.approx(10)  # half of them are in the bucket that ends there
    assert found.p99 == pytest.approx(98.2)


def test_only_what_happened_in_the_time_counts() -> None:
    samples = [sample(0, 0), sample(30, 100), sample(60, 300), sample(90, 1000)]
    found = window(samples, since=20, now=70)
    assert found is not None
    assert (found.seconds, found.requests) == (30, 200)


def test_a_server_that_restarted_counts_from_zero() -> None:
    found = window([sample(0, 1000, 7), sample(30, 1100, 7), sample(60, 40), sample(90, 90, 2)])
    assert found is not None
    assert (found.requests, found.failures) == (192, 2)
    assert found.p99 is not None


@pytest.mark.parametrize("pods", [(), ([],), ([sample(0, 5)],), ([sample(0, 5), sample(200, 9)],)])
def test_fewer_than_two_samples_are_no_window(pods: tuple[list[Reading], ...]) -> None:
    assert window(*pods) is None


def test_an_unknown_revision_has_no_window() -> None:
    assert Live().window("r", at(0), at(1)) is None


def test_without_a_histogram_the_mean_is_all_that_is_known() -> None:
    found = window([sample(0, 0, latencies=None), sample(30, 100, latencies=None)])
    assert found is not None
    assert (found.p50, found.p99) == (None, None)
    assert found.mean == pytest.approx(20)


def test_what_one_pod_does_not_report_is_not_known_of_the_revision() -> None:
    found = window([sample(0, 0), sample(30, 100)], [sample(0, 0, latencies=None), sample(30, 10, latencies=None)])
    assert found is not None
    assert (found.p99, found.requests) == (None, 110)


def test_an_idle_window_has_no_latency() -> None:
    found = window([sample(0, 100), sample(30, 100)])
    assert found is not None
    assert (found.requests, found.p50, found.p99, found.mean) == (0, None, None, None)


def test_runs_that_the_server_counts_once_are_subtracted_too() -> None:
    found = window([sample(0, 10, run_seconds=1.5), sample(30, 20, run_seconds=2.0)])
    assert found is not None
    assert found.counts.run_seconds == 0.5


@pytest.mark.parametrize(
    ("counts", "percent", "expected"),
    [
        ((10, 10, 10), 50, 0.5),
        ((0, 10, 10), 50, 5.5),
        ((0, 0, 10), 99, 99.1),
        ((0, 0, 0), 99, 100.0),  # all beyond the last bound
        ((10, 10, 10), 100, 1.0),
    ],
)
def test_a_percentile_lies_within_its_bucket(counts: tuple[int, ...], percent: float, expected: float) -> None:
    assert Latencies(BOUNDS, counts, 10).milliseconds(percent) == pytest.approx(expected)


@pytest.mark.parametrize("nothing", [Latencies(BOUNDS, (0, 0, 0), 0), Latencies((), (), 5)])
def test_nothing_has_no_percentile(nothing: Latencies) -> None:
    assert nothing.milliseconds(99) is None


def test_histograms_with_other_bounds_share_the_bounds_that_both_have() -> None:
    fine = Latencies((0.001, 0.005, 0.01, 0.1), (0, 5, 10, 10), 10)
    nothing = Latencies(fine.bounds, (0, 0, 0, 0), 0)
    found = window([sample(0, 0, latencies=nothing), sample(30, 10, latencies=fine)], [sample(0, 0), sample(30, 10)])
    assert found is not None
    assert found.counts.latencies == Latencies(BOUNDS, (0, 10, 20), 20)


def test_old_samples_get_thinner_and_the_oldest_stays() -> None:
    samples: tuple[Reading, ...] = ()
    for number in range(1000):
        samples = (
            *thinned(
                (*samples, sample(number, number)),
            ),
        )
    assert len(samples) <= MOST_SAMPLES
    assert [samples[0].time, samples[-1].time] == [at(0), at(999)]
    assert [one.time for one in samples] == sorted(one.time for one in samples)


def compared(seconds: float, candidate: str = "a", **counts: float) -> Reading:
    return Reading(at(seconds), Counts(compared={candidate: Compared(**counts)}))  # type: ignore[arg-type]


def test_comparisons_are_those_of_the_time_added_up_over_pods() -> None:
    pods = (
        [
            compared(0, agreed=100, differed=5, largest=0.5),
            compared(30, agreed=150, differed=6, dropped=9, largest=0.5),
        ],
        [Reading(at(0), Counts()), compared(30, agreed=10, failed=2, largest=0.75)],
        [compared(0, agreed=100), compared(30, agreed=7)],  # restarted
        [compared(0, "b", agreed=100), compared(30, "a", agreed=1)],  # compared with another revision before
        [Reading(at(0), Counts()), Reading(at(30), Counts())],
    )
    found = window(*pods)
    assert found is not None
    assert found.counts.compared["a"] == Compared(agreed=68, differed=1, failed=2, dropped=9, largest=0.75)
    assert found.counts.compared["a"].all == 69
    assert window([sample(0, 1), sample(30, 2)]).counts.compared == {}  # type: ignore[union-attr]


def test_comparisons_of_many_pods_are_added_up_once_for_each_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    names, added = list[str](), windows._added

    def count(parts: Iterable[Counts], candidate: str) -> Compared:
        names.append(candidate)
        return added(parts, candidate)

    monkeypatch.setattr(windows, "_added", count)
    pods = [[compared(second, agreed=second) for second in range(MOST_SAMPLES)] for _ in range(100)]
    pods.append([compared(0, "b"), compared(1, "b", agreed=1)])
    found = window(*pods)
    assert found is not None
    assert found.counts.compared["a"].agreed == 100 * (MOST_SAMPLES - 1)
    assert names == ["a", "b"]
