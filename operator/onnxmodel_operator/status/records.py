"""Fill status.stages: the records from which no stage runs twice."""

from collections import Counter

from onnxmodel_operator.api.status import MOST_STAGES, StageStatus
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.values import Plan, Step

_RECORDS = 3
"""Successes kept of each stage: this one, and those to go back to."""


def stage_statuses(plan: Plan, old: Memory) -> list[StageStatus] | None:
    """Return the stages of the chain, then earlier successes, so that going back to an earlier spec runs nothing again.

    Bounded as a whole, whatever the number of stages: the least recently needed records go first.
    """
    known = {(item.name, item.digest): item for item in old.successes}
    current = [_current(step, known.get((step.stage, step.digest))) for step in plan.steps]
    chain = {(item.name, item.digest) for item in current}
    count = Counter(item.name for item in current)
    older = []
    for item in old.successes:
        if (item.name, item.digest) not in chain:
            count[item.name] += 1
            if count[item.name] <= _RECORDS:
                older.append(item)
    return [*current, *older][:MOST_STAGES] or None


def _current(step: Step, stored: StageStatus | None) -> StageStatus:
    """The stored record if it is of the same result, because its times are of the run that produced it."""
    return stored if stored and stored.result == step.record else _stage(step)


def _stage(step: Step) -> StageStatus:
    seen = step.seen
    return StageStatus(
        name=step.stage,
        digest=step.digest,
        state=step.state,
        job=step.job,
        start_time=seen.start_time if seen else None,
        completion_time=seen.completion_time if seen else None,
        seconds=round(step.outcome.seconds, 3) if step.outcome else None,
        directory=step.directory,
        result=step.record,
    )
