"""The list itself: where a model stops first, and what is planned where nothing is worked on."""

from dataclasses import replace
from typing import Any

import pytest

from onnxmodel_operator.api.resource import OnnxModel, SpecError
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan import invalid, plan
from onnxmodel_operator.plan.values import Kept, State
from onnxmodel_operator.platform.policy import PolicyError
from onnxmodel_runtime.contract.stages import Stage
from tests.builders import SETTINGS, START
from tests.contexts import at, context, deployment, model, observed, platform

RECORD: Any = {"kind": "Deployment"}
ACTIVE = {"active": {"revision": "old", "variant": "fp32", "sha256": "b" * 64, "time": "t"}}
SERVING = observed(status=ACTIVE, records={"old": RECORD}, revisions=(deployment("old", wanted=2),), routed="old")


def _plan(asked: OnnxModel, seen: Observed) -> Any:
    return plan(asked, seen, SETTINGS, START)


@pytest.mark.parametrize(
    ("changes", "state", "reason", "claim"),
    [
        ({"claim_uid": None}, State.RECONCILING, "CreatingVolume", True),
        ({"claim_uid": None, "claim_leaves": True}, State.STALLED, "VolumeDeleting", True),
        ({}, State.RECONCILING, "Validating", True),
    ],
)
def test_a_model_begins_with_its_volume(changes: Any, state: State, reason: str, claim: bool) -> None:
    decided = _plan(model(), replace(observed(), **changes))
    assert (decided.progress.state, decided.progress.reason, decided.claim) == (state, reason, claim)


@pytest.mark.parametrize("stage", list(Stage))
def test_each_stage_waits_for_those_before_it(stage: Stage) -> None:
    known = at(stage)
    decided = _plan(known.model, known.seen)
    assert [step.stage for step in decided.steps] == list(Stage)[: list(Stage).index(stage) + 1]
    assert decided.steps[-1].state == "Running"
    assert [step.state for step in decided.steps[:-1]] == ["Succeeded"] * (len(decided.steps) - 1)


def test_a_suspended_model_serves_on_with_the_replicas_of_its_spec() -> None:
    decided = _plan(model(suspend=True, serving={"replicas": 5}), SERVING)
    assert (decided.progress.state, decided.steps, decided.claim) == (State.SUSPENDED, (), False)
    assert (decided.route, decided.active, decided.kept) == ("old", "old", Kept(RECORD, 5))


@pytest.mark.parametrize(
    ("spec", "reason", "field"),
    [
        ({"serving": {"nodePool": "none"}}, "InvalidSpec", "spec.serving.nodePool"),
        ({"serving": {"gpus": 1}}, "InvalidSpec", "spec.serving.gpus"),
    ],
)
def test_a_spec_that_does_not_fit_the_platform_stops_there(spec: Any, reason: str, field: str) -> None:
    decided = _plan(model(**spec), SERVING)
    assert (decided.progress.state, decided.progress.reason) == (State.STALLED, reason)
    assert decided.progress.trouble.failure.field == field
    assert (decided.route, decided.prune, decided.job) == ("old", (), None)


@pytest.mark.parametrize(
    ("error", "reason", "hint"),
    [
        (SpecError([("spec.source", "is odd")]), "InvalidSpec", "Correct spec.source and apply again."),
        (
            PolicyError([("spec.source", "is odd")]),
            "PolicyViolation",
            "Change spec.source; the platform team sets these rules",
        ),
    ],
)
def test_whose_rule_it_is_decides_what_to_do(error: SpecError, reason: str, hint: str) -> None:
    trouble = invalid(model(), SERVING, SETTINGS, START, error).progress.trouble
    assert trouble is not None
    assert trouble.failure.reason == reason
    assert trouble.failure.hint.startswith(hint)


def test_what_serves_is_kept_until_its_successor_is_proven() -> None:
    known = at(Stage.LOADTEST, context(SERVING))
    decided = _plan(known.model, known.seen)
    assert (decided.active, decided.route, decided.kept) == ("old", "old", Kept(RECORD, 1))
    assert decided.revision is not None
    assert decided.revision.short != "old"


def test_policy_is_the_platforms() -> None:
    settings = platform(policy=SETTINGS.policy.model_copy(update={"min_opset": 99}))
    decided = plan(model(), SERVING, settings, START)
    assert decided.progress.reason == "PolicyViolation"
