"""Wait for all replicas of the new revision, and the traffic until they are available."""

from dataclasses import replace

from onnxmodel_operator.plan import progress
from onnxmodel_operator.plan.values import Advance, Comparison, Context, Look, Revision, State, Step, Stop
from onnxmodel_runtime.contract.stages import Stage


def complete(loadtest: Look) -> Look:
    """Look at the load test, once all replicas of the revision are available.

    Once begun it goes on whatever becomes of the replicas: one that dies of it is a failed attempt, and attempts are
    counted. Its result stays true while a pod is away.
    """

    def at(context: Context) -> Advance | Stop:
        seen = context.seen.revisions[context.target.short]
        found = loadtest(context)
        if seen.complete and seen.wanted == context.target.replicas:
            return found
        step = found.context.step(Stage.LOADTEST)
        if not (step.seen or step.outcome):
            return progress.of_rollout(context, seen)
        rollout = progress.of_rollout(found.context, seen)
        if isinstance(found, Advance) or step.outcome:
            return rollout
        if found.progress.state is State.STALLED:
            return found
        again = found.again if rollout.again is None else rollout.again
        return replace(found, progress=rollout.progress, again=again)

    return at


def asked_alone(job: Step | None, revision: Revision | None, comparison: Comparison | None) -> Revision | None:
    """Return the revision that needs a Service of its own.

    It does as long as the Job of its load test must exist, and while servers compare their answers with its own.
    """
    return revision if comparison or (job and job.stage is Stage.LOADTEST) else None
