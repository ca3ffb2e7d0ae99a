"""Builders of what a plan is decided from: contexts, Jobs and Deployments as they were observed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dev.results import benchmarked, loaded, optimized, probed, validated
from onnxmodel_operator.api.resource import OnnxModel, parse
from onnxmodel_operator.observe import Ended, JobSeen, Observed, RevisionSeen
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.plan import LOOKS
from onnxmodel_operator.plan.rollout import traffic
from onnxmodel_operator.plan.rollout.active import active_revision
from onnxmodel_operator.plan.values import Advance, Context, Step, Stop
from onnxmodel_operator.platform.resolve import resolve
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_runtime.contract.codec import as_data
from onnxmodel_runtime.contract.outcome import Failure, Outcome, encode
from onnxmodel_runtime.contract.stages import Result, Stage
from tests.builders import SETTINGS, START, body


def model(**spec: Any) -> OnnxModel:
    """A model with these fields of the spec besides the source."""
    return parse(body(**spec))


def platform(**changes: Any) -> Settings:
    """The settings of tests with other fields, by their names in Python."""
    return SETTINGS.model_copy(update=changes)


def observed(
    *jobs: JobSeen,
    revisions: tuple[RevisionSeen, ...] = (),
    status: Mapping[str, Any] | None = None,
    live: tuple[tuple[str, str], ...] = (),
    **fields: Any,
) -> Observed:
    """A model with a volume, and nothing else that is not named. live: children by kind and name."""
    given: dict[str, Any] = {"claim_uid": "uid-claim", "claim_leaves": False, "routed": None, **fields}
    return Observed(
        jobs={(job.stage, job.digest): job for job in jobs},
        revisions={revision.revision: revision for revision in revisions},
        live={child: _pods() for child in live},
        memory=read(status or {}),
        **given,
    )


def _pods() -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": []}}}}


def context(seen: Observed | None = None, settings: Settings = SETTINGS, **spec: Any) -> Context:
    """The beginning of a decision."""
    asked, seen = model(**spec), seen or observed()
    active = active_revision(seen)
    before = traffic.before(asked, seen, active)
    return Context(asked, seen, settings, resolve(asked, settings), START, active, before)


def job(step: Step, state: str = "Running", **fields: Any) -> JobSeen:
    """The Job of a step, with one pod."""
    given = {
        "name": step.job,
        "stage": step.stage,
        "digest": step.digest,
        "state": state,
        "start_time": None,
        "completion_time": None,
        "outcome": None,
        "message": None,
        "ended": None,
        "attempts": 0,
        "waiting": None,
        "pods": 1,
    }
    return JobSeen(**{**given, **fields})


def succeeded(step: Step, result: Result, **fields: Any) -> JobSeen:
    """The Job of a step, which ended well."""
    outcome = Outcome(step.stage, 1.5, result)
    return job(step, "Succeeded", outcome=outcome, message=encode(outcome), **fields)


def ended(reason: str = "Broken", *, terminal: bool = True, code: int = 10) -> Ended:
    """How a container ended that failed."""
    return Ended(Failure(reason, "it broke", "Mend it."), code, "2026-01-01T00:00:00Z", terminal)


def deployment(revision: str, *, wanted: int = 1, available: int | None = None, **fields: Any) -> RevisionSeen:
    """The Deployment of a revision, complete unless fewer replicas are available."""
    there = wanted if available is None else available
    given = {"complete": there == wanted, "overdue": False, "ended": None, "waiting": None}
    return RevisionSeen(f"magika-{revision}", revision, wanted, there, there, **{**given, **fields})


def at(stage: Stage, start: Context | None = None, **results: Result) -> Context:
    """A context as the look at this stage finds it: the stages before succeeded, with these results by their names.

    A Deployment of the revision is complete once there is one.
    """
    known = start or context()
    while True:
        stop = walk(known)
        last = stop.context.steps[-1] if stop.context.steps else None
        if last and last.stage is stage and not last.outcome:
            return replace(stop.context, steps=stop.context.steps[:-1], traffic=known.traffic)
        if last and not last.outcome:
            answer = results.get(last.stage) or good(last)
            seen = {**known.seen.jobs, (last.stage, last.digest): succeeded(last, answer)}
            known = replace(known, seen=replace(known.seen, jobs=seen))
        else:
            target = stop.context.target
            there = {**known.seen.revisions, target.short: deployment(target.short, wanted=target.replicas)}
            known = replace(known, seen=replace(known.seen, revisions=there))


def walk(start: Context) -> Stop:
    """The first look that stops."""
    known = start
    for look in LOOKS:
        found = look(known)
        if isinstance(found, Stop):
            return found
        known = found.context
    return traffic.arrived(known)


def good(step: Step) -> Result:
    """What a healthy run of the stage gives."""
    match step.stage:
        case Stage.VALIDATE:
            return validated()
        case Stage.OPTIMIZE:
            return optimized(step.request.directory)
        case Stage.BENCHMARK:
            return benchmarked(grid=tuple((b, c) for b in step.request.batch_sizes for c in step.request.concurrency))
        case Stage.LOADTEST:
            return loaded(as_data(step.request))
        case Stage.PROBE:
            return probed()
        case _:
            raise NotImplementedError(f"no result of a healthy {step.stage}; add one to dev/results.py")


def advanced(found: Advance | Stop) -> Context:
    """The context of a look that advanced."""
    assert isinstance(found, Advance), found.progress.message
    return found.context


def stopped(found: Advance | Stop) -> Stop:
    """A look that stopped."""
    assert isinstance(found, Stop), "it advanced"
    return found
