"""The decision: computes a Plan from a model, what was observed, the settings and the clock.

The decision is a list of looks. Each looks at one thing. It either advances, with what it found, or stops and reports
why the model gets no further for now.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from onnxmodel_operator.api.resource import OnnxModel, Resource, SpecError
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan import prune, stages, volume
from onnxmodel_operator.plan.rollout import canary, orders, replicas, revision, room, traffic, upgrade
from onnxmodel_operator.plan.rollout.active import active_revision, kept
from onnxmodel_operator.plan.rollout.pace import pace_of
from onnxmodel_operator.plan.rollout.routes import routes_of
from onnxmodel_operator.plan.rollout.scaling import scaling_of, sleeps, superseded
from onnxmodel_operator.plan.stages import benchmark, loadtest, optimize, probe, validate
from onnxmodel_operator.plan.values import Context, Look, Phase, Plan, Progress, State, Stop, Trouble, stalled
from onnxmodel_operator.platform.policy import PolicyError
from onnxmodel_operator.platform.resolve import resolve
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_runtime.contract.outcome import Failure

LOOKS: Sequence[Look] = (
    volume.look,  # there is a volume for the artifacts
    stages.look(validate),  # the model was fetched, its digest is right and nothing is wrong with it
    room.for_stage(
        stages.look(optimize)
    ),  # the variants are made, and each is known to answer as the original or not to
    room.for_stage(
        stages.look(benchmark)
    ),  # each that does was measured where it will serve, and the winner meets the constraints
    revision.look,  # there is a Deployment of exactly this revision
    canary.guard,  # nothing is wrong with the share of the traffic that it has
    replicas.complete(
        stages.look(loadtest)
    ),  # it runs on all replicas, and one meets the constraints as clients see it
    canary.look,  # it has proved itself with a growing share of the traffic, where the strategy says so
    traffic.switched(stages.look(probe)),  # the Service points to it, and gave the expected answer to a real inference
)


def plan(model: OnnxModel, seen: Observed, settings: Settings, now: datetime) -> Plan:
    """Decide for one model. Raises nothing: the progress of the Plan reports what cannot be done."""
    return _led(_plan(model, seen, settings, now), model, seen, settings, now)


def invalid(resource: Resource, seen: Observed, settings: Settings, now: datetime, error: SpecError) -> Plan:
    """Return the plan for an invalid spec: report it, and change nothing."""
    return _led(_invalid(resource, seen, error), resource, seen, settings, now)


def _plan(model: OnnxModel, seen: Observed, settings: Settings, now: datetime) -> Plan:
    if model.spec.suspend:
        message = (
            "spec.suspend is true: no stage and no revision starts; the current revision keeps serving, "
            "with the replicas in the spec"
        )
        idle = _idle(model, seen, Progress(State.SUSPENDED, Phase.SUSPENDED, "Suspended", message))
        canaries, again = traffic.taken_back(model, seen, idle.active, now)
        gone = tuple(dict.fromkeys((*idle.prune, *canaries)))
        scaling = scaling_of(model, seen, settings, idle.traffic)
        return replace(idle, scaling=scaling, prune=gone, requeue_seconds=again or None)
    try:
        platform = resolve(model, settings)
    except SpecError as error:
        return _invalid(model, seen, error)
    active = active_revision(seen)
    context = Context(model, seen, settings, platform, now, active, traffic.before(model, seen, active))
    if waits := upgrade.held(context):
        stop = _walk(waits[0])
        if upgrade.is_current(stop.context):  # else the spec asks for another revision anyway
            return replace(_decided(stop, upgrade.again(context)), upgrade=waits[1])
    return replace(_decided(_walk(context)), upgrade=upgrade.running(context))


def _led(decided: Plan, model: Resource, seen: Observed, settings: Settings, now: datetime) -> Plan:
    """Add what concerns whatever serves: its pace, and the routes that lead to it."""
    routes = routes_of(model, seen, settings, decided.traffic, now)
    looks = (decided.requeue_seconds, routes.again if routes else None)
    again = min((seconds for seconds in looks if seconds is not None), default=None)
    return replace(decided, pace=pace_of(seen, settings), routes=routes, requeue_seconds=again)


def _invalid(resource: Resource, seen: Observed, error: SpecError) -> Plan:
    path, _ = error.fields[0]
    failure = Failure("InvalidSpec", str(error), f"Correct {path} and apply again.", path)
    if isinstance(error, PolicyError):
        hint = f"Change {path}; the platform team sets these rules (settings.policy in the operator's chart values)."
        failure = Failure("PolicyViolation", str(error), hint, path)
    return _idle(resource, seen, stalled(Trouble("spec", failure)))


def _idle(resource: Resource, seen: Observed, progress: Progress) -> Plan:
    """Nothing is worked on. The active revision serves, with the replicas of the newest spec."""
    active = active_revision(seen)
    serving = traffic.before(resource, seen, active)
    gone = room.given_back(resource, seen, active)
    return Plan(progress, traffic=serving, active=active, kept=kept(resource, seen, active), prune=gone)


def _walk(context: Context) -> Stop:
    """The first look that stops, or the end."""
    for look in LOOKS:
        found = look(context)
        if isinstance(found, Stop):
            return room.judged(found)
        context = found.context
    return traffic.arrived(context)


def _decided(stop: Stop, again: float | None = None) -> Plan:
    """The plan that follows from where the model stops. again: seconds after which to look again in any case."""
    context = stop.context
    target, active = context.revision, context.active
    ready = stop.progress.state is State.READY
    replaced = target is not None and (ready or target.short == active)
    makes_room = context.shift is not None and context.shift.makes_room
    # What shall be gone back to during a rollout, and compared with, runs, although nobody asks for it now.
    least = 1 if context.shift is not None and sleeps(context.model) else 0
    # Where nothing serves, to make room, there is no load: an autoscaler would conclude that few replicas are enough.
    scaling = None if makes_room else scaling_of(context.model, context.seen, context.settings, context.traffic)
    return Plan(
        progress=stop.progress,
        steps=context.steps,
        job=stop.job,
        choice=context.choice,
        revision=target,
        traffic=context.traffic,
        active=target.short if ready and target else active,
        kept=None if replaced else kept(context.model, context.seen, active, makes_room=makes_room, least=least),
        images=upgrade.images_of(context.platform),
        shift=context.shift if not ready else None,
        comparison=canary.comparison(context),
        question=canary.question(context),
        refused=context.refused,
        handled=context.handled or orders.handled(context),
        claim=context.settings.artifacts.remote is None,
        doubts=stop.doubts,
        prune=(*prune.superfluous(stop), *superseded(context.seen, scaling)),
        scaling=scaling,
        keep=prune.needed_folders(context),
        requeue_seconds=min(filter(None, (prune.again(stop), again)), default=None),
    )
