"""How far a Job or a rollout is: each state that can be seen, and what is said and wanted then."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dev.results import validated
from onnxmodel_operator.observe import JobSeen, Waiting
from onnxmodel_operator.plan import progress
from onnxmodel_operator.plan.values import State, Step
from onnxmodel_runtime.contract.outcome import Failure
from onnxmodel_runtime.contract.stages import STAGES, Stage
from tests.builders import START
from tests.contexts import at, context, deployment, ended, job, observed, succeeded, walk

STEP = walk(context()).context.steps[0]
AGAIN = f"To run the stage again: kubectl -n team-a delete job {STEP.job}"
COMMANDS = (f"Log: kubectl -n team-a logs job/{STEP.job} --all-containers", AGAIN)


def waits(seconds: float, reason: str = "NoNode", **fields: Any) -> Waiting:
    """A pod that has waited for so long."""
    return Waiting(Failure(reason, "it waits", "Wait."), START - timedelta(seconds=seconds), **fields)


DONE = succeeded(STEP, validated())
ROWS: list[tuple[str, JobSeen | None, str | None, State, str, str, bool]] = [
    ("no Job yet", None, None, State.RECONCILING, "Validating", f"Job {STEP.job} is being created", True),
    ("it runs", job(STEP), None, State.RECONCILING, "Validating", f"Job {STEP.job} is running", True),
    ("an attempt failed", job(STEP, ended=ended(terminal=False), attempts=2), None, State.RECONCILING, "ProgressingWithRetry",
     "attempt 2 failed and is retried: it broke", True),
    ("a sidecar keeps it", job(STEP, ended=ended(terminal=False), attempts=1, kept_alive_by="proxy"), None, State.RECONCILING,
     "ProgressingWithRetry", ("attempt 1 failed and is retried once its pod has ended, but container proxy, which does not "
      "belong to the operator, keeps that running: it broke"), True),
    ("it failed", job(STEP, "Failed", ended=ended()), None, State.STALLED, "Broken", "it broke", True),
    ("its pod failed for good", job(STEP, ended=ended()), None, State.STALLED, "Broken", "it broke", True),
    ("it succeeded with what is wrong", DONE, "it is odd", State.STALLED, "ResultInvalid",
     f"Job {STEP.job} succeeded with a result that cannot be used: it is odd", False),
    ("its message cannot be read", replace(DONE, outcome=None, message=None), None, State.STALLED, "ResultInvalid",
     f"Job {STEP.job} succeeded with a result that cannot be used: its termination message cannot be read", False),
    ("its pod is gone", replace(DONE, outcome=None, message=None, pods=0), None, State.RECONCILING, "ResultLost",
     f"Job {STEP.job} succeeded, but its pod was gone before its result was read: it runs again", False),
    ("it has waited shortly", job(STEP, waiting=waits(5, normal_seconds=10)), None, State.RECONCILING, "Validating",
     f"Job {STEP.job} is running", True),
    ("it has waited", job(STEP, waiting=waits(30)), None, State.RECONCILING, "NoNode", "it waits", True),
    ("it has waited for too long", job(STEP, waiting=waits(600)), None, State.STALLED, "NoNode", "it waits", True),
    ("it waits for its turn", job(STEP, waiting=waits(9999, queued=True)), None, State.RECONCILING, "NoNode", "it waits", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "wrong", "state", "reason", "message", "wanted"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_how_far_a_job_is(
    seen: JobSeen | None, wrong: str | None, state: State, reason: str, message: str, wanted: bool
) -> None:
    stop = progress.of_job(context(), replace(STEP, seen=seen), wrong)
    assert (stop.progress.state, stop.progress.reason, stop.progress.message) == (state, reason, message)
    assert stop.progress.phase == ("Failed" if state is State.STALLED else "Validating")
    assert (stop.job is not None) == wanted
    assert bool(stop.superfluous) == (reason == "ResultLost")


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("asks", [True, False])
def test_the_servers_log_is_named_where_the_table_says_that_the_stage_asks_it(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, asks: bool
) -> None:
    known = replace(at(Stage.PROBE), steps=())
    reached = walk(known).context
    step = next(step for step in reached.steps if step.stage is stage)
    monkeypatch.setattr(progress, "STAGES", {stage: replace(STAGES[stage], ports=("http_port",) * asks)})
    stop = progress.of_job(reached, replace(step, seen=job(step, "Failed", ended=ended())))
    assert stop.progress.trouble is not None
    assert ("; the server's: " in stop.progress.trouble.commands[0]) == asks


@pytest.mark.parametrize(
    ("waiting", "again"),
    [
        (waits(4, normal_seconds=10), 6.0),
        (waits(30), 570.0),
        (waits(30, about="uid"), 60.0),
        (waits(590, about="uid"), 10.0),
        (waits(600), None),
        (waits(30, queued=True), 30.0),
    ],
)
def test_what_waits_is_looked_at_again(waiting: Waiting, again: float | None) -> None:
    assert progress.of_job(context(), replace(STEP, seen=job(STEP, waiting=waiting))).again == again


FAILED = job(STEP, "Failed", ended=ended())
LAST = {"stage": "validate", "reason": "Told", "message": "as told", "hint": "Do this. Log: its own words. Log: old"}
TOLD = {"phase": "Failed", "lastFailure": {**LAST, "job": STEP.job, "time": "t"}}


@pytest.mark.parametrize(
    ("seen", "status", "doubted"),
    [
        (FAILED, {}, True),
        (FAILED, {**TOLD, "phase": "Validating"}, True),
        (FAILED, TOLD, False),
        (replace(DONE, outcome=None), {}, True),
        (DONE, {}, False),
        (job(STEP), {}, False),
    ],
)
def test_what_the_cache_may_lack_is_doubted(seen: JobSeen, status: dict[str, Any], doubted: bool) -> None:
    stop = progress.of_job(context(observed(status=status)), replace(STEP, seen=seen))
    assert stop.doubts == ({STEP.job} if doubted else set())


@pytest.mark.parametrize(
    ("pods", "phase", "reason", "hint", "commands"),
    [
        (1, "Failed", "Broken", "Mend it.", COMMANDS),
        (0, "Failed", "Told", LAST["hint"], ()),  # they are in the hint
        (0, "Validating", "Told", LAST["hint"], COMMANDS),  # an attempt that was retried had none
    ],
)
def test_status_remembers_why_a_job_failed_whose_pod_is_gone(
    pods: int, phase: str, reason: str, hint: str, commands: tuple[str, ...]
) -> None:
    known = context(observed(status={**TOLD, "phase": phase}))
    stop = progress.of_job(known, replace(STEP, seen=replace(FAILED, pods=pods)))
    trouble = stop.progress.trouble
    assert trouble is not None
    assert (trouble.failure.reason, trouble.failure.hint, trouble.job) == (reason, hint, STEP.job)
    assert trouble.commands == commands


def test_the_hint_of_a_stage_that_asks_a_server_names_its_log_too() -> None:
    known = at(Stage.LOADTEST)
    step = replace(STEP, stage=Stage.LOADTEST, seen=job(STEP, "Failed", ended=ended()))
    trouble = progress.of_job(known, step).progress.trouble
    assert trouble is not None
    server = f"; the server's: kubectl -n team-a logs deployment/{known.target.name} --all-containers"
    assert trouble.commands[0].endswith(server)


@pytest.mark.parametrize(
    ("fields", "state", "reason", "message"),
    [
        ({}, State.RECONCILING, "RollingOut", "{base}"),
        ({"overdue": True}, State.STALLED, "ProgressDeadlineExceeded", "{base}"),
        ({"ended": ended()}, State.STALLED, "Broken", "it broke"),
        ({"ended": ended(), "available": 1}, State.RECONCILING, "ProgressingWithRetry", "{base}; it broke"),
        ({"ended": ended(terminal=False)}, State.RECONCILING, "ProgressingWithRetry", "{base}; it broke"),
        ({"ended": ended(terminal=False), "overdue": True}, State.STALLED, "Broken", "it broke"),
        ({"waiting": waits(30)}, State.RECONCILING, "NoNode", "it waits"),
        ({"waiting": waits(5, normal_seconds=10)}, State.RECONCILING, "Deploying", "the server's pods are starting"),
        ({"waiting": waits(600)}, State.STALLED, "NoNode", "it waits"),
    ],
)
def test_how_far_a_rollout_is(fields: dict[str, Any], state: State, reason: str, message: str) -> None:
    known = at(Stage.LOADTEST, context(serving={"replicas": 2}))
    seen = deployment(known.target.short, **{"wanted": 2, "available": 0, **fields})
    found = progress.of_rollout(known, seen).progress
    base = f"{seen.available} of 2 replicas of revision {seen.revision} are available"
    assert (found.state, found.reason, found.message) == (state, reason, message.format(base=base))


def test_a_step_is_as_far_as_its_job() -> None:
    assert isinstance(STEP, Step)
    states = [None, job(STEP), job(STEP, ended=ended()), job(STEP, "Failed", ended=ended())]
    assert [replace(STEP, seen=seen).state for seen in states] == ["Running", "Running", "Failed", "Failed"]
    assert replace(STEP, seen=FAILED, outcome=DONE.outcome).state == "Succeeded"
