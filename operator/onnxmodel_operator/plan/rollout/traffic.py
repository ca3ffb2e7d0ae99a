"""Distribution of traffic over revisions."""

from dataclasses import replace
from datetime import datetime

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.observe import JobSeen, Observed
from onnxmodel_operator.observe.objects import label
from onnxmodel_operator.plan.rollout import routes
from onnxmodel_operator.plan.values import (
    RECREATE,
    Advance,
    Child,
    Context,
    Look,
    Phase,
    Progress,
    State,
    Stop,
    Traffic,
    failed,
    going,
)
from onnxmodel_runtime.contract.stages import STAGES, Stage

_WRONG_ANSWERS = ("ProbeMismatch", "ProbeRefused")
"""Reasons of a probe that got an answer."""
_PHASE = STAGES[Stage.PROBE].phase


def to(revision: str | None) -> Traffic:
    """Send all traffic to one revision, or to none."""
    return ((revision, 100),) if revision else ()


def before(model: Resource, seen: Observed, active: str | None) -> Traffic:
    """Return the traffic that applies unless the newest spec proves another revision.

    The active revision takes it. But while it lacks pods that it should have, a newer revision that already takes
    traffic keeps it, unless its probe got a wrong answer. One for which the active revision made room keeps nothing: the
    two cannot both run.
    """
    # Of two that share the traffic, the Service names the proven one.
    taking = (seen.memory.rollout.revision if seen.divided else seen.routed) or ""
    if active is None or model.replicas == 0 or available(seen, active) or seen.memory.rollout.strategy == RECREATE:
        return to(active)
    return to(taking if is_unrefuted(seen, taking) else active)


def taken_back(model: Resource, seen: Observed, active: str | None, now: datetime) -> tuple[tuple[Child, ...], float]:
    """Return the Deployments of a canary to delete while nothing is worked on, and the seconds until there may be one.

    Connections outlive Services and routes: as long as it has pods, it would answer those that it has. It keeps them
    while the active revision has none, and while a Gateway may still lead to it.
    """
    if active is None or not available(seen, active):
        return (), 0.0
    rollout = seen.memory.rollout
    tried = {names.revision_of_canary(model.name, name) for kind, name in seen.live if kind == "Service"}
    tried |= {rollout.revision or "" if rollout.strategy == "Canary" else ""}
    gone = {("Deployment", names.child(model.name, revision)) for revision in tried - {"", active}} & seen.live.keys()
    led = {("Deployment", names.child(model.name, route.canary)) for route in seen.routes.values() if route.canary}
    seconds = routes.seconds_to_hear(seen, now) if gone else 0.0
    return () if seconds else tuple(sorted(gone - led)), seconds


def is_unrefuted(seen: Observed, revision: str) -> bool:
    """Return whether the revision can answer, and no probe got a wrong answer from it."""
    return available(seen, revision) and not any(_refuted(job, seen) for job in seen.jobs.values())


def available(seen: Observed, revision: str) -> bool:
    """Return whether a pod of the revision can answer."""
    return revision in seen.revisions and seen.revisions[revision].available > 0


def is_labelled(seen: Observed, revision: str | None) -> bool:
    """Return whether a Service can select the revision's pods beside another one's. One that is yet to be made can."""
    there = seen.revisions.get(revision or "")
    item = seen.live["Deployment", there.name] if there else seen.records.get(revision or "")
    if item is None:
        return True
    return bool(label({"metadata": item["spec"]["template"].get("metadata", {})}, names.LABEL_SERVER))


def switched(probe: Look) -> Look:
    """Send traffic to the new revision and require its probe. If the answer is wrong, traffic goes back.

    A probe that could not ask proves nothing: traffic goes back where a proven revision can take it, and else stays
    with what has pods. A model's very first revision takes none before it is proven.
    """

    def at(context: Context) -> Advance | Stop:
        found, new = probe(context), to(context.target.short)
        job = found.context.step(Stage.PROBE).seen
        if isinstance(found, Advance):
            return Advance(replace(found.context, traffic=new))
        old = context.traffic
        if not (found.progress.state is State.STALLED and failed(job)):
            traffic = new  # a probe that waits for a node or an image has yet to ask, and asks this revision
        elif old not in ((), new):
            traffic = old
        elif old == new and not _refuted(job, context.seen):
            return found
        else:  # there is no older revision to go back to, and an unproven one takes no traffic
            service = ("Service", context.model.name)
            return replace(found, context=replace(found.context, traffic=()), superfluous=(*found.superfluous, service))
        found = replace(found, context=replace(found.context, traffic=traffic))
        revision = traffic[0][0]
        if context.seen.routed == revision:
            return found
        # Asked before the Service points there, the probe would ask the old revision: its Job comes after that.
        message = f"Service {context.model.name} is being switched to revision {revision}"
        return replace(found, progress=going(_PHASE, "Switching", message), job=None)

    return at


def arrived(context: Context) -> Stop:
    """End the walk: the new revision is proven and takes all traffic."""
    model, revision = context.model, context.target.short
    if context.seen.routed != revision:
        return Stop(context, going(_PHASE, "Switching", f"Service {model.name} is being switched to {revision}"))
    missed = "; ".join(context.chosen.winner.missed)
    message = f"{context.chosen.sentence}{f' (misses: {missed})' if missed else ''}"
    problem, _ = routes.unaccepted(model, context.seen, context.settings, context.now)
    if problem:  # what serves does, and clients outside of the cluster should know why they cannot ask
        message = f"{problem}; {message}"
        return Stop(context, Progress(State.READY, Phase.READY, "RouteNotAccepted", message))
    return Stop(context, Progress(State.READY, Phase.READY, "Ready", message))


def _refuted(job: JobSeen | None, seen: Observed) -> bool:
    """Return whether a server gave the probe a wrong answer.

    A probe that found no server, none of the revision, or no node refutes nothing.
    """
    if job is None or job.stage != Stage.PROBE or not failed(job) or job.ended is None:
        return False
    last = None if job.pods else seen.memory.failure_of(job.name)
    return (last.reason if last else job.ended.failure.reason) in _WRONG_ANSWERS
