"""Revisions that take no traffic, because they failed where it counts, or somebody aborted their rollout.

A refusal holds for the digest of the revision: another spec is another revision, and this one is refused until somebody
orders a retry.
"""

from dataclasses import replace

from onnxmodel_operator import names
from onnxmodel_operator.api.status import RefusedStatus
from onnxmodel_operator.plan.rollout import routes, traffic
from onnxmodel_operator.plan.rollout.orders import handled, is_new
from onnxmodel_operator.plan.values import Advance, Context, Phase, Stop, Trouble, going, stalled
from onnxmodel_operator.times import format_time
from onnxmodel_runtime.contract.outcome import Failure

_MOST = 10
_SHOWN = 1024
_NAME = 253
_HINTS = {"AnswersDiffer": "If its answers are meant to differ, first remove spec.rollout.gates.compare."}
"""By the reason of a gate: what to do before what is to be done in any case."""


def look(context: Context) -> Advance | Stop:
    """Stop for a revision that is refused, or whose rollout shall be aborted now. Forget a refusal on a retry."""
    short = context.target.short
    if context.active in (None, short):
        return Advance(context)
    if is_new(context, "abort"):
        failure = aborted(f"revision {short}")
        return refuse(context, failure.reason, failure.message)
    found = standing(context, short)
    if isinstance(found, RefusedStatus):
        return stopped(context, found, _held(context, short))
    return Advance(found)


def standing(context: Context, short: str) -> RefusedStatus | Context:
    """Return the refusal that holds, or the context: without it if a retry was ordered."""
    refused = context.seen.memory.refused(short)
    if refused is None:
        return context
    return replace(context, refused=_others(context, short)) if is_new(context, "retry") else refused


def aborted(what: str) -> Failure:
    """Return what an order to abort is as a failure."""
    return Failure("RolloutAborted", f"the rollout of {what} was aborted", "")


def refuse(context: Context, reason: str, message: str) -> Stop:
    """Take the traffic from the revision, then its pods, and remember why.

    It keeps its pods until status has the refusal: without them the gate would have nothing to judge, and forget it.
    The proven revision takes over only where it has pods: until then the new one serves, for it is better than none. Not
    where the proven one made room for it: it gets pods only in the place of the new one's.
    """
    short, active = context.target.short, context.active
    makes_room = context.shift is not None and context.shift.makes_room
    if active is not None and not makes_room and not traffic.available(context.seen, active):
        message = f"{message}; traffic goes back to revision {active} as soon as a pod of it is available"
        waits = replace(context, handled=handled(context, but="abort"))
        return Stop(waits, going(Phase.ROLLING_OUT, "RollingBack", message[:_SHOWN]))
    there = context.seen.revisions.get(short)
    replicas = there.wanted if there and not makes_room else 0
    refused = _remembered(context, short, Failure(reason, message, _HINTS.get(reason, "")))
    return stopped(replace(context, refused=refused), refused[0], replicas)


def recorded(stop: Stop, short: str, failure: Failure) -> Stop:
    """Record that a revision or a run of a stage is refused, before anything is done about it.

    What shows the failure goes with its pods: only the next turn may touch them, which then knows it from status.
    """
    context = stop.context
    message = f"revision {context.active} is about to be restored: {failure.message}"[:_SHOWN]
    return Stop(
        replace(context, refused=_remembered(context, short, failure), traffic=traffic.to(context.active)),
        going(Phase.ROLLING_OUT, "RollingBack", message),
        stop.job,
        again=1.0,
    )


def stopped(context: Context, refused: RefusedStatus, replicas: int = 0) -> Stop:
    """The proven revision has all traffic. A refused one keeps its Deployment, without pods."""
    revision = replace(context.target, replicas=replicas) if context.revision else None
    name, namespace = context.model.name, context.model.namespace
    hint = (
        "Apply another spec, or the one of the revision that serves. To try this revision again: "
        f'kubectl -n {namespace} annotate --overwrite onnxmodel {name} {names.RETRY}="$(date +%s)"'
    )
    failure = Failure(refused.reason, refused.message, f"{refused.hint} {hint}" if refused.hint else hint)
    told = handled(context)  # an order to promote that came too late must not promote the next attempt
    back = replace(context, revision=revision, shift=None, handled=told, traffic=traffic.to(context.active))
    return Stop(back, stalled(Trouble("rollout", failure)))


def _held(context: Context, short: str) -> int:
    """Return the replicas of a refused revision: those that it has while a Gateway may still lead to them, then none."""
    there, service = context.seen.revisions.get(short), names.canary_service(context.model.name, short)
    led = ("Service", service) in context.seen.live and routes.seconds_to_hear(context.seen, context.now)
    return there.wanted if there and led else 0


def _remembered(context: Context, short: str, failure: Failure) -> tuple[RefusedStatus, ...]:
    """Return the refusals that status shall remember: this refusal, and the others."""
    refused = RefusedStatus(
        revision=short,
        reason=failure.reason[:_NAME],
        message=failure.message[:_SHOWN],
        hint=failure.hint[:_SHOWN] or None,
        time=format_time(context.now),
    )
    return (refused, *_others(context, short))[:_MOST]


def _others(context: Context, short: str) -> tuple[RefusedStatus, ...]:
    refused = context.seen.memory.rollout.refused or ()
    return tuple(one for one in refused if one.revision != short)
