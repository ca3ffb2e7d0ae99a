"""Fill status.lastFailure."""

from datetime import datetime

from onnxmodel_operator.api.status import FailureStatus
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.values import Progress, State, Trouble
from onnxmodel_operator.times import format_time


def failure_status(
    generation: int, seen: Observed, progress: Progress, old: Memory, now: datetime
) -> FailureStatus | None:
    """Return the current failure, or the last one while it belongs to this spec and its Job still exists."""
    if progress.state in (State.READY, State.SCALED_TO_ZERO):
        return None
    previous = old.failure
    trouble = progress.trouble
    if trouble is None:
        jobs = {job.name for job in seen.jobs.values() if job.state != "Succeeded"}
        stays = previous and old.generation == generation and (not previous.job or previous.job in jobs)
        return previous if stays else None
    failure = FailureStatus(
        stage=trouble.stage,
        reason=trouble.failure.reason[:253],
        message=trouble.failure.message[:2048],
        hint=_hint(trouble)[:2048],
        field=trouble.failure.field[:253] or None,
        exit_code=trouble.exit_code,
        job=trouble.job,
        attempts=trouble.attempts or None,
        time=format_time(now),
    )
    if previous and failure.model_copy(update={"time": previous.time}) == previous:
        return previous
    return failure


def _hint(trouble: Trouble) -> str:
    """The hint as people read it: what to do, then the commands."""
    return " ".join(part for part in (trouble.failure.hint, ". ".join(trouble.commands)) if part)
