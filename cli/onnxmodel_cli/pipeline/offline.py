"""The objects that the operator makes in a model's life, without a cluster: its own decisions, with assumed results."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from onnxmodel_cli.pipeline.assumed import result
from onnxmodel_operator.api.resource import OnnxModel
from onnxmodel_operator.observe import JobSeen, Observed, RevisionSeen
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.plan import plan
from onnxmodel_operator.plan.values import Plan, Revision, State, Step
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.render import render
from onnxmodel_operator.status import summarize
from onnxmodel_runtime.contract.outcome import Outcome, encode

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_MOST = 40


class NotRenderedError(Exception):
    """The operator would refuse the model before it makes any object. The text says why."""


def objects(model: OnnxModel, settings: Settings) -> list[Mapping[str, Any]]:
    """Return each object, in the order in which it is made first. Raises NotRenderedError."""
    jobs: dict[tuple[str, str], JobSeen] = {}
    revisions: dict[str, RevisionSeen] = {}
    routed: str | None = None
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for _ in range(_MOST):
        seen = Observed("local", False, jobs, revisions, routed, {}, memory=read(model.status, "local"))
        decided = plan(model, seen, settings, _NOW)
        model = dataclasses.replace(model, status=summarize(model, seen, decided, _NOW))
        for manifest in render(model, decided, settings):
            found.setdefault((manifest["kind"], manifest["metadata"]["name"]), manifest)
        if decided.progress.state is State.STALLED:
            break
        step, revision = decided.job, decided.revision
        if step and (step.stage, step.digest) not in jobs:
            jobs[step.stage, step.digest] = _done(step)
            routed = decided.route
        elif revision and revision.short not in revisions:
            revisions[revision.short] = _available(revision)
        elif routed != decided.route:
            routed = decided.route
        else:
            break
    if not found or decided.progress.state is State.STALLED:
        raise NotRenderedError(_why(decided))
    return [_without_owner(each) for each in found.values()]


def _done(step: Step) -> JobSeen:
    outcome = Outcome(step.stage, 1.0, result(step))
    time = _NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    return JobSeen(
        name=step.job,
        stage=step.stage,
        digest=step.digest,
        state="Succeeded",
        start_time=time,
        completion_time=time,
        outcome=outcome,
        message=encode(outcome),
        ended=None,
        attempts=0,
        waiting=None,
        pods=1,
    )


def _available(revision: Revision) -> RevisionSeen:
    wanted, runtime = revision.replicas, "triton" if revision.triton else "onnxruntime"
    return RevisionSeen(revision.name, revision.short, wanted, wanted, wanted, True, False, None, None, runtime)


def _why(decided: Plan) -> str:
    trouble = decided.progress.trouble
    return f"{decided.progress.message}. {trouble.failure.hint}" if trouble else decided.progress.message


def _without_owner(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out the owner, which has a uid only in a cluster."""
    return {**manifest, "metadata": {k: v for k, v in manifest["metadata"].items() if k != "ownerReferences"}}
