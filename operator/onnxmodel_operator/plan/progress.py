"""Progress of a Job or a rollout, in words."""

from datetime import datetime, timedelta

from onnxmodel_operator import names
from onnxmodel_operator.observe import JobSeen, RevisionSeen, Waiting
from onnxmodel_operator.plan.shortage import specific
from onnxmodel_operator.plan.values import (
    STARTUP_SECONDS,
    Context,
    Phase,
    Progress,
    State,
    Step,
    Stop,
    Trouble,
    failed,
    going,
    stalled,
)
from onnxmodel_runtime.contract.outcome import Failure
from onnxmodel_runtime.contract.stages import STAGES

_QUEUE_SECONDS = 30.0  # by then status names who is ahead now
_EVENT_SECONDS = 60.0  # no watch tells of events: they are read again


def of_job(context: Context, step: Step, wrong: str | None = None) -> Stop:
    """Report the progress of a stage without a known result. wrong: what is wrong with the result that its pod left."""
    phase, seen = STAGES[step.stage].phase, step.seen
    if seen is None:
        return Stop(context, going(phase, phase, f"Job {step.job} is being created"), job=step)
    doubts = frozenset({step.job} if _unsure(context, seen) else ())
    if seen.state == "Succeeded" and (wrong or seen.pods):
        return Stop(context, stalled(_invalid(context, step, wrong)), doubts=doubts)
    if seen.state == "Succeeded":
        message = f"Job {step.job} succeeded, but its pod was gone before its result was read: it runs again"
        return Stop(context, going(phase, "ResultLost", message), doubts=doubts, superfluous=(("Job", step.job),))
    if failed(seen):
        return Stop(context, stalled(_failed(context, step, seen)), step, doubts)
    if seen.waiting:
        progress, again = _waiting(context, seen.waiting, phase, seen.stage, seen.name)
        return Stop(context, progress, step, doubts, again=again)
    return Stop(
        context,
        _retried(seen, phase) if seen.ended else going(phase, phase, f"Job {seen.name} is running"),
        step,
        doubts,
    )


def of_rollout(context: Context, seen: RevisionSeen) -> Stop:
    """Report the progress of a revision that lacks replicas."""
    message = f"{seen.available} of {context.target.replicas} replicas of revision {seen.revision} are available"
    left, overdue, again = _left_of_room(context), seen.overdue, None
    if _room_since(context):  # Kubernetes counts the time without room, too, or not at all from a second start on
        overdue, again = left is None, left
    if seen.ended:
        failure = seen.ended.failure
        log = f"Log: kubectl -n {context.model.namespace} logs deployment/{seen.name} --all-containers"
        trouble = Trouble("serve", failure, seen.ended.exit_code, commands=(log,))
        if (seen.ended.terminal and not seen.available) or overdue:
            return Stop(context, stalled(trouble))
        return Stop(
            context,
            Progress(
                State.RECONCILING, Phase.DEPLOYING, "ProgressingWithRetry", f"{message}; {failure.message}", trouble
            ),
            again=again,
        )
    if seen.waiting:
        progress, again = _waiting(context, seen.waiting, Phase.DEPLOYING, "serve", None)
        return Stop(context, progress, again=again)
    if overdue:
        pods = f"kubectl -n {context.model.namespace} describe pods -l {names.LABEL_REVISION}={seen.revision}"
        failure = Failure("ProgressDeadlineExceeded", message, f"The pods' events say what they wait for: {pods}")
        return Stop(context, stalled(Trouble("serve", failure)))
    return Stop(context, going(Phase.DEPLOYING, "RollingOut", message), again=again)


def _left_of_room(context: Context) -> float | None:
    """Seconds that pods have to start from when the active revision made room for them. None: it did not, or they are over."""
    since = _room_since(context)
    if since is None:
        return None
    startup = context.target.startup_seconds
    seconds = max(context.settings.progress_deadline_seconds, startup if startup != STARTUP_SECONDS else 0)
    left = seconds - (context.now - since).total_seconds()
    return left if left > 0 else None


def _room_since(context: Context) -> datetime | None:
    return context.shift.since if context.shift and context.shift.makes_room else None


def _unsure(context: Context, seen: JobSeen) -> bool:
    """Return whether the Job ended without a known result or reason yet: the pod that holds it may be observed late."""
    memory = context.seen.memory
    known = memory.failed and memory.failure_of(seen.name)
    return (seen.state == "Succeeded" and not seen.outcome) or (seen.state == "Failed" and not known)


def _invalid(context: Context, step: Step, wrong: str | None) -> Trouble:
    wrong = wrong or "its termination message cannot be read"
    failure = Failure(
        "ResultInvalid",
        f"Job {step.job} succeeded with a result that cannot be used: {wrong}",
        "Use runtime images of the operator's release (runtimeImages in the chart's values).",
    )
    return Trouble(step.stage, failure, job=step.job, commands=_commands(context, step, step.job))


def _failed(context: Context, step: Step, seen: JobSeen) -> Trouble:
    assert seen.ended is not None
    failure, commands, memory = seen.ended.failure, _commands(context, step, seen.name), context.seen.memory
    if not seen.pods and (last := memory.failure_of(seen.name)):
        # The pod is gone, and with it why it failed: status remembers. What stalled before has its commands in the hint.
        failure = Failure(last.reason, last.message, last.hint, last.field or "")
        commands = () if memory.failed else commands
    return Trouble(seen.stage, failure, seen.ended.exit_code, seen.name, seen.attempts, commands)


def _retried(seen: JobSeen, phase: str) -> Progress:
    assert seen.ended is not None
    trouble = Trouble(seen.stage, seen.ended.failure, seen.ended.exit_code, seen.name, seen.attempts)
    message = f"attempt {seen.attempts} failed and is retried: {seen.ended.failure.message}"
    if seen.kept_alive_by:
        message = (
            f"attempt {seen.attempts} failed and is retried once its pod has ended, but container {seen.kept_alive_by}, "
            f"which does not belong to the operator, keeps that running: {seen.ended.failure.message}"
        )
    return Progress(State.RECONCILING, phase, "ProgressingWithRetry", message, trouble)


def _commands(context: Context, step: Step, job: str) -> tuple[str, ...]:
    """Return the commands that read the stage's log, and the server's if the stage asks it, and that rerun it."""
    kubectl = f"kubectl -n {context.model.namespace}"
    logs = f"{kubectl} logs job/{job} --all-containers"
    if STAGES[step.stage].asks_server:
        logs += f"; the server's: {kubectl} logs deployment/{context.target.name} --all-containers"
    return f"Log: {logs}", f"To run the stage again: {kubectl} delete job {job}"


def _waiting(
    context: Context, waiting: Waiting, phase: str, stage: str, job: str | None
) -> tuple[Progress, float | None]:
    """Of a pod that waits, and when to look again.

    A pod without node or image may get one; past the deadline someone must look. It is Reconciling again when it moves.
    """
    failure = specific(context, waiting.failure)
    trouble = Trouble(stage, failure, job=job)
    since = max((time for time in (waiting.since, _room_since(context)) if time), default=context.now)
    waited = context.now - since
    normal = timedelta(seconds=waiting.normal_seconds)
    if waited < normal:
        message = f"Job {job} is running" if job else "the server's pods are starting"
        return going(phase, phase, message), (normal - waited).total_seconds()
    reconciling = Progress(State.RECONCILING, phase, failure.reason, failure.message, trouble)
    if waiting.queued:
        return reconciling, _QUEUE_SECONDS
    left = (timedelta(seconds=context.settings.progress_deadline_seconds) - waited).total_seconds()
    if left <= 0:
        return stalled(trouble), None
    return reconciling, min(left, _EVENT_SECONDS) if waiting.about else left
