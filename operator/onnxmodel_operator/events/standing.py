"""Events of how a model stands: failures with their fix, Ready, recovered, held back, slower than proven."""

import re

from onnxmodel_operator.api.status import Condition, FailureStatus, OnnxModelStatus
from onnxmodel_operator.events.values import ModelEvent, normal, warning

_AT_REST = {"Suspended": "suspended", "TurnedOff": "turned off", "ScaledToZero": "scaled to zero"}
"""Phases in which nothing is wrong and nothing goes on, in words."""
_SERVING = "Serving"
_OUTSIDE = {"RouteAccepted": "Route", "ScalingReady": "Scale"}
"""Conditions that others' objects decide, with the action of their Events."""


def of_standing(before: OnnxModelStatus, after: OnnxModelStatus) -> list[ModelEvent]:
    """Return the Events of what a person asks first: does it work, and if not, what is to be done."""
    out = _failed(before, after) + _rest(before, after) + _outside(before, after)
    was, now = _true(before, "Ready"), _true(after, "Ready")
    same = before.observed_generation == after.observed_generation
    if now and not was and after.phase not in _AT_REST:
        out.append(normal("Ready", _SERVING, now.message))
    elif _true(before, "Stalled") and not _true(after, "Stalled") and same and after.phase not in _AT_REST:
        out.append(normal("Recovered", _SERVING, f"no longer stalled: {after.message}"))
    elif was and not now and same and after.phase not in _AT_REST:
        tell = normal if _true(after, "Available") else warning
        out.append(tell("NotReady", _SERVING, f"{after.reason}: {after.message}"))
    slow, was_slow = _true(after, "Degraded"), _true(before, "Degraded")
    if slow and not was_slow:
        out.append(warning(slow.reason, _SERVING, slow.message))
    elif was_slow and not slow and now:
        out.append(normal("AsFastAsProven", _SERVING, "live requests are as fast as proven again"))
    upgrade = after.upgrade
    if upgrade and upgrade.state == "Running" and not (before.upgrade and before.upgrade.state == "Running"):
        out.append(normal("UpgradeStarted", "Upgrade", upgrade.message))
    return out


def _failed(before: OnnxModelStatus, after: OnnxModelStatus) -> list[ModelEvent]:
    """A failure that is new, or has just become one for which waiting is no help."""
    failure = after.last_failure
    stalls = _true(after, "Stalled") is not None and _true(before, "Stalled") is None
    if failure is None or not (stalls or _words(failure) != _words(before.last_failure)):
        return []
    return [warning(failure.reason, failure.stage or _SERVING, _with_fix(failure))]


def _with_fix(failure: FailureStatus) -> str:
    message, hint = failure.message.rstrip("."), failure.hint
    return f"{message}. {hint}" if hint else message


def _words(failure: FailureStatus | None) -> tuple[str | None, ...]:
    """The failure without the numbers in it: of a pod, of an attempt, of nodes."""
    if failure is None:
        return ()
    return failure.stage, failure.reason, failure.job, re.sub(r"[0-9a-f]*\d[0-9a-f]*", "0", failure.message)


def _rest(before: OnnxModelStatus, after: OnnxModelStatus) -> list[ModelEvent]:
    """The model was held back, or goes on."""
    was, now = before.phase or "", after.phase or ""
    if now in _AT_REST and now != was:
        return [normal(now, _SERVING, after.message or "")]
    if was in _AT_REST and now not in _AT_REST:
        return [normal("Resumed", _SERVING, f"no longer {_AT_REST[was]}: {after.message}")]
    return []


def _outside(before: OnnxModelStatus, after: OnnxModelStatus) -> list[ModelEvent]:
    """A Gateway or an autoscaler does not do its part."""
    out = []
    for condition in after.conditions or ():
        action = _OUTSIDE.get(condition.type)
        old = _condition(before, condition.type)
        turned = condition.status == "False" and (old is None or old.status != "False")
        if action and turned and after.phase not in _AT_REST:
            out.append(warning(condition.reason, action, condition.message))
    return out


def _condition(status: OnnxModelStatus, kind: str) -> Condition | None:
    return next((condition for condition in status.conditions or () if condition.type == kind), None)


def _true(status: OnnxModelStatus, kind: str) -> Condition | None:
    """The condition if it is True."""
    found = _condition(status, kind)
    return found if found and found.status == "True" else None
