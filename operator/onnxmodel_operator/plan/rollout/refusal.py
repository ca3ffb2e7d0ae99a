"""Revisions that take no traffic, because a gate failed or somebody aborted their rollout.

A refusal holds for the digest of the revision: another spec is another revision, and this one is refused until somebody
orders a retry.
"""

from dataclasses import replace

from onnxmodel_operator import names
from onnxmodel_operator.api.status import RefusedStatus
from onnxmodel_operator.plan.rollout import traffic
from onnxmodel_operator.plan.rollout.orders import handled, is_new
from onnxmodel_operator.plan.values import Advance, Context, Phase, Stop, Trouble, going, stalled
from onnxmodel_operator.times import format_time
from onnxmodel_runtime.contract.outcome import Failure

_MOST = 10
_SHOWN = 1024


def look(context: Context) -> Advance | Stop:
    """Stop for a revision that is refused, or whose rollout shall be aborted now. Forget a refusal on a retry."""
    short = context.target.short
    if context.active in (None, short):
        return Advance(context)
    if is_new(context, "abort"):
        return refuse(context, "RolloutAborted", f"the rollout of revision {short} was aborted")
    refused = context.seen.memory.refused(short)
    if refused is None:
        return Advance(context)
    if is_new(context, "retry"):
        return Advance(replace(context, refused=_others(context)))
    return _stopped(context, refused)


def refuse(context: Context, reason: str, message: str) -> Stop:
    """Take the traffic from the revision, then its pods, and remember why.

    It keeps its pods until status has the refusal: without them the gate would have nothing to judge, and forget it.
    The proven revision takes over only where it has pods: until then the new one serves, for it is better than none.
    """
    short, active = context.target.short, context.active
    if active is not None and not traffic.available(context.seen, active):
        message = f"{message}; traffic goes back to revision {active} as soon as a pod of it is available"
        waits = replace(context, handled=handled(context, but="abort"))
        return Stop(waits, going(Phase.ROLLING_OUT, "RollingBack", message[:_SHOWN]))
    refused = RefusedStatus(revision=short, reason=reason, message=message[:_SHOWN], time=format_time(context.now))
    there = context.seen.revisions.get(short)
    replicas = there.wanted if there else 0
    return _stopped(replace(context, refused=(refused, *_others(context))[:_MOST]), refused, replicas)


def _others(context: Context) -> tuple[RefusedStatus, ...]:
    refused = context.seen.memory.rollout.refused or ()
    return tuple(one for one in refused if one.revision != context.target.short)


def _stopped(context: Context, refused: RefusedStatus, replicas: int = 0) -> Stop:
    """The proven revision has all traffic. The refused one keeps its Deployment, without pods."""
    revision = replace(context.target, replicas=replicas)
    name, namespace = context.model.name, context.model.namespace
    hint = (
        "Apply another spec, or the one of the revision that serves. To try this revision again: "
        f'kubectl -n {namespace} annotate --overwrite onnxmodel {name} {names.RETRY}="$(date +%s)"'
    )
    failure = Failure(refused.reason, refused.message, hint)
    back = replace(context, revision=revision, shift=None, traffic=traffic.to(context.active))
    return Stop(back, stalled(Trouble("rollout", failure)))
