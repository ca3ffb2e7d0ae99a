"""Selection of obsolete children: Jobs, revisions and Services to delete, and the folders of the volume to keep."""

import re
from collections.abc import Mapping
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.observe import JobSeen
from onnxmodel_operator.plan.rollout import routes, traffic
from onnxmodel_operator.plan.rollout.active import arguments
from onnxmodel_operator.plan.rollout.canary import comparison
from onnxmodel_operator.plan.rollout.protection import protected
from onnxmodel_operator.plan.rollout.replicas import asked_alone
from onnxmodel_operator.plan.values import Child, Context, State, Stop
from onnxmodel_operator.times import parse_time
from onnxmodel_runtime.contract.stages import FOLDERS
from onnxmodel_runtime.contract.volume import ARTIFACTS

_FOLDER = re.compile(rf"{ARTIFACTS}/((?:{'|'.join(map(re.escape, FOLDERS))})/[0-9a-f]{{16}})")


def superfluous(stop: Stop) -> tuple[Child, ...]:
    """Return the children to delete.

    They are Jobs of other digests than the steps', Deployments that neither serve nor shall, and Services of load tests
    and comparisons that are over. The active revision stays until status names its successor: a turn that is cut short
    would otherwise leave a status that names a revision without pods, and a newer spec would send traffic back to it.
    While it has no pods, the revision that takes traffic stays as well.
    """
    context = stop.context
    if context.place is None:
        return ()  # nothing is known to be superfluous before everything has its name
    model, live, target = context.model, context.seen.live, context.revision
    takes = (*context.traffic, *traffic.before(model, context.seen, context.active))
    revisions = {target.short if target else None, context.active, *(revision for revision, _ in takes)}
    # By name, for anybody can remove a label.
    kept = {names.child(model.name, revision) for revision in revisions if revision}
    alone = asked_alone(stop.job, target, comparison(context))
    led = {route.canary for route in context.seen.routes.values()} | _left_lately(context)
    kept |= {names.child(model.name, revision) for revision in led if revision}  # until no route leads there
    services = {model.name, alone.name if alone else None, *_canary_services(stop, led)}
    gone = [("Job", job.name) for job in _other_jobs(context) if not _stays(context, job)]
    gone += [("Job", job.name) for job in _read_jobs(context) if _over(context, job)]
    gone += stop.superfluous
    gone += [child for child in live if child[0] in ("Deployment", "ControllerRevision") and child[1] not in kept]
    gone += [child for child in live if child[0] == "Service" and child[1] not in services]
    if not protected(model, context.traffic):
        gone += [child for child in live if child[0] == "PodDisruptionBudget"]
    gone += _unused_volumes(stop)
    return tuple(child for child in gone if child in live)


def _canary_services(stop: Stop, led: set[str]) -> set[str]:
    """The Services of revisions in routes: while one leads there, and as long as the revision may get a share.

    A Gateway answers for a route to a Service that is gone with an error, and hears of both in its own time.
    """
    context = stop.context
    if context.settings.routes is None:
        return set()
    may = set() if stop.progress.state is State.READY else set(context.seen.revisions) - {context.active}
    return {names.canary_service(context.model.name, revision) for revision in (may | led) - {""}}


def _left_lately(context: Context) -> set[str]:
    """The revisions to which a Gateway may still lead: it may not have heard yet that the routes no longer do."""
    if not routes.seconds_to_hear(context.seen, context.now):
        return set()
    services = (name for kind, name in context.seen.live if kind == "Service")
    return {names.revision_of_canary(context.model.name, service) for service in services} - {""}


def _unused_volumes(stop: Stop) -> list[Child]:
    """The volume of a model whose artifacts are elsewhere now, once it serves from there and nothing mounts the volume."""
    if stop.context.settings.artifacts.remote is None or stop.progress.state is not State.READY:
        return []
    live = stop.context.seen.live
    if any(_mounts_a_claim(item) for (kind, _), item in live.items() if kind in ("Deployment", "ControllerRevision")):
        return []
    return [child for child in live if child[0] == "PersistentVolumeClaim"]


def _mounts_a_claim(item: Mapping[str, Any]) -> bool:
    pod = item.get("data", item)["spec"]["template"]["spec"]
    return any("persistentVolumeClaim" in volume for volume in pod.get("volumes", ()))


def again(stop: Stop) -> float | None:
    """Return the seconds until the next look: when the stop asks for it, or when a Job or what a route led to has been kept long
    enough.
    """
    context = stop.context
    if context.place is None:
        return stop.again
    jobs = [*(job for job in _other_jobs(context) if _to_come(context, job)), *_read_jobs(context)]
    left = [seconds for job in jobs if (seconds := _left(context, job)) is not None and seconds > 0]
    if _left_lately(context):
        left.append(routes.seconds_to_hear(context.seen, context.now))
    return min([*left, stop.again] if stop.again else left, default=stop.again)


def needed_folders(context: Context) -> tuple[str, ...]:
    """Return the folders of the volume to keep: of the spec, of what serves, and of specs that status remembers."""
    paths = [stage.directory or "" for stage in context.seen.memory.successes]
    paths += [step.directory or "" for step in context.steps]
    paths += [step.fetch.directory for step in context.steps if step.fetch]
    for (kind, _), item in context.seen.live.items():
        if kind in ("Deployment", "ControllerRevision"):
            paths += arguments(item)
    return tuple(sorted({folder for path in paths for folder in _FOLDER.findall(path)}))


def _other_jobs(context: Context) -> list[JobSeen]:
    """Jobs that no step asks for."""
    wanted = {step.job for step in context.steps}
    return [job for job in context.seen.jobs.values() if job.name not in wanted]


def _read_jobs(context: Context) -> list[JobSeen]:
    """Jobs of which status has the result."""
    memory = context.seen.memory
    return [step.seen for step in context.steps if step.seen and memory.success(step.stage, step.digest)]


def _stays(context: Context, job: JobSeen) -> bool:
    return _to_come(context, job) and not _over(context, job)


def _to_come(context: Context, job: JobSeen) -> bool:
    """Return whether a later step may ask for a Job that no step of this plan asks for.

    It succeeded in a stage to which the plan has yet to come. A Deployment that is away for a moment must not cost the
    log of its load test.
    """
    return job.state == "Succeeded" and job.stage not in {step.stage for step in context.steps}


def _over(context: Context, job: JobSeen) -> bool:
    """Return whether the Job's log has been kept long enough, or the Job would never end by itself."""
    left = _left(context, job)
    return bool(job.kept_alive_by) if left is None else left <= 0


def _left(context: Context, job: JobSeen) -> float | None:
    """For how many seconds the platform wants a Job to be kept; None for one that has not succeeded."""
    ended = parse_time(job.completion_time) if job.completion_time else None
    if job.state != "Succeeded" or ended is None:
        return None
    return (ended - context.now).total_seconds() + context.settings.jobs.keep_succeeded_seconds
