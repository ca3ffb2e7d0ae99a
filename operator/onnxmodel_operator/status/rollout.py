"""Fill status.rollout and status.traffic."""

from datetime import datetime
from typing import Any

from onnxmodel_operator.api.status import HandledStatus, RolloutStatus, TrafficStatus
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.values import Plan
from onnxmodel_operator.times import format_time


def rollout_status(plan: Plan, old: Memory) -> RolloutStatus | None:
    """Return the rollout beside the active revision, and what outlives it. None if there is nothing of either."""
    before, shift = old.rollout, plan.shift
    refused = before.refused if plan.refused is None else list(plan.refused) or None
    handled = before.handled if plan.handled is None or plan.handled == HandledStatus() else plan.handled
    if shift is None:
        return RolloutStatus(refused=refused, handled=handled) if refused or handled else None
    given: dict[str, Any] = {
        "revision": plan.revision.short if plan.revision else None,
        "strategy": shift.strategy,
        "why": shift.why[:2048],
        "since": format_time(shift.since) if shift.since else None,
    }
    if shift.steps:
        given |= {
            "backend": shift.backend,
            "step": shift.step + 1,
            "steps": shift.steps,
            "weight": shift.weight,
            "gate": shift.gate or None,
        }
    return RolloutStatus(**given, refused=refused, handled=handled)


def traffic_statuses(seen: Observed, plan: Plan, now: datetime) -> list[TrafficStatus] | None:
    """Return the shares of two revisions. None while one has all traffic."""
    if len(plan.traffic) < 2 or plan.shift is None:
        return None
    since = plan.shift.since or now
    whole = now.replace(second=0, microsecond=0)  # of a step that lasts, a number changes once a minute
    now = whole if (whole - since).total_seconds() >= 60 else now
    pods = {revision: seen.revisions[revision].available for revision, _ in plan.traffic if revision in seen.revisions}
    windows = {revision: seen.metrics.window(revision, since, now) for revision, _ in plan.traffic}
    requests = {revision: window.requests for revision, window in windows.items() if window}
    known = len(requests) == len(plan.traffic)
    return [
        TrafficStatus(
            revision=revision,
            wanted=wanted,
            ready=_percent(pods.get(revision, 0), sum(pods.values())),
            measured=_percent(requests[revision], sum(requests.values())) if known and any(requests.values()) else None,
        )
        for revision, wanted in plan.traffic
    ]


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole) if whole else 0
