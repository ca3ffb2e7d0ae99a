"""Each gate passes, fails or says that too little is known, with the numbers of both revisions."""

from typing import Any

import pytest

from onnxmodel_operator.live.windows import Compared, Window
from onnxmodel_operator.plan.rollout.gates import Gates, Ruling, judge

GATES = Gates(max_error_percent=1, max_p99_regression_percent=20, min_requests=500)


def window(requests: int = 1000, failures: int = 0, p99: float | None = 10.0, **fields: Any) -> Window:
    return Window(**{"seconds": 60.0, "p50": 5.0, "mean": 6.0, **fields}, requests=requests, failures=failures, p99=p99)


OLD = window(10_000)
NAN = float("nan")


@pytest.mark.parametrize(
    ("new", "old", "ruling", "words"),
    [
        (window(), OLD, Ruling.PASS, "p99 of the new revision is 10 ms, of the old one 10 ms"),
        (window(p99=12.0), OLD, Ruling.PASS, "12 ms, of the old one 10 ms"),
        (window(p99=12.5), OLD, Ruling.FAIL, "12.5 ms, of the old one 10 ms (25 % more)"),
        (window(p99=1.0), OLD, Ruling.PASS, "1 ms, of the old one 10 ms"),
        (window(failures=10), OLD, Ruling.PASS, "1 % of 1000 requests to the new revision failed"),
        (window(failures=11), OLD, Ruling.FAIL, "1.1 % of 1000 requests to the new revision failed, 0 % of 10000"),
        # The old one fails as often: the new revision is not the cause.
        (window(failures=50), window(10_000, 450), Ruling.PASS, "5 % of 1000 requests to the new revision failed, 4.5 %"),
        (window(failures=60), window(10_000, 450), Ruling.FAIL, "6 % of 1000 requests to the new revision failed, 4.5 %"),
        # Nobody waits for 500 requests where all fail.
        (window(10, 10), OLD, Ruling.FAIL, "100 % of 10 requests"),
        (window(6, 6), None, Ruling.FAIL, "of the old one nothing is known"),
        (window(5, 5), OLD, Ruling.INCONCLUSIVE, "5 requests of the 500 of minRequests"),
        (window(499), OLD, Ruling.INCONCLUSIVE, "499 requests of the 500 of minRequests"),
        (window(0, p99=None, mean=None), OLD, Ruling.INCONCLUSIVE, "0 requests of the 500"),
        (None, OLD, Ruling.INCONCLUSIVE, "the servers of the new revision report no metrics"),
        (None, None, Ruling.INCONCLUSIVE, "the servers of the new revision report no metrics"),
        (window(), None, Ruling.INCONCLUSIVE, "the old revision had 0 requests"),
        (window(), window(99), Ruling.INCONCLUSIVE, "the old revision had 99 requests"),
        (window(seconds=9.9), OLD, Ruling.INCONCLUSIVE, "9.9 s"),
        (window(seconds=0.0), OLD, Ruling.INCONCLUSIVE, "0 s"),
        (window(p99=NAN), OLD, Ruling.INCONCLUSIVE, "no latencies that can be compared"),
        (window(), window(10_000, p99=NAN), Ruling.INCONCLUSIVE, "no latencies that can be compared"),
        (window(p99=float("inf")), OLD, Ruling.INCONCLUSIVE, "no latencies that can be compared"),
        (window(), window(10_000, p99=0.0), Ruling.INCONCLUSIVE, "no latencies that can be compared"),
        # Triton has no histogram: the means of both are compared.
        (window(p99=None), OLD, Ruling.PASS, "mean latency of the new revision is 6 ms, of the old one 6 ms"),
        (window(mean=9.0), window(10_000, p99=None), Ruling.FAIL, "mean latency of the new revision is 9 ms"),
        (window(p99=None, mean=None), OLD, Ruling.INCONCLUSIVE, "no latencies that can be compared"),
        # Mistakes of clients are not the model's, unless it makes them where the old one did not.
        (window(refused=100), window(10_000, refused=1000), Ruling.PASS, "0 % of 1000 requests"),
        (window(refused=100), OLD, Ruling.INCONCLUSIVE, "9.091 % of the requests to the new revision were refused"),
        (window(canceled=100), OLD, Ruling.INCONCLUSIVE, "were canceled by clients, 0 % of those to the old one"),
    ],
)  # fmt: skip
def test_the_new_revision_is_judged_by_the_old_one(
    new: Window | None, old: Window | None, ruling: Ruling, words: str
) -> None:
    found = judge(GATES, new, old)
    assert (found.ruling, words in found.sentence) == (ruling, True), found.sentence


def test_the_limits_are_the_gates_own() -> None:
    slower = window(p99=14.0)
    assert judge(Gates(), slower, OLD).ruling is Ruling.PASS
    assert judge(Gates(max_p99_regression_percent=30), slower, OLD).ruling is Ruling.FAIL
    assert judge(Gates(min_requests=1), window(1), OLD).ruling is Ruling.PASS
    assert judge(Gates(max_error_percent=0), window(10_000, 1), OLD).ruling is Ruling.FAIL


COMPARED = Gates(min_agreement_percent=99, min_comparisons=100)


@pytest.mark.parametrize(
    ("compared", "ruling", "words"),
    [
        (Compared(100), Ruling.PASS, "the old one 10 ms; 100 % of 100 compared answers agree"),
        (Compared(99, 1, largest=0.25), Ruling.PASS, "99 % of 100 compared answers agree, and the largest difference is 0.25"),
        (Compared(98, 2, largest=7.5), Ruling.FAIL, "98 % of 100 compared answers agree, and the largest difference is 7.5: min"),
        (Compared(990, 11), Ruling.FAIL, "98.9 % of 1001 compared answers agree"),
        (Compared(99), Ruling.INCONCLUSIVE, "99 answers were compared of the 100 of minComparisons"),
        (Compared(98, 1), Ruling.INCONCLUSIVE, "99 answers were compared of the 100 of minComparisons"),
        # Two in a hundred are too many: nobody waits for the rest.
        (Compared(0, 2), Ruling.FAIL, "0 % of 2 compared answers agree"),
        (Compared(0, 0, failed=7), Ruling.INCONCLUSIVE, "0 answers were compared of the 100 of minComparisons; to 7 requests"),
        # The few answers that there are say nothing of the many that there are not.
        (Compared(100, failed=9900), Ruling.INCONCLUSIVE, "to 9900 requests the new revision gave no answer, too many of 10000"),
        (Compared(198, failed=3), Ruling.INCONCLUSIVE, "to 3 requests the new revision gave no answer, too many of 201"),
        (Compared(198, failed=2), Ruling.PASS, "largest difference is 0; to 2 requests the new revision gave no answer"),
        (Compared(0, 2, failed=98), Ruling.FAIL, "to 98 requests the new revision gave no answer: minAgreementPercent is 99"),
        (None, Ruling.INCONCLUSIVE, "the servers of the old revision compare no answers"),
    ],
)  # fmt: skip
def test_answers_that_differ_are_a_failed_gate(compared: Compared | None, ruling: Ruling, words: str) -> None:
    found = judge(COMPARED, window(), OLD, compared)
    assert (found.ruling, words in found.sentence) == (ruling, True), found.sentence
    assert found.reason == ("AnswersDiffer" if ruling is Ruling.FAIL else "GateFailed")


def test_a_failure_counts_more_than_what_is_not_known() -> None:
    assert judge(COMPARED, None, None, Compared(0, 2)).reason == "AnswersDiffer"
    assert judge(COMPARED, window(failures=100), OLD, None).ruling is Ruling.FAIL
    assert judge(COMPARED, window(failures=100), OLD, Compared(0, 2)).reason == "GateFailed"
    assert judge(COMPARED, window(1), OLD, Compared(100)).ruling is Ruling.INCONCLUSIVE


def test_nobody_compares_unless_asked_to() -> None:
    assert judge(Gates(), window(), OLD, Compared(0, 100)).ruling is Ruling.PASS
