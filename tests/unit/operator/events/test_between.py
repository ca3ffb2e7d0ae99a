"""Events between two statuses, where a life does not get to them easily."""

import re
from pathlib import Path

import pytest

from onnxmodel_operator.api.status import OnnxModelStatus
from onnxmodel_operator.events import between
from onnxmodel_operator.events.stages import runs_ended

TIME = "2026-01-01T00:00:00Z"


def condition(kind, status="True", reason="R", message="m"):
    return {
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": TIME,
        "observedGeneration": 1,
    }  # fmt: skip


def status(*conditions, **fields):
    data = {"observedGeneration": 1, "phase": "Ready", "message": "m", "conditions": list(conditions), **fields}
    return OnnxModelStatus.model_validate(data)


def stage(state="Running", digest="d", start=TIME, **fields):
    return {"name": "validate", "digest": digest, "state": state, "job": "j", "startTime": start, **fields}


def told(before, after):
    return [(event.reason, event.warning) for event in between(before, after)]


READY = condition("Ready")
FAILURE = {"stage": "validate", "reason": "Unschedulable", "message": "0/3 nodes", "hint": "Add a node.", "time": TIME}


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (status(), status(), []),
        (OnnxModelStatus(observed_generation=-1), status(stages=[stage()]), [("StageStarted", False)]),
        (status(), status(stages=[stage(start=None)]), []),
        (status(stages=[stage(start=None)]), status(stages=[stage()]), [("StageStarted", False)]),
        (status(stages=[stage()]), status(stages=[stage()]), []),
        (status(stages=[stage("Failed")]), status(stages=[stage(start="2026-01-01T00:01:00Z")]), [("StageStarted", False)]),
        (status(), status(stages=[stage("Succeeded")]), [("StageSucceeded", False)]),
        (status(stages=[stage("Succeeded"), stage("Succeeded", "e")]), status(stages=[stage("Succeeded", "e")]), []),
        (status(), status(lastFailure=FAILURE), [("Unschedulable", True)]),
        (status(lastFailure=FAILURE), status(lastFailure={**FAILURE, "message": "0/5 nodes"}), []),
        (status(lastFailure=FAILURE), status(condition("Stalled"), lastFailure=FAILURE), [("Unschedulable", True)]),
        (status(lastFailure=FAILURE), status(), []),
        (status(condition("Stalled")), status(), [("Recovered", False)]),
        (status(condition("Stalled")), status(READY), [("Ready", False)]),
        (status(condition("Stalled")), status(observedGeneration=2), []),
        (status(READY), status(), [("NotReady", True)]),
        (status(READY), status(condition("Available")), [("NotReady", False)]),
        (status(READY), status(observedGeneration=2), []),
        (status(READY), status(READY, phase="ScaledToZero"), [("ScaledToZero", False)]),
        (status(READY), status(READY, condition("Degraded", reason="SlowerThanProven")), [("SlowerThanProven", True)]),
        (status(READY, condition("Degraded")), status(READY), [("AsFastAsProven", False)]),
        (status(), status(upgrade={"state": "Running", "message": "m"}), [("UpgradeStarted", False)]),
        (status(), status(condition("RouteAccepted", "False", "RouteNotAccepted")), [("RouteNotAccepted", True)]),
        (status(), status(condition("ScalingReady", "False", "TurnedOff"), phase="TurnedOff"), [("TurnedOff", False)]),
        (
            status(),
            status(rollout={"revision": "r", "strategy": "Recreate", "why": "no room", "since": TIME}),
            [("RoomMade", False)],
        ),
    ],
)  # fmt: skip
def test_what_is_told(before, after, events):
    assert told(before, after) == events


LATER, LAST = "2026-01-01T00:01:30Z", "2026-01-01T00:05:00Z"


@pytest.mark.parametrize(
    ("before", "after", "runs"),
    [
        ([], [stage()], []),
        ([stage()], [stage("Succeeded", completionTime=LATER)], [("validate", "Succeeded", 90)]),
        ([], [stage("Failed", completionTime=LATER)], [("validate", "Failed", 90)]),
        ([stage("Succeeded", completionTime=LATER)], [stage("Succeeded", completionTime=LATER)], []),
        ([stage("Failed", completionTime=LATER)], [stage(start=LATER)], []),
        (
            [stage("Failed", completionTime=LATER)],
            [stage("Failed", start=LATER, completionTime=LAST)],
            [("validate", "Failed", 210)],
        ),
        (
            [stage("Succeeded", completionTime=LATER)],
            [stage("Succeeded", "e", completionTime=LAST), stage("Succeeded", completionTime=LATER)],
            [("validate", "Succeeded", 300)],
        ),
        ([stage()], [stage("Succeeded")], []),
        ([stage(start=None)], [stage("Succeeded", start=None, completionTime=LATER)], []),
        ([stage(start=LATER)], [stage("Succeeded", start=LATER, completionTime=TIME)], [("validate", "Succeeded", 0)]),
    ],
    ids=["runs", "succeeded", "failed", "known", "again", "failed-again", "of-another-spec", "no-end", "no-start", "skew"],
)  # fmt: skip
def test_each_run_of_a_stage_ends_once(before, after, runs):
    assert runs_ended(status(stages=before), status(stages=after)) == runs


def test_each_reason_is_in_the_documentation():
    root = Path(__file__).parents[4]
    source = "".join(path.read_text() for path in sorted((root / "operator/onnxmodel_operator/events").glob("*.py")))
    reasons = set(re.findall(r'"([A-Z][a-z]+(?:[A-Z][a-z]+)+)"', source)) | {
        "Ready",
        "Recovered",
        "Suspended",
        "Resumed",
    }
    reasons -= {"RouteAccepted", "ScalingReady"}  # conditions
    page = (root / "docs/status.md").read_text().partition("## Events")[2].partition("## Columns")[0]
    assert len(reasons) > 12
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()


def test_a_note_is_one_line():
    (event,) = between(status(), status(lastFailure={**FAILURE, "message": "cannot reach\nthe host"}))
    assert event.note == "cannot reach the host. Add a node."


def test_a_note_fits_into_an_event():
    long = {**FAILURE, "message": "x" * 2048}
    (event,) = between(status(), status(lastFailure=long))
    assert len(event.note) == 1024
    assert event.note.endswith("…")
