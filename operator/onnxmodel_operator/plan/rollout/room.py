"""Room for a new revision where the pool has none beside the one that serves.

With Recreate the active revision is scaled to 0 first; with Auto only where pods would wait in vain. If what it made room
for fails, it is restored, and that is refused from then on: it never causes a second outage by itself.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from onnxmodel_operator import names, quantity
from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.api.status import RefusedStatus
from onnxmodel_operator.observe import Observed, Waiting
from onnxmodel_operator.plan.rollout import refusal, traffic
from onnxmodel_operator.plan.rollout.orders import is_new
from onnxmodel_operator.plan.values import (
    RECREATE,
    Advance,
    Child,
    Context,
    Look,
    Phase,
    Shift,
    State,
    Stop,
    going,
)
from onnxmodel_operator.platform.resolve import Placement
from onnxmodel_operator.times import parse_time
from onnxmodel_runtime.contract.stages import STAGES

_LOOK_SECONDS = 5.0


def begin(context: Context, why: str) -> Context:
    """Add the rollout of a revision for which the active one makes room, and since when."""
    short, stored, seen = context.target.short, context.seen.memory.rollout, context.seen
    known = parse_time(stored.since) if (stored.strategy, stored.revision) == (RECREATE, short) else None
    context = replace(context, shift=Shift(RECREATE, why, since=known or context.now))
    probed = seen.routed == short and traffic.is_unrefuted(seen, short)
    return replace(context, traffic=traffic.to(short)) if probed else context


def was_made(context: Context) -> str:
    """Return why Auto made room for this revision, or for the stages before it. Empty if it did not."""
    stored, held = context.seen.memory.rollout, context.shift
    if held and held.makes_room:
        return held.why
    ours = (stored.strategy, stored.revision) == (RECREATE, context.target.short)
    return (stored.why or "Auto: there was no room beside the old revision") if ours else ""


def for_stage(look: Look) -> Look:
    """Look at a stage whose Job runs as the server does, and have room made for it where it finds none."""

    def at(context: Context) -> Advance | Stop:
        if context.active is None or context.model.spec.rollout.strategy not in ("Auto", RECREATE):
            return look(context)
        found = look(replace(context, shift=context.shift or _held(context)))
        return found if isinstance(found, Advance) else _of_stage(found)

    return at


def judged(stop: Stop) -> Stop:
    """Turn a rollout that is stalled into a refusal if room was made for it, and have Auto make room if that is missing."""
    context, shift, trouble = stop.context, stop.context.shift, stop.progress.trouble
    if stop.progress.state is not State.STALLED or context.revision is None or shift is None or trouble is None:
        return stop
    if shift.makes_room:
        return refusal.recorded(stop, context.target.short, trouble.failure)
    seen = context.seen.revisions.get(context.target.short)
    lacks_room = trouble.stage == "serve" and seen is not None and not seen.ended and _lacks_room(seen.waiting)
    if context.model.spec.rollout.strategy != "Auto" or not lacks_room or not _fits(context, context.target.replicas):
        return stop
    return _making(stop, f"revision {context.target.short}", trouble.failure.message, Phase.DEPLOYING)


def given_back(resource: Resource, seen: Observed, active: str | None) -> tuple[Child, ...]:
    """Return the children whose place the active revision needs again, where it made room and nothing is worked on."""
    if seen.memory.rollout.strategy != RECREATE or active is None:
        return ()
    kept = names.child(resource.name, active)
    jobs = [("Job", job.name) for job in seen.jobs.values() if job.state == "Running"]
    servers = [child for child in seen.live if child[0] in ("Deployment", "ControllerRevision") and child[1] != kept]
    return tuple(child for child in (*jobs, *servers) if child in seen.live)


def _held(context: Context) -> Shift | None:
    """The room that was made for the stages of this spec, and is still there."""
    stored, memory = context.seen.memory.rollout, context.seen.memory
    there = context.seen.revisions.get(context.active or "")
    for_stages = (
        stored.strategy == RECREATE and stored.revision is None and memory.generation == context.model.generation
    )
    if not for_stages or there is None or there.wanted:
        return None
    return Shift(RECREATE, stored.why or "", since=parse_time(stored.since))


def _of_stage(stop: Stop) -> Stop:
    step, held = stop.context.steps[-1], stop.context.shift
    short, what = names.short(step.digest), f"stage {step.stage}"
    standing = refusal.standing(stop.context, short)
    if isinstance(standing, RefusedStatus):  # its Job goes, with what it holds
        return replace(refusal.stopped(stop.context, standing), superfluous=(("Job", step.job),))
    context = standing
    stop, progress = replace(stop, context=context), stop.progress
    stalled, trouble = progress.state is State.STALLED, progress.trouble
    lacks_room = step.seen is not None and _lacks_room(step.seen.waiting)
    if held and is_new(context, "abort"):
        return refusal.recorded(stop, short, refusal.aborted(what))
    late = held is not None and _is_late(context, held)
    if held and trouble and (late or (stalled and lacks_room)):
        return refusal.recorded(stop, short, trouble.failure)
    if stalled and not lacks_room:
        return replace(stop, context=replace(context, shift=None))
    if held:
        return replace(stop, again=_LOOK_SECONDS if trouble else stop.again)
    if not lacks_room or trouble is None:
        return stop
    if context.model.spec.rollout.strategy == RECREATE or (stalled and _fits(context, 1)):
        return _making(stop, what, trouble.failure.message, STAGES[step.stage].phase)
    return stop


def _is_late(context: Context, held: Shift) -> bool:
    """Return whether nothing has served for a whole progress deadline because room was made."""
    since = held.since or context.now
    return (context.now - since).total_seconds() >= context.settings.progress_deadline_seconds


def _making(stop: Stop, what: str, lacking: str, phase: str) -> Stop:
    context = stop.context
    explicit = context.model.spec.rollout.strategy == RECREATE
    why = (
        "spec.rollout.strategy" if explicit else f"Auto: no room for {what} beside revision {context.active}: {lacking}"
    )
    message = f"revision {context.active} is scaled to 0 to make room for {what}: {lacking}"
    shift = Shift(RECREATE, why, since=context.now)
    return Stop(replace(context, shift=shift), going(phase, "MakingRoom", message), stop.job, again=_LOOK_SECONDS)


def _lacks_room(waiting: Waiting | None) -> bool:
    return waiting is not None and waiting.no_room and not waiting.queued


def _fits(context: Context, replicas: int) -> bool:
    """Return whether so many new pods fit in the place of the active revision's: otherwise to stop it were in vain.

    One of which no pod is available loses nothing by it.
    """
    seen, record = context.seen.revisions.get(context.active or ""), context.seen.records.get(context.active or "")
    if seen is None or record is None:
        return False
    if seen.available and seen.available < replicas:
        return False
    return _needs_no_more(context.platform.server, record["spec"]["template"]["spec"])


def _needs_no_more(new: Placement, old: Mapping[str, Any]) -> bool:
    """Return whether a pod of this placement may run where the other pod does, and asks for no more than it."""
    if new.pool.node_selector != old.get("nodeSelector", {}):
        return False
    if new.pool.resource_claim_template_name:
        names_of = Counter(claim.get("resourceClaimTemplateName") for claim in old.get("resourceClaims", ()))
        if names_of[new.pool.resource_claim_template_name] < new.gpus:
            return False
    elif new.gpus and _asked(old).get(new.pool.gpu_resource, Decimal(0)) < new.gpus:
        return False
    asked = {**new.resources.limits, **new.resources.requests}
    return all(quantity.parse(amount) <= _asked(old).get(name, Decimal(0)) for name, amount in asked.items())


def _asked(pod: Mapping[str, Any]) -> Mapping[str, Decimal]:
    """The resources that the containers of a pod ask for. A limit without a request is one."""
    total: dict[str, Decimal] = {}
    for container in pod["containers"]:
        given = container.get("resources", {})
        for name, amount in {**given.get("limits", {}), **given.get("requests", {})}.items():
            total[name] = total.get(name, Decimal(0)) + quantity.parse(amount)
    return total
