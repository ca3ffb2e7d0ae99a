"""Events of a rollout: its steps, its end, and who receives traffic."""

from onnxmodel_operator.api.status import OnnxModelStatus, RolloutStatus, ServingStatus
from onnxmodel_operator.events.values import ModelEvent, normal, warning

_ROLLOUT, _TRAFFIC = "Rollout", "Traffic"
_PAUSED = ("CanaryPaused", "CanaryInconclusive")
"""Reasons of a canary that waits for a person."""


def of_takeover(before: OnnxModelStatus, after: OnnxModelStatus) -> list[ModelEvent]:
    """Return the Events of the rollout and of the traffic."""
    old, new = before.rollout or RolloutStatus(), after.rollout or RolloutStatus()
    out = _steps(old, new)
    if after.reason in _PAUSED and (before.reason, before.message) != (after.reason, after.message):
        out.append(normal(after.reason, _ROLLOUT, after.message or ""))
    out += _refused(old, new, after.serving)
    serving = after.serving
    if serving and serving.revision != (before.serving.revision if before.serving else None):
        out.append(normal("TrafficSwitched", _TRAFFIC, _switched(serving)))
    return out


def _steps(old: RolloutStatus, new: RolloutStatus) -> list[ModelEvent]:
    """The step of a canary that began, or the room that the old revision has made."""
    if new.since is None or (new.revision, new.since) == (old.revision, old.since):
        return []
    if new.step is None:
        return [normal("RoomMade", _ROLLOUT, f"the old revision has made room for revision {new.revision}: {new.why}")]
    note = f"step {new.step} of {new.steps}: revision {new.revision} is given {new.weight} % of the traffic"
    return [normal("CanaryStep", _ROLLOUT, note)]


def _refused(old: RolloutStatus, new: RolloutStatus, serving: ServingStatus | None) -> list[ModelEvent]:
    """A revision that takes no traffic any more. Its fix is in the Event of the failure."""
    known = {(refused.revision, refused.time) for refused in old.refused or ()}
    stays = f"; revision {serving.revision} serves" if serving else ""
    return [
        warning("RolledBack", _ROLLOUT, f"revision {each.revision} takes no more traffic: {each.reason}{stays}")
        for each in new.refused or ()
        if (each.revision, each.time) not in known
    ]


def _switched(serving: ServingStatus) -> str:
    """Say who receives traffic, and what was proven of it."""
    runs = " on ".join(part for part in (serving.variant, serving.provider) if part)
    facts = [runs, f"p99 {serving.p99}" if serving.p99 else "", serving.throughput or ""]
    told = ", ".join(fact for fact in facts if fact)
    return f"revision {serving.revision} receives the traffic" + (f": {told}" if told else "")
