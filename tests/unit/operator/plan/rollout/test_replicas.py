"""The load test begins when all replicas are available, and what it found stays true."""

from dataclasses import replace
from typing import Any

import pytest

from dev.results import loaded
from onnxmodel_operator.observe import RevisionSeen
from onnxmodel_operator.plan import stages
from onnxmodel_operator.plan.rollout import replicas
from onnxmodel_operator.plan.stages import loadtest
from onnxmodel_operator.plan.values import Advance, Comparison, Stop
from onnxmodel_runtime.contract.codec import as_data
from onnxmodel_runtime.contract.compare import CompareOrder
from onnxmodel_runtime.contract.stages import Stage
from tests.contexts import at, context, deployment, ended, job, stopped, succeeded

KNOWN = at(Stage.LOADTEST, context(serving={"replicas": 2}))
STEP = stopped(stages.look(loadtest)(KNOWN)).context.steps[-1]
LOOK = replicas.complete(stages.look(loadtest))
COMPLETE = deployment(KNOWN.target.short, wanted=2)
PARTLY = deployment(KNOWN.target.short, wanted=2, available=1)
SCALED = deployment(KNOWN.target.short, wanted=3)
RUNNING, FAILED = job(STEP), job(STEP, "Failed", ended=ended())
DONE = succeeded(STEP, loaded(as_data(STEP.request)))


def _look(revision: RevisionSeen, seen: Any) -> Advance | Stop:
    jobs = {**KNOWN.seen.jobs, **({("loadtest", STEP.digest): seen} if seen else {})}
    return LOOK(replace(KNOWN, seen=replace(KNOWN.seen, jobs=jobs, revisions={revision.revision: revision})))


@pytest.mark.parametrize(
    ("revision", "seen", "reason", "steps", "wanted"),
    [
        (PARTLY, None, "RollingOut", 0, False),
        (SCALED, None, "RollingOut", 0, False),
        (COMPLETE, None, "LoadTesting", 1, True),
        (COMPLETE, RUNNING, "LoadTesting", 1, True),
        (PARTLY, RUNNING, "RollingOut", 1, True),
        (PARTLY, FAILED, "Broken", 1, True),
        (COMPLETE, FAILED, "Broken", 1, True),
        (PARTLY, DONE, "RollingOut", 1, False),
    ],
)
def test_when_the_load_test_runs(revision: RevisionSeen, seen: Any, reason: str, steps: int, wanted: bool) -> None:
    stop = stopped(_look(revision, seen))
    added = len(stop.context.steps) - len(KNOWN.steps)
    assert (stop.progress.reason, added, stop.job is not None) == (reason, steps, wanted)


def test_what_was_measured_stays_while_a_pod_is_away() -> None:
    assert stopped(_look(PARTLY, DONE)).context.chosen.served is not None


def test_a_complete_revision_that_was_tested_goes_on() -> None:
    assert isinstance(_look(COMPLETE, DONE), Advance)


def test_a_revision_has_a_service_of_its_own_while_it_is_load_tested_or_compared() -> None:
    assert replicas.asked_alone(STEP, KNOWN.target, None) is KNOWN.target
    assert replicas.asked_alone(None, KNOWN.target, None) is None
    assert replicas.asked_alone(replace(STEP, stage=Stage.PROBE), KNOWN.target, None) is None
    comparison = Comparison("old", CompareOrder(KNOWN.target.short, 10))
    assert replicas.asked_alone(None, KNOWN.target, comparison) is KNOWN.target
