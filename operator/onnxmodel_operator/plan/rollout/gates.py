"""Judge a new revision by its live traffic against the old one's over the same window."""

import math
from dataclasses import dataclass
from enum import StrEnum

from onnxmodel_operator.live.windows import Compared, Window
from onnxmodel_runtime.contract.text import plain

_LEAST_SECONDS = 10.0
_LEAST_TO_COMPARE = 100
"""Requests of the old revision below which its percentiles say nothing."""


@dataclass(frozen=True, slots=True)
class Gates:
    """Limits to what the new revision may do worse.

    max_error_percent: by how many percentage points more of its requests may fail than of the old one's.
    max_p99_regression_percent: by how much its p99 may be higher. min_requests: that it must have had.
    min_agreement_percent: of min_comparisons or more compared answers; None: none are compared.
    """

    max_error_percent: float = 1.0
    max_p99_regression_percent: float = 50.0
    min_requests: int = 500
    min_agreement_percent: float | None = None
    min_comparisons: int = 100


class Ruling(StrEnum):
    """Results of a gate. INCONCLUSIVE: too little is known, so nothing may follow from it."""

    PASS = "Pass"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A ruling, and its reason in one sentence with the numbers of both revisions. reason: of a failure, for machines."""

    ruling: Ruling
    sentence: str
    reason: str = "GateFailed"


def judge(gates: Gates, new: Window | None, old: Window | None, compared: Compared | None = None) -> Judgement:
    """Judge the new revision. The windows are of the same time; None where nothing is known of a revision.

    compared: its answers with those of the old one.
    """
    rulings = [_of_service(gates, new, old)]
    if gates.min_agreement_percent is not None:
        rulings.append(_of_answers(gates.min_agreement_percent, gates.min_comparisons, compared))
    return worst(*rulings)


def worst(*rulings: Judgement) -> Judgement:
    """Return the one that failed, else the one that is inconclusive, else all of them as one."""
    for worse in (Ruling.FAIL, Ruling.INCONCLUSIVE):
        if found := next((each for each in rulings if each.ruling is worse), None):
            return found
    return Judgement(Ruling.PASS, "; ".join(each.sentence for each in rulings))


def _of_answers(least: float, comparisons: int, compared: Compared | None) -> Judgement:
    """Judge how often both revisions answer alike. As with errors, some differences are too many for any number."""
    if compared is None:
        return _unclear(
            "the servers of the old revision compare no answers, as those of an earlier release or of Triton"
        )
    agreed, asked = _percent(compared.agreed, compared.all), compared.all + compared.failed
    missing = f"; to {compared.failed} requests the new revision gave no answer" if compared.failed else ""
    sentence = (
        f"{plain(agreed)} % of {compared.all} compared answers agree, and the largest difference is "
        f"{plain(compared.largest)}{missing}"
    )
    enough = compared.all >= comparisons or compared.differed > (100 - least) / 100 * comparisons
    if enough and agreed < least:
        return Judgement(Ruling.FAIL, f"{sentence}: minAgreementPercent is {plain(least)}", "AnswersDiffer")
    if not enough:
        return _unclear(f"{compared.all} answers were compared of the {comparisons} of minComparisons{missing}")
    # Those that are missing may be those that differ, or the network's fault: the rest says nothing of all.
    if _percent(compared.failed, asked) > 100 - least:
        return _unclear(f"{sentence}, too many of {asked}: minAgreementPercent is {plain(least)}")
    return Judgement(Ruling.PASS, sentence)


def _of_service(gates: Gates, new: Window | None, old: Window | None) -> Judgement:
    """Judge errors and latencies.

    Errors that no number of further requests could make up for fail at once: clients should not wait for the rest.
    """
    if new is None:
        return _unclear("the servers of the new revision report no metrics")
    errors = _percent(new.failures, new.requests)
    normal = _percent(old.failures, old.requests) if old else 0.0
    allowed = gates.max_error_percent + normal
    failing = f"{plain(errors)} % of {new.requests} requests to the new revision failed, {_of_old(old, normal)}"
    certain = new.failures > allowed / 100 * gates.min_requests
    if certain and errors > allowed:
        return Judgement(Ruling.FAIL, f"{failing}: maxErrorPercent is {plain(gates.max_error_percent)}")
    if new.requests < gates.min_requests:
        return _unclear(f"the new revision had {new.requests} requests of the {gates.min_requests} of minRequests")
    if new.seconds < _LEAST_SECONDS:
        return _unclear(f"the window has {plain(new.seconds)} s, fewer than {plain(_LEAST_SECONDS)} s")
    if errors > allowed:
        return Judgement(Ruling.FAIL, f"{failing}: maxErrorPercent is {plain(gates.max_error_percent)}")
    return _of_others(gates, new, old) or _of_latency(gates, new, old, failing)


def _of_others(gates: Gates, new: Window, old: Window | None) -> Judgement | None:
    """Pause where clients get much more refused, or give up much more often, than with the old revision.

    Their own mistakes and patience are no failure of a model, but both revisions have the same clients.
    """
    for what, count, before in (
        ("were refused as invalid", new.refused, old.refused if old else 0),
        ("were canceled by clients", new.canceled, old.canceled if old else 0),
    ):
        share = _percent(count, count + new.requests)
        normal = _percent(before, before + old.requests) if old else 0.0
        if share > normal + gates.max_error_percent:
            return _unclear(
                f"{plain(share)} % of the requests to the new revision {what}, {plain(normal)} % of those to the old one"
            )
    return None


def _of_latency(gates: Gates, new: Window, old: Window | None, failing: str) -> Judgement:
    if old is None or old.requests - old.failures < _LEAST_TO_COMPARE:
        requests = old.requests if old else 0
        return _unclear(
            f"the old revision had {requests} requests in the window, fewer than the {_LEAST_TO_COMPARE} that latencies "
            "are compared by"
        )
    kind, mine, others = "p99", new.p99, old.p99
    if mine is None or others is None:
        kind, mine, others = "mean latency", new.mean, old.mean
    if mine is None or others is None or not (_sane(mine) and _sane(others) and others > 0):
        return _unclear("the servers of the two revisions report no latencies that can be compared")
    more = (mine / others - 1) * 100
    sentence = f"{kind} of the new revision is {plain(mine)} ms, of the old one {plain(others)} ms"
    if more > gates.max_p99_regression_percent:
        limit = plain(gates.max_p99_regression_percent)
        return Judgement(Ruling.FAIL, f"{sentence} ({plain(more)} % more): maxP99RegressionPercent is {limit}")
    return Judgement(Ruling.PASS, f"{failing}; {sentence}")


def _unclear(sentence: str) -> Judgement:
    return Judgement(Ruling.INCONCLUSIVE, sentence)


def _of_old(old: Window | None, percent: float) -> str:
    return f"{plain(percent)} % of {old.requests} to the old one" if old else "of the old one nothing is known"


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _sane(milliseconds: float) -> bool:
    return math.isfinite(milliseconds) and milliseconds >= 0
