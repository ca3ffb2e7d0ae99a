"""The stages of a model. Each is one file of three pure functions. This module holds their common code."""

from dataclasses import replace
from typing import Any, Protocol

from onnxmodel_operator import names
from onnxmodel_operator.observe import JobSeen, Observed
from onnxmodel_operator.plan import digests, progress
from onnxmodel_operator.plan.results import problem
from onnxmodel_operator.plan.values import Advance, Ask, Context, Look, Step, Stop
from onnxmodel_runtime.contract.outcome import decode
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.volume import ARTIFACTS


class StageFile(Protocol):
    """The interface of a module of this package."""

    STAGE: Stage

    def ask(self, context: Context) -> Ask:
        """Build the question to the stage's Job from the spec and the results of earlier stages."""

    def gate(self, context: Context, result: Any) -> Advance | Stop:
        """Return the next look, or the reason for which the model gets no further with this result."""

    def believe(self, request: Any, result: Any) -> str | None:
        """Return why a result cannot be an answer to this request, or None."""


def look(stage: StageFile) -> Look:
    """Look at a stage: pass its result to its gate, or stop and report the progress of its Job."""

    def at(context: Context) -> Advance | Stop:
        step = _step(context, stage)
        context = replace(context, steps=(*context.steps, step))
        if step.outcome:
            return stage.gate(context, step.outcome.result)
        message = step.seen.message if step.seen else None
        wrong = problem(stage.STAGE, step.request, message, stage.believe) if message else None
        return progress.of_job(context, step, wrong)

    return at


def _step(context: Context, stage: StageFile) -> Step:
    """The stage as far as it is known. A result in status counts before that of a Job."""
    name, ask, observed, platform = stage.STAGE, stage.ask(context), context.seen, context.platform
    row = STAGES[name]
    placement = platform.server if row.as_server else ask.placement or platform.client
    digest = digests.of_stage(context.place, name, ask, placement)
    request: Any = ask.request
    if row.directory:
        request = replace(request, directory=f"{ARTIFACTS}/{name}/{digest[:16]}")
    seen = observed.jobs.get((name, digest))
    record = observed.memory.success(name, digest)
    outcome = decode(record) if record else None
    if outcome is None and seen and seen.outcome and seen.outcome.result:
        outcome, record = seen.outcome, seen.message
    if record and problem(name, request, record, stage.believe):
        outcome, record = None, None
    job = names.child(context.model.name, name, names.short(digest))
    quiet = _quiet(observed, seen)
    return Step(
        name,
        digest,
        job,
        request,
        placement,
        fetch=ask.fetch,
        outcome=outcome,
        record=record,
        seen=seen,
        quiet=quiet,
        public_key=ask.public_key,
    )


def _quiet(observed: Observed, seen: JobSeen | None) -> bool:
    """A Job keeps what it was made with while it runs. A pod that cannot start, of any model, must not hold up measurements."""
    waits = seen and seen.waiting and seen.waiting.failure.reason == "WaitingForQuietNode"
    return seen.quiet if seen and not waits else not observed.stuck
