"""A canary: the new revision takes a growing share of the traffic, and is judged by it.

The revision that serves keeps all its replicas until the new one has taken over, so that going back needs no pod that is not
there. Status remembers the step and since when it has its share.
"""

import math
from dataclasses import replace
from datetime import datetime

from onnxmodel_operator import names
from onnxmodel_operator.api.spec.rollout import MANUAL, Rollout, RolloutStep
from onnxmodel_operator.live.query import Question
from onnxmodel_operator.plan.rollout import external, room, routes, traffic
from onnxmodel_operator.plan.rollout.gates import Gates, Judgement, Ruling, judge, worst
from onnxmodel_operator.plan.rollout.orders import handled, is_new
from onnxmodel_operator.plan.rollout.refusal import refuse
from onnxmodel_operator.plan.values import RECREATE, Advance, Comparison, Context, Phase, Shift, Stop, going
from onnxmodel_operator.times import parse_time
from onnxmodel_runtime.contract.compare import CompareOrder

REPLICAS, ROUTE = "Replicas", "Route"
_LOOK_SECONDS = 5.0
_MINUTE = 60


def begin(context: Context) -> Context:
    """Add the rollout as far as it has come: its strategy, the replicas of the new revision, and who takes traffic."""
    short, active, seen = context.target.short, context.active, context.seen
    if active in (None, short):
        return replace(context, shift=None)
    strategy, why = _strategy(context)
    if strategy == RECREATE:
        return room.begin(context, why)
    if strategy != "Canary":
        return replace(context, shift=Shift(strategy, why))
    steps, stored = context.model.spec.rollout.steps, seen.memory.rollout
    shift = Shift(strategy, why, len(steps), backend := ROUTE if context.settings.routes else REPLICAS)
    if stored.revision == short and stored.strategy == strategy:
        done = (stored.step or 1) > (stored.steps or len(steps))  # of the steps that there were
        step = len(steps) if done else min(max((stored.step or 1) - 1, 0), len(steps) - 1)
        since = parse_time(stored.since)
        shift = replace(shift, step=step, weight=stored.weight or 0, since=since, gate=stored.gate or "")
    if seen.routed == short:  # all steps are done, and it is being probed
        return replace(context, shift=replace(shift, step=len(steps), weight=100))
    if shift.step < len(steps):  # an order that comes while pods start is followed once they run
        context = replace(context, handled=handled(context, but="promote"))
    all_replicas = context.target.replicas
    replicas = all_replicas if shift.step == len(steps) else _replicas(all_replicas, steps[shift.step].weight, backend)
    return _with(replace(context, revision=replace(context.target, replicas=replicas)), shift)


def guard(context: Context) -> Advance | Stop:
    """Judge a new revision that has a share of the traffic, whether or not all of its pods are there.

    A pod that crashed is a failed gate: what it was asked is in no count.
    """
    shift, enforced = context.shift, context.model.spec.rollout.gates.mode == "Enforce"
    if shift is None or shift.strategy != "Canary" or not shift.weight or shift.since is None:
        return Advance(context)
    if context.seen.routed == context.target.short:  # it has all of the traffic, and the probe judges it
        return Advance(context)
    judgement = _judged(context, shift, context.now)
    if enforced and (crash := _crash(context, shift)):
        return refuse(context, "GateFailed", crash)
    if enforced and judgement.ruling is Ruling.FAIL:
        return refuse(context, judgement.reason, judgement.sentence)
    until = _shown(context, shift)
    earlier = judgement if until == context.now else _judged(context, shift, until)
    shown = earlier if earlier.ruling is judgement.ruling else judgement
    told = replace(shift, gate=f"{shown.ruling}: {shown.sentence}"[:1024], ruling=judgement.ruling)
    return Advance(replace(context, shift=told))


def comparison(context: Context) -> Comparison | None:
    """Return what the servers of the active revision shall compare: answers, while the new one has a share of a canary."""
    shift, wanted = context.shift, context.model.spec.rollout.gates.compare
    if shift is None or shift.strategy != "Canary" or not shift.weight or _is_over(context) or wanted is None:
        return None
    if context.active is None or context.revision is None:
        return None
    return Comparison(context.active, _order(context, wanted.percent))


def question(context: Context) -> Question | None:
    """Return what Prometheus shall be asked while the new revision has a share of a canary."""
    shift, gate, model = context.shift, context.model.spec.rollout.gates.prometheus, context.model
    if gate is None or shift is None or shift.since is None or not shift.weight or _is_over(context):
        return None
    seconds = int((context.now - shift.since).total_seconds())
    if seconds < external.LEAST_SECONDS:
        return None
    values = {
        "namespace": model.namespace,
        "model": model.name,
        "revision": context.target.short,
        "stable": context.active or "",
        "window": f"{seconds}s",
    }
    return Question(_about(context, shift), external.filled(gate.query, values))


def look(context: Context) -> Advance | Stop:
    """Give the new revision the share of its step, and go on to the next one when this one is over."""
    shift, seen, now = context.shift, context.seen, context.now
    assert context.active is not None or shift is None
    back = Advance(replace(context, traffic=traffic.before(context.model, seen, context.active)))
    if shift is None or shift.strategy != "Canary" or _is_over(context):
        return back
    step = context.model.spec.rollout.steps[shift.step]
    if held := _without_route(context, shift):
        return held
    if shift.weight != step.weight or shift.since is None:
        shift = replace(shift, weight=step.weight, since=now, gate="")
        return _stop(context, shift, "CanaryStep", _said(shift, "begins"), _LOOK_SECONDS)
    if context.model.orders.pause:
        message = f"is paused by the annotation {names.PAUSE}"
        return _stop(context, shift, "CanaryPaused", _said(shift, message), _LOOK_SECONDS)
    if _is_broken(context):
        return back
    promoted = is_new(context, "promote")
    wait = None if promoted else _waits(context, step, shift)
    if wait:
        return wait
    context = replace(context, handled=handled(context))
    following = replace(shift, step=shift.step + 1)
    message = "all steps are done" if following.step == shift.steps else f"step {following.step + 1} is next"
    return _stop(context, following, "CanaryStep", _said(shift, f"is done: {message}"), 1.0)


def _strategy(context: Context) -> tuple[str, str]:
    """The strategy of this rollout and why."""
    rollout, short, seen = context.model.spec.rollout, context.target.short, context.seen
    if rollout.strategy == "Auto":
        why = room.was_made(context)
        return (
            (RECREATE, why) if why else ("Surge", f"Auto: the new revision runs beside the old one{_unused(rollout)}")
        )
    if rollout.strategy != "Canary":
        return rollout.strategy, f"spec.rollout.strategy{_unused(rollout)}"
    recent = [revision.revision for revision in seen.memory.history[: rollout.rollback_window]]
    if short in recent:
        return "Surge", f"revision {short} served before, and is within spec.rollout.rollbackWindow"
    if not context.settings.routes and not (
        traffic.is_labelled(seen, context.active) and traffic.is_labelled(seen, short)
    ):
        return (
            "Surge",
            f"the pods of revision {context.active} are of an earlier release, which cannot share its traffic",
        )
    return "Canary", "spec.rollout.strategy"


def _unused(rollout: Rollout) -> str:
    """Name the fields of a canary that were set for another strategy. "" if there are none."""
    usual = Rollout()
    given = [name for name in ("steps", "gates") if getattr(rollout, name) != getattr(usual, name)]
    return f"; {' and '.join(given)} of spec.rollout are for Canary, and have no effect" if given else ""


def _replicas(all_replicas: int, weight: int, backend: str) -> int:
    """Pods that take about this share beside all replicas of the old revision: at least one, at most as many.

    Where a Gateway divides the traffic, as many as the share needs: it is exact, whatever their number.
    """
    if backend == ROUTE:
        return min(all_replicas, max(1, math.ceil(all_replicas * weight / 100)))
    return min(all_replicas, max(1, round(all_replicas * weight / (100 - weight))))


def _with(context: Context, shift: Shift) -> Context:
    """The context with the traffic that the shift says, where both revisions can answer."""
    context = replace(context, shift=shift)
    short, seen = context.target.short, context.seen
    assert context.active is not None
    if not shift.weight or (shift.step == shift.steps and not seen.divided) or not traffic.available(seen, short):
        return context
    if shift.backend == ROUTE and not _can_be_routed(context):
        return context
    return replace(context, traffic=((context.active, 100 - shift.weight), (short, shift.weight)))


def _can_be_routed(context: Context) -> bool:
    """Return whether the Gateways know the pods of the new revision. Where one leads to them already, it does."""
    short, seen = context.target.short, context.seen
    there = ("Service", names.canary_service(context.model.name, short)) in seen.live
    led = any(route.canary == short for route in seen.routes.values())
    return there and (led or routes.is_settled(seen.revisions[short], context.now))


def _without_route(context: Context, shift: Shift) -> Stop | None:
    """Stop where no Gateway would divide the traffic: the new revision would be judged by requests that it cannot get.

    Not where a person promotes it, nor where the old revision is broken.
    """
    if shift.backend != ROUTE or is_new(context, "promote") or _is_broken(context):
        return None
    problem, pending = routes.unaccepted(context.model, context.seen, context.settings, context.now)
    if not (problem or pending):
        return None
    message = f"the canary waits: {problem or pending}"[:1024]
    return _stop(context, shift, "RouteNotAccepted" if problem else "RoutePending", message, _LOOK_SECONDS)


def _stop(context: Context, shift: Shift, reason: str, message: str, again: float | None = None) -> Stop:
    found = _with(context, shift)
    if again and shift.backend == ROUTE and shift.weight and len(found.traffic) < 2:
        again = min(again, routes.SETTLED_SECONDS)
    return Stop(found, going(Phase.ROLLING_OUT, reason, message), again=again)


def _said(shift: Shift, what: str) -> str:
    return f"step {shift.step + 1} of {shift.steps} ({shift.weight} % of the traffic) {what}"


def _is_over(context: Context) -> bool:
    """Return whether all steps are done: the new revision is about to take all traffic, or is being probed."""
    return context.shift is not None and context.shift.step == context.shift.steps


def _judged(context: Context, shift: Shift, now: datetime) -> Judgement:
    """Judge the share that it has by now, over the same time for both revisions."""
    limits, metrics = context.model.spec.rollout.gates, context.seen.metrics
    assert shift.since is not None
    assert context.active is not None
    new = metrics.window(context.target.short, shift.since, now)
    old = metrics.window(context.active, shift.since, now)
    gates = Gates(limits.max_error_percent, limits.max_p99_regression_percent, limits.min_requests)
    compared = None
    if limits.compare:
        least, number = limits.compare.min_agreement_percent, limits.compare.min_comparisons
        gates = replace(gates, min_agreement_percent=least, min_comparisons=number)
        # Anybody may have sent an order: only the answers that were compared as this one says count.
        order = _order(context, limits.compare.percent)
        compared = old.counts.compared.get(order.key) if old else None
    judgement = judge(gates, new, old, compared)
    if limits.prometheus is None or judgement.ruling is not Ruling.PASS:
        return judgement
    asked, answer = context.seen.answered or (None, None)
    mine = asked is not None and asked.about == _about(context, shift)
    return worst(judgement, external.judge(limits.prometheus, answer if mine else None))


def _order(context: Context, percent: float) -> CompareOrder:
    """The order to compare answers with those of the new revision."""
    return CompareOrder(context.target.short, percent, context.target.request.tolerance)


def _about(context: Context, shift: Shift) -> str:
    """The step that a question to Prometheus is about."""
    return f"{context.target.short} {shift.since}"


def _shown(context: Context, shift: Shift) -> datetime:
    """The time up to which status has the numbers: of a step that lasts, whole minutes, since each write costs."""
    now, whole = context.now, context.now.replace(second=0, microsecond=0)
    return whole if shift.since and (whole - shift.since).total_seconds() >= _MINUTE else now


def _crash(context: Context, shift: Shift) -> str:
    """Describe the end of a pod of the new revision that crashed while it had this share. "" if none did."""
    there = context.seen.revisions.get(context.target.short)
    ended = there.ended if there else None
    at = parse_time(ended.time) if ended and ended.time else None
    if ended is None or at is None or shift.since is None or at < shift.since or ended.exit_code is None:
        return ""
    return f"a pod of revision {context.target.short} ended: {ended.failure.message}"


def _waits(context: Context, step: RolloutStep, shift: Shift) -> Stop | None:
    """Stop for what the step still waits for: its time, a person, or enough requests."""
    assert shift.since is not None
    seconds, gone = step.seconds(), (context.now - shift.since).total_seconds()
    enforced = context.model.spec.rollout.gates.mode == "Enforce"
    if enforced and shift.ruling == Ruling.INCONCLUSIVE and (seconds is None or gone >= seconds):
        message = f"waits for the gate, which cannot decide: {shift.gate.partition(': ')[2]}"
        return _stop(context, shift, "CanaryInconclusive", _said(shift, message), _LOOK_SECONDS)
    if seconds is None:
        message = f"waits until it is promoted (pause: {MANUAL})"
        return _stop(context, shift, "CanaryPaused", _said(shift, message), _LOOK_SECONDS)
    if gone < seconds:
        left = seconds - gone
        return _stop(context, shift, "CanaryStep", _said(shift, f"lasts {seconds} s"), min(left, _LOOK_SECONDS))
    return None


def _is_broken(context: Context) -> bool:
    """Return whether the old revision has had no pod for so long that waiting is no help: it must not hold up a good one."""
    there = context.seen.revisions.get(context.active or "")
    if there is None or there.available:
        return False
    since, deadline = there.unavailable_since, context.settings.progress_deadline_seconds
    return there.overdue or (since is not None and (context.now - since).total_seconds() >= deadline)
