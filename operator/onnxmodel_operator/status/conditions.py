"""Fill status.conditions: Ready, Reconciling and Stalled, one for each stage that has one, and Available."""

from datetime import datetime

from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.api.status import Condition
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.observe.memory import Memory
from onnxmodel_operator.plan.rollout.pace import DEGRADED, was_slow
from onnxmodel_operator.plan.values import Plan, Progress, RoutePlan, State, Step
from onnxmodel_operator.status.autoscale import SCALING_READY, scaling_ready
from onnxmodel_operator.status.serving import served_revision
from onnxmodel_operator.times import format_time
from onnxmodel_runtime.contract.benchmark import BenchmarkResult
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.stages import STAGES, Stage
from onnxmodel_runtime.contract.validate import ValidateResult

_CONDITION_OF = {stage: spec.condition for stage, spec in STAGES.items() if spec.condition}


def conditions(model: Resource, seen: Observed, plan: Plan, old: Memory, now: datetime) -> list[Condition]:
    """Return all conditions, in the order of their types."""
    generation = model.generation
    out = common_conditions(generation, plan.progress, old, now)
    for stage, kind in _CONDITION_OF.items():
        previous = old.condition(kind)
        if not plan.steps and previous:
            # Nothing is worked on: what was found out stays, and so does the generation that it is about.
            out.append(previous)
            continue
        step = next((step for step in plan.steps if step.stage is stage), None)
        status, reason, message = _stage_condition(step, plan)
        out.append(_condition(kind, status, reason, message, generation, old, now))
    out += _degraded(generation, seen, plan, old, now)
    if plan.routes:
        out.append(_condition("RouteAccepted", *_route_condition(plan.routes), generation, old, now))
    if scaling := scaling_ready(model, seen, plan):
        out.append(_condition(SCALING_READY, *scaling, generation, old, now))
    serving = served_revision(seen)
    available = serving is not None and serving.available > 0
    text = f"revision {serving.revision} receives traffic" if serving and available else _without_traffic(plan)
    out.append(
        _condition("Available", str(available), "Serving" if available else "NotServing", text, generation, old, now)
    )
    return sorted(out, key=lambda condition: condition.type)


def _degraded(generation: int, seen: Observed, plan: Plan, old: Memory, now: datetime) -> list[Condition]:
    """Report a revision that is slower than proven. It keeps the numbers of the moment when it became so.

    Where nothing is known this time, what was known of the same revision stays.
    """
    slow = plan.pace.slow if plan.pace else was_slow(seen)
    previous = old.condition(DEGRADED)
    if not slow:
        return []
    if previous and was_slow(seen):
        told = previous.reason, previous.message
    else:
        told = "SlowerThanProven", plan.pace.sentence if plan.pace else ""
    return [_condition(DEGRADED, "True", *told, generation, old, now)]


def _route_condition(routes: RoutePlan) -> tuple[str, str, str]:
    if routes.problem:
        return "False", "RouteNotAccepted", routes.problem
    if routes.pending:
        return "Unknown", "RoutePending", routes.pending
    return "True", "Accepted", "all Gateways accept the HTTPRoute and the GRPCRoute"


def _without_traffic(plan: Plan) -> str:
    """Say that nothing serves, and why if a rollout or an autoscaler is the reason."""
    if plan.progress.state is State.SCALED_TO_ZERO:
        return "nothing receives traffic: the model is scaled to zero"
    if plan.shift and plan.shift.makes_room:
        why = "" if plan.shift.why == "spec.rollout.strategy" else f" ({plan.shift.why})"
        return f"nothing receives traffic: revision {plan.active} has made room for the next one{why}"
    if plan.revision and plan.revision.replicas == 0 and plan.kept and plan.kept.replicas:
        return f"nothing receives traffic: revision {plan.active} is being restored"
    return "nothing receives traffic"


def common_conditions(generation: int, progress: Progress, old: Memory, now: datetime) -> list[Condition]:
    """Return the conditions of kstatus, which follow from the progress alone."""
    ready = progress.state in (State.READY, State.SCALED_TO_ZERO)
    out = [_condition("Ready", str(ready), progress.reason, progress.message, generation, old, now)]
    if progress.state in (State.RECONCILING, State.STALLED):
        out.append(_condition(progress.state, "True", progress.reason, progress.message, generation, old, now))
    return out


def _stage_condition(step: Step | None, plan: Plan) -> tuple[str, str, str]:
    if step is None:
        return "Unknown", "Pending", "an earlier stage has to finish first"
    if step.state == "Succeeded":
        if step.stage is Stage.BENCHMARK and plan.choice and plan.choice.winner.missed:
            return "False", "ConstraintsNotMet", "; ".join(plan.choice.winner.missed)
        return "True", "Succeeded", _stage_message(step, plan)
    if step.state == "Failed":
        return "False", plan.progress.reason, plan.progress.message
    return "Unknown", plan.progress.reason, plan.progress.message


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _stage_message(step: Step, plan: Plan) -> str:
    match step.outcome.result if step.outcome else None:
        case ValidateResult(findings=findings):
            counts = {kind: sum(f.severity == kind for f in findings) for kind in ("error", "warning")}
            said = " and ".join(_count(counts[kind], kind) for kind in counts)
            return said if any(counts.values()) else "no findings"
        case OptimizeResult(variants=variants, lowered=lowered, unbatched=unbatched):
            told = f"{_count(sum(bool(v.path) for v in variants), 'candidate')}, including the original"
            axis = f"no batch axis: {unbatched}" if unbatched else ""
            return "; ".join(part for part in (told, lowered, axis) if part)
        case BenchmarkResult():
            return plan.choice.sentence if plan.choice else ""
        case None:  # its Job succeeded, and its result is not known
            return ""
        case _:
            return f"{step.stage} succeeded"


def _condition(
    kind: str, status: str, reason: str, message: str, generation: int, old: Memory, now: datetime
) -> Condition:
    previous = old.condition(kind)
    flipped = previous is None or previous.status != status
    return Condition(
        type=kind,
        status=status,
        reason=reason[:128],
        message=message[:2048],
        observed_generation=generation,
        last_transition_time=format_time(now) if flipped or previous is None else previous.last_transition_time,
    )
