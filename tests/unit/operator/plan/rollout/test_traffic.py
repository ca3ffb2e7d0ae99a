"""Who takes traffic: before anything is proven, while the probe asks, and at the end."""

from dataclasses import replace
from typing import Any

import pytest

from dev.results import probed
from onnxmodel_operator.observe import JobSeen
from onnxmodel_operator.plan import stages
from onnxmodel_operator.plan.rollout import traffic
from onnxmodel_operator.plan.stages import probe
from onnxmodel_operator.plan.values import Advance, State, Step
from onnxmodel_runtime.contract.stages import Stage
from tests.contexts import at, context, deployment, ended, job, model, observed, stopped, succeeded

LOOK = traffic.switched(stages.look(probe))
STEP = Step(Stage.PROBE, "d", "magika-probe-d", None, context().platform.client)
WRONG = job(STEP, "Failed", ended=ended("ProbeMismatch"))
DEAF = job(STEP, "Failed", ended=ended("ProbeUnreachable"))
OLD, NEW = deployment("old"), deployment("new")
OLD_DOWN, NEW_DOWN = deployment("old", available=0), deployment("new", available=0)


def _remembered(reason: str) -> dict[str, Any]:
    return {
        "lastFailure": {"stage": "probe", "reason": reason, "message": "m", "hint": "h", "job": STEP.job, "time": "t"}
    }


@pytest.mark.parametrize(
    ("revisions", "routed", "jobs", "status", "replicas", "taken_by"),
    [
        ((OLD, NEW), "old", (), {}, 1, "old"),
        ((OLD, NEW), "new", (), {}, 1, "old"),
        ((OLD_DOWN, NEW), "new", (), {}, 1, "new"),
        ((OLD_DOWN, NEW), "old", (), {}, 1, "old"),
        ((OLD_DOWN, NEW_DOWN), "new", (), {}, 1, "old"),
        ((OLD_DOWN, NEW), "new", (), {}, 0, "old"),
        ((OLD_DOWN, NEW), "new", (DEAF,), {}, 1, "new"),
        ((OLD_DOWN, NEW), "new", (WRONG,), {}, 1, "old"),
        ((OLD_DOWN, NEW), "new", (replace(DEAF, pods=0),), _remembered("ProbeRefused"), 1, "old"),
        ((OLD_DOWN, NEW), "new", (replace(WRONG, pods=0),), _remembered("ProbeUnreachable"), 1, "new"),
    ],
)
def test_before_the_newest_spec_is_proven(
    revisions: Any, routed: str, jobs: tuple[JobSeen, ...], status: Any, replicas: int, taken_by: str
) -> None:
    seen = observed(*jobs, revisions=revisions, routed=routed, status=status)
    assert traffic.before(model(serving={"replicas": replicas}), seen, "old") == ((taken_by, 100),)


def test_before_anything_is_proven() -> None:
    assert traffic.before(model(), observed(revisions=(NEW,), routed="new"), None) == ()


KNOWN = at(Stage.PROBE)
TARGET = KNOWN.target.short
THE_STEP = stopped(stages.look(probe)(KNOWN)).context.steps[-1]


def _look(seen: JobSeen | None, routed: str | None, before: str | None) -> Any:
    jobs = {**KNOWN.seen.jobs, **({("probe", THE_STEP.digest): seen} if seen else {})}
    observed = replace(KNOWN.seen, jobs=jobs, routed=routed)
    return LOOK(replace(KNOWN, seen=observed, traffic=traffic.to(before)))


@pytest.mark.parametrize("before", [None, "old", TARGET])
def test_the_service_is_switched_before_the_probe_asks(before: str | None) -> None:
    stop = stopped(_look(None, before, before))
    assert stop.context.traffic == traffic.to(TARGET)
    if before == TARGET:
        assert stop.job is not None
        assert stop.progress.reason == "Probing"
    else:
        assert stop.job is None
        assert stop.progress.message == f"Service magika is being switched to revision {TARGET}"


FAILURES = {"wrong": ended("ProbeMismatch"), "deaf": ended("ProbeUnreachable")}


@pytest.mark.parametrize(
    ("failure", "routed", "before", "taken_by", "reason"),
    [
        ("wrong", TARGET, "old", "old", "Switching"),
        ("deaf", TARGET, "old", "old", "Switching"),
        ("wrong", "old", "old", "old", "ProbeMismatch"),
        ("wrong", TARGET, None, None, "ProbeMismatch"),
        ("deaf", TARGET, None, None, "ProbeUnreachable"),
        ("wrong", TARGET, TARGET, None, "ProbeMismatch"),
        ("deaf", TARGET, TARGET, TARGET, "ProbeUnreachable"),
    ],
)
def test_a_probe_that_fails(failure: str, routed: str, before: str | None, taken_by: str | None, reason: str) -> None:
    stop = stopped(_look(job(THE_STEP, "Failed", ended=FAILURES[failure]), routed, before))
    assert (stop.context.traffic, stop.progress.reason) == (traffic.to(taken_by), reason)
    assert stop.superfluous == ((("Service", "magika"),) if taken_by is None else ())


def test_a_probe_that_has_yet_to_ask_asks_the_new_revision() -> None:
    stop = stopped(_look(job(THE_STEP), TARGET, "old"))
    assert (stop.context.traffic, stop.job is not None) == (traffic.to(TARGET), True)


def test_a_right_answer_gives_the_traffic_to_the_new_revision() -> None:
    found = _look(succeeded(THE_STEP, probed()), TARGET, "old")
    assert isinstance(found, Advance)
    assert found.context.traffic == traffic.to(TARGET)


@pytest.mark.parametrize(
    ("routed", "state"), [(TARGET, State.READY), ("old", State.RECONCILING), (None, State.RECONCILING)]
)
def test_the_end_is_reached_once_the_service_points_to_the_revision(routed: str | None, state: State) -> None:
    stop = traffic.arrived(replace(KNOWN, seen=replace(KNOWN.seen, routed=routed)))
    assert stop.progress.state is state
    sentence = KNOWN.chosen.sentence if state is State.READY else f"Service magika is being switched to {TARGET}"
    assert stop.progress.message == sentence


def test_a_ready_model_says_which_constraints_it_misses() -> None:
    winner = replace(KNOWN.chosen.winner, missed=("p99 is high", "p50 too"))
    known = replace(KNOWN, choice=replace(KNOWN.chosen, winner=winner), seen=replace(KNOWN.seen, routed=TARGET))
    assert traffic.arrived(known).progress.message == f"{KNOWN.chosen.sentence} (misses: p99 is high; p50 too)"
