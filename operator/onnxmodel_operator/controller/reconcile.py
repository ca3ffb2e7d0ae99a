"""The reconcile: snapshot, parse, observe, plan, render, apply, summarize, status.

Level-triggered: it reads the present state, never the event that triggered it, so it may run at any time, twice, or
after a crash.
"""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from onnxmodel_operator.api.resource import Resource, SpecError, identify, parse
from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.errors import TRANSIENT, ApiError
from onnxmodel_operator.cluster.lookup import look_up
from onnxmodel_operator.controller.children import replaces, write_children
from onnxmodel_operator.controller.statuses import Told, is_cut, without_messages, write_status
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.controller.troubles import defect, is_refusal, not_applied
from onnxmodel_operator.controller.turn import Turn, child_of
from onnxmodel_operator.controller.writer import Writer
from onnxmodel_operator.drift import difference
from onnxmodel_operator.observe import Observed, explained, observe, puzzles
from onnxmodel_operator.plan import invalid, plan
from onnxmodel_operator.plan.rollout.active import active_revision
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.render import render
from onnxmodel_operator.status import summarize

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The result of a reconcile. phase: for metrics. requeue_seconds: when to reconcile again although nothing changes.

    wrote: a write has changed what the next reconcile would see, and its event will not be new, so reconcile at once.
    unkept: the first field of the status that the API server does not keep; "" if it keeps all.
    """

    phase: str | None = None
    requeue_seconds: float | None = None
    wrote: bool = False
    unkept: str = ""


@dataclass(frozen=True, slots=True)
class _Rest:
    """The result of a turn that found nothing to do. It holds until then, while nothing of its model changes."""

    settings: Settings
    phase: str
    until: datetime | None


_LOOKS = 4
"""Number of times that a reconcile observes the children and applies what is missing before it writes the status."""


async def reconcile(
    key: Key,
    cache: Cache,
    telemetry: Telemetry,
    settings: Settings,
    writer: Writer,
    now: datetime,
    failures: int = 0,
    progressed: Callable[[], None] = lambda: None,
    told: Told = lambda about, events: None,
) -> Reconciled:
    """Advance one model by one step. Raises what the writer raises, or a defect; then it must be called again.

    failures: the number of failures in a row. progressed: called when the turn made progress, even if it then fails.
    told: called with the Events between the status before and the one that was written.
    """
    rest = cache.notes.get(key)
    if isinstance(rest, _Rest) and rest.settings is settings and (rest.until is None or now < rest.until):
        return Reconciled(rest.phase, (rest.until - now).total_seconds() if rest.until else None)
    for _ in range(_LOOKS):
        turn = await _make_sure(key, cache, telemetry, settings, writer, now)
        if turn is None:
            telemetry.forget(key)
            return Reconciled()  # its children go by their owner references
        try:
            await _carry_out(turn, cache, writer, failures)
        finally:
            if turn.progressed:
                progressed()
        if turn.error or turn.deleted or not turn.applied:
            break
    assert turn is not None
    status = _summarize(turn, now)
    resource, decided = turn.resource, turn.decided
    telemetry.conclude(key, decided)
    unkept = await _tell(turn, status, cache, writer, now, told)
    if turn.error:
        raise turn.error  # said in status, and tried again by the caller
    if status == resource.status and not turn.asked and not turn.news and _depends_on_itself(turn):
        again = decided.requeue_seconds
        until = now + timedelta(seconds=again) if again is not None else None
        cache.notes[key] = _Rest(settings, decided.progress.phase, until)
    return Reconciled(decided.progress.phase, decided.requeue_seconds, turn.news, unkept)


def _depends_on_itself(turn: Turn) -> bool:
    """Return whether the turn depends on no other model.

    Stages of other models affect how a Job is rendered, and which pods are ahead of a waiting one.
    """
    jobs, revisions = turn.seen.jobs.values(), turn.seen.revisions.values()
    waits = any(job.waiting for job in jobs) or any(revision.waiting for revision in revisions)
    return turn.decided.job is None and not waits


async def _make_sure(
    key: Key, cache: Cache, telemetry: Telemetry, settings: Settings, writer: Writer, now: datetime
) -> Turn | None:
    """Look at the model. If a conclusion depends on what the cache lacks, ask the API server and look again."""
    turn = await _look(key, cache, telemetry, settings, writer, now)
    asked: set[str] = set()
    while turn and (doubts := _doubts(turn, cache) - asked):
        for job in sorted(doubts):
            await look_up(cache, writer, key, job)
        asked |= doubts
        turn = await _look(key, cache, telemetry, settings, writer, now)
    if turn:
        turn.asked |= bool(asked)
    return turn


async def _carry_out(turn: Turn, cache: Cache, writer: Writer, failures: int) -> None:
    """Do what the plan says. A refusal by the API server or a defect becomes the turn's plan and error. Raises the
    rest.
    """
    resource, seen = turn.resource, turn.seen
    try:
        await write_children(turn, cache, writer)
    except ApiError as error:
        if not is_refusal(error, failures):
            raise
        turn.error = error
        turn.decided = not_applied(turn.decided, active_revision(seen), error)
    except (OSError, TimeoutError):
        raise
    except Exception as error:
        turn.error = error
        turn.decided = defect(resource, seen, error)


def _summarize(turn: Turn, now: datetime) -> dict[str, Any]:
    """Make the status to write. If that fails, it is a defect, and the turn's error."""
    try:
        return summarize(turn.resource, turn.seen, turn.decided, now)
    except Exception as error:
        turn.error, turn.decided = error, defect(turn.resource, turn.seen, error)
        return summarize(turn.resource, turn.seen, turn.decided, now)


async def _tell(turn: Turn, status: dict[str, Any], cache: Cache, writer: Writer, now: datetime, told: Told) -> str:
    """Write the status if it is new. Returns the first field that the API server does not keep."""
    old = turn.resource.status
    if status == old or (turn.error and without_messages(status) == without_messages(old)):
        return ""
    if is_cut(cache, turn.resource, status):
        return difference(status, old)
    try:
        return await write_status(turn, status, cache, writer, now, told)
    except TRANSIENT as failed:
        if turn.error and not isinstance(turn.error, TRANSIENT):
            raise turn.error from failed  # a defect, of which only the caller's log tells then
        raise


async def _look(
    key: Key, cache: Cache, telemetry: Telemetry, settings: Settings, writer: Writer, now: datetime
) -> Turn | None:
    """Observe the model and decide. None if there is no such model, or it is being deleted."""
    snapshot = telemetry.add_to(cache.snapshot(key), key)
    if snapshot.model is None or "deletionTimestamp" in snapshot.model["metadata"]:
        return None
    seen: Observed | None = None
    resource: Resource | None = None
    try:
        seen = observe(snapshot)
        if unclear := puzzles(seen, now):
            seen = await _explained(seen, unclear, key[0], writer, now)
            seen = dataclasses.replace(seen, upgrading=cache.others_upgrading(key))
        try:
            resource = model = parse(snapshot.model)
            decided = plan(model, seen, settings, now)
            if decided.upgrade and decided.upgrade.state == "Running":
                cache.upgrading.add(key)  # before another model decides
        except SpecError as error:
            resource = resource or identify(snapshot.model)
            decided = invalid(resource, seen, settings, now, error)
        return Turn(resource, seen, decided, render(resource, decided, settings), asked=bool(unclear))
    except TRANSIENT:
        raise
    except Exception as error:
        resource = resource or identify(snapshot.model)
        # What pods tell is what others write. Without it, it is still known what serves.
        seen = seen or observe(dataclasses.replace(snapshot, pods=(), busy=()))
        return Turn(resource, seen, defect(resource, seen, error), error=error)


def _doubts(turn: Turn, cache: Cache) -> frozenset[str]:
    """The Jobs to ask the API server about: the plan concludes something from what the cache lacks, or a Job would be
    replaced because of a pod that may have moved on.
    """
    replaced = {
        manifest["metadata"]["name"]
        for manifest in turn.manifests
        if manifest["kind"] == "Job" and replaces(cache, manifest, turn.seen.live.get(child_of(manifest)))
    }
    return turn.decided.doubts | replaced


async def _explained(seen: Observed, unclear: set[str], namespace: str, writer: Writer, now: datetime) -> Observed:
    """Add the events of whatever waits without a reason in its own status. They are read on demand, never watched."""
    told = {}
    for uid in unclear:
        try:
            told[uid] = await writer.warnings(namespace, uid)
        except ApiError as error:
            if not is_refusal(error):
                raise
            log.warning("cannot read events of %s in %s: %s", uid, namespace, error)
    return explained(seen, told, now)
