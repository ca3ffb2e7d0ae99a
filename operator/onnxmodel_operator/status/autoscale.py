"""Fill status.autoscaling, and say whether the autoscaler works: the condition ScalingReady."""

from datetime import datetime
from math import ceil

from onnxmodel_operator.api.resource import OnnxModel, Resource
from onnxmodel_operator.api.status import AutoscalingStatus
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.rollout.scaling import SCALED_OBJECT, sleeps
from onnxmodel_operator.plan.values import Plan, Scaling
from onnxmodel_operator.status.serving import served_revision
from onnxmodel_operator.times import format_time, parse_time
from onnxmodel_runtime.contract.text import plain

SCALING_READY = "ScalingReady"
"""The condition that reports it."""


def autoscaling_status(
    model: Resource, seen: Observed, plan: Plan, old: Memory, now: datetime
) -> AutoscalingStatus | None:
    """Return the autoscaler of the model and its cold start. None if the spec asks for none."""
    before = old.stored.autoscaling
    if not isinstance(model, OnnxModel):
        return before  # the spec cannot be read
    if model.spec.serving.autoscaling is None or not (plan.scaling or before):
        return None
    found = before.model_dump() if before else {}
    if scaling := plan.scaling:
        found["backend"] = "KEDA" if scaling.kind == SCALED_OBJECT else "HPA"
        found["metric"] = "RowsPerSecond" if scaling.rows else "PendingRequests"
        found["target"] = scaling.target
    return AutoscalingStatus(**{**found, **_cold_start(model, seen, before, now)})


def _cold_start(
    model: Resource, seen: Observed, before: AutoscalingStatus | None, now: datetime
) -> dict[str, str | float | None]:
    """The times of sleeping and waking, and the seconds from having replicas to one that is available."""
    last = before.cold_start_seconds if before else None
    asleep, waking = (before.asleep_since, before.waking_since) if before else (None, None)
    if sleeps(model):
        return {"asleep_since": asleep or format_time(now), "waking_since": None, "cold_start_seconds": last}
    waking = (waking or (format_time(now) if asleep else None)) if model.replicas else None
    serving, began = served_revision(seen), parse_time(waking)
    if began and serving and serving.available:
        waking, last = None, ceil((now - began).total_seconds())
    return {"asleep_since": None, "waking_since": waking, "cold_start_seconds": last}


def scaling_ready(model: Resource, seen: Observed, plan: Plan) -> tuple[str, str, str] | None:
    """Return status, reason and message of the condition. None if the spec asks for no autoscaler."""
    asked = model.spec.serving.autoscaling if isinstance(model, OnnxModel) else None
    if asked is None:
        return None
    scaling, scaler = plan.scaling, seen.scaler
    if scaling is None and (why := _none(model, seen, plan)):
        return why
    if scaling and scaling.missing:
        message = (
            f"the cluster has no kind {scaling.kind}: install KEDA, or set settings.autoscaling.backend to HPA in the "
            "chart's values; the replicas stay as they are"
        )
        return "False", "BackendMissing", message
    if scaler is None or not scaler.told:
        kind = scaling.kind if scaling else "the autoscaler"
        return "Unknown", "Pending", f"{kind} has not reported yet whether it scales"
    if scaler.trouble:
        reason, message = scaler.trouble
        return "False", reason, f"{scaler.kind} {scaler.name} does not scale: {message}"
    said = _sentence(scaling) if scaling else f"{scaler.kind} {scaler.name} scales as the last valid spec said"
    return "True", "Scaling", said


def _none(model: Resource, seen: Observed, plan: Plan) -> tuple[str, str, str] | None:
    """Explain that there is no autoscaler now. None if that of the last valid spec is still there."""
    if model.replicas == 0 and not sleeps(model):
        message = "serving.replicas is 0 and serving.autoscaling.minReplicas is not: the model is off"
        return "False", "TurnedOff", message
    if plan.shift and plan.shift.makes_room:
        return "Unknown", "MakingRoom", "nothing is scaled while one revision makes room for another"
    return None if seen.scaler else ("Unknown", "Pending", "nothing is scaled before a revision is proven")


def _sentence(scaling: Scaling) -> str:
    what = "rows per second" if scaling.rows else "pending requests, for its capacity is not known"
    return f"between {scaling.least} and {scaling.most} replicas, each with {plain(scaling.target, 6)} {what}"
