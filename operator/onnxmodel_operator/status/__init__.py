"""Make the status of a model from the decision and the observation. Pure: `now` is used only where something changed.

The contract is kstatus': Ready is always there, Reconciling and Stalled only while True and never both, and Ready=True
means this generation. docs/status.md describes it for users.
"""

from datetime import datetime
from typing import Any

from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.api.status import OnnxModelStatus
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.values import Plan, Progress, State
from onnxmodel_operator.status.autoscale import autoscaling_status
from onnxmodel_operator.status.conditions import common_conditions, conditions
from onnxmodel_operator.status.facts import benchmark_status, finding_statuses, model_status, variant_statuses
from onnxmodel_operator.status.failure import failure_status
from onnxmodel_operator.status.records import stage_statuses
from onnxmodel_operator.status.revisions import active_status, history_statuses, target_status
from onnxmodel_operator.status.rollout import rollout_status, traffic_statuses
from onnxmodel_operator.status.serving import serving_status


def summarize(model: Resource, seen: Observed, plan: Plan, now: datetime) -> dict[str, Any]:
    """Make the whole status as plain data. It equals the stored one if nothing changed."""
    old = seen.memory
    target = target_status(plan, old, now)
    active = active_status(seen, plan, target, old, now)
    status = OnnxModelStatus(
        observed_generation=model.generation,
        phase=plan.progress.phase,
        reason=plan.progress.reason[:253],
        message=plan.progress.message[:2048],
        conditions=conditions(model, seen, plan, old, now),
        model=model_status(plan),
        findings=finding_statuses(plan, old),
        variants=variant_statuses(plan.choice) if plan.choice else None,
        benchmark=benchmark_status(plan),
        serving=serving_status(model, seen, (active, target)),
        active=active,
        target=target,
        history=history_statuses(old, active),
        upgrade=plan.upgrade,
        rollout=rollout_status(plan, old),
        traffic=traffic_statuses(seen, plan, now),
        autoscaling=autoscaling_status(model, seen, plan, old, now),
        last_failure=failure_status(model.generation, seen, plan.progress, old, now),
        stages=stage_statuses(plan, old),
    )
    return (status if plan.steps else _keeping(old, status)).dump()


def excused(model: Resource, seen: Observed, progress: Progress, now: datetime) -> dict[str, Any]:
    """Make a status that keeps the stored one and reports why the new one was refused: only that is known to be
    accepted.

    Keeps why a Job failed while the Job exists: its pods may be gone, and nothing else remembers.
    """
    old = seen.memory
    common = common_conditions(model.generation, progress, old, now)
    kinds = {State.READY, State.RECONCILING, State.STALLED}
    kept = [condition for condition in old.conditions if condition.type not in kinds]
    remembers = any(old.failure_of(job.name) and job.state != "Succeeded" for job in seen.jobs.values())
    failure = None if remembers else failure_status(model.generation, seen, progress, old, now)
    told = {
        "observed_generation": model.generation,
        "phase": progress.phase,
        "reason": progress.reason[:253],
        "message": progress.message[:2048],
        "conditions": sorted([*common, *kept], key=lambda condition: condition.type),
        "last_failure": failure or old.failure,
    }
    return old.stored.model_copy(update=told).dump()


def _keeping(old: Memory, status: OnnxModelStatus) -> OnnxModelStatus:
    """Keep the facts from before: the model is suspended, or its spec is invalid."""
    facts = ("model", "findings", "variants", "benchmark", "stages", "target")
    missing = [name for name in facts if getattr(status, name) is None]
    return status.model_copy(update={name: getattr(old.stored, name) for name in missing})
