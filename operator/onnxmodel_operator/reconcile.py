"""The one story: snapshot, parse, observe, plan, render, apply, summarize, status.

Level-triggered: it looks at what is, never at what just happened, so it may be run at any time, twice, or after a crash.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import Resource, SpecError, identify, parse
from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.errors import (
    TRANSIENT,
    ApiError,
    NameTakenError,
    StaleError,
    in_a_leaving_namespace,
    is_outage,
    lacks_a_right,
)
from onnxmodel_operator.cluster.kinds import BY_NAME, MODEL
from onnxmodel_operator.cluster.lookup import look_up
from onnxmodel_operator.drift import FIXED, applicable, difference, fingerprint, needs_apply, needs_replacement
from onnxmodel_operator.metrics import WRITES
from onnxmodel_operator.observe import Observed, Warned, explained, observe, puzzles
from onnxmodel_operator.observe.memory import read
from onnxmodel_operator.plan import Plan, active_revision, invalid, plan
from onnxmodel_operator.platform.settings import Settings
from onnxmodel_operator.render import Manifest, render
from onnxmodel_operator.status import excused, summarize
from onnxmodel_operator.troubles import defect, not_applied, status_refused

log = logging.getLogger(__name__)

_ANSWERS = (400, 403, 422)
"""The API server understood and refuses: quota, admission, a rule. Worth saying in status; anything else just passes."""


_PATIENCE = 3
"""After so many failures in a row, what the API server cannot do (a webhook that cannot be called) is worth saying, too. So
is a conflict about what nobody else has changed: a quota's own update makes one that passes, a webhook one that does not.
"""


def _is_conflict(error: ApiError) -> bool:
    return error.status == 409 and not isinstance(error, StaleError)


def _refuses_content(error: ApiError) -> bool:
    """Whether a status was refused for what is in it: by the schema, an admission policy or a webhook."""
    return error.status in _ANSWERS and not in_a_leaving_namespace(error) and not lacks_a_right(error)


def _refusal(error: ApiError, failures: int = 0) -> bool:
    if in_a_leaving_namespace(error):
        return False
    lasts = failures >= _PATIENCE and (_is_conflict(error) or (error.status >= 500 and not is_outage(error)))
    return lasts or error.status in _ANSWERS or isinstance(error, NameTakenError)


class Writer(Protocol):
    """What a reconcile writes with: `cluster.client.Client`, or a recorder in a test."""

    async def apply(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a child what the manifest says. Returns what became of it."""

    async def create(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply a child that does not exist yet. Returns it. Raises StaleError where something has its name."""

    async def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Any object, ours or not; None where there is none."""

    async def model(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A model; None where there is none."""

    async def pods(self, namespace: str, job: str) -> Sequence[Mapping[str, Any]]:
        """The pods of a Job."""

    async def warnings(self, namespace: str, uid: str) -> tuple[Warned, ...]:
        """The warning events of an object, the newest first."""

    async def apply_status(
        self, namespace: str, name: str, version: str, status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Make the status exactly this. Returns the resource. Raises StaleError where that has another version."""

    async def delete(self, kind: str, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Delete a child, if it still is what `item` says; one that is not there is fine. Returns it while it is on its
        way out. Raises StaleError where it has changed.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reconcile ended: the phase for metrics, and when to look again though nothing changes.

    wrote: something was written that a next look would see, and whose event is no news. So that look is due at once.
    unkept: the first field of the status that the API server does not keep; "" where it keeps all.
    """

    phase: str | None = None
    requeue_seconds: float | None = None
    wrote: bool = False
    unkept: str = ""


@dataclass(slots=True)
class _Turn:
    """One look at one model, and what it leads to.

    error: a defect of the operator, or what the API server refuses. applied: a child was; so there is more to see at once.
    progressed: one was created that was absent, or deleted that nothing needs. To undo what another hand does is no progress.
    deleted: one with pods was, and with them the reason for it; so status comes first.
    news: what was written changed what the cache knows, and was not looked at since. asked: the API server was, so the cache
    alone does not decide.
    """

    resource: Resource
    seen: Observed
    decided: Plan
    manifests: tuple[Manifest, ...] = ()
    error: Exception | None = None
    applied: bool = False
    progressed: bool = False
    deleted: bool = False
    news: bool = False
    asked: bool = False


@dataclass(frozen=True, slots=True)
class _Rest:
    """What a turn came to that found nothing to do. Until then, and while nothing of its model changes, so will the next."""

    settings: Settings
    phase: str
    until: datetime | None


_WITH_PODS = ("Job", "Deployment")

_LOOKS = 4
"""How often a reconcile looks, applies what is missing and looks again, before it says in status how far the model is."""


async def reconcile(
    key: Key,
    cache: Cache,
    settings: Settings,
    writer: Writer,
    now: datetime,
    failures: int = 0,
    progressed: Callable[[], None] = lambda: None,
) -> Outcome:
    """Bring one model one step on. Raises what the writer raises; then it must be called again.

    failures: how often in a row that has failed. progressed: called when the turn came on, whatever fails after it.
    """
    rest = cache.notes.get(key)
    if isinstance(rest, _Rest) and rest.settings is settings and (rest.until is None or now < rest.until):
        return Outcome(rest.phase, (rest.until - now).total_seconds() if rest.until else None)
    for _ in range(_LOOKS):
        turn = await _make_sure(key, cache, settings, writer, now)
        if turn is None:
            return Outcome()  # its children go by their owner references
        try:
            await _carry_out(key, turn, cache, writer, failures)
        finally:
            if turn.progressed:
                progressed()
        if turn.error or turn.deleted or not turn.applied:
            break
    assert turn is not None
    status = _summarize(turn, now)
    resource, decided = turn.resource, turn.decided
    same = turn.error and _without_messages(status) == _without_messages(resource.status)
    unkept = ""
    if status != resource.status and not same:
        if _cut(cache, resource, status):
            unkept = difference(status, resource.status)
        else:
            unkept = await _tell(turn, status, cache, writer, now)
    if turn.error:
        raise turn.error  # said in status, and tried again by the caller
    if status == resource.status and not turn.asked and not turn.news and _depends_on_itself(turn):
        again = decided.requeue_seconds
        until = now + timedelta(seconds=again) if again is not None else None
        cache.notes[key] = _Rest(settings, decided.progress.phase, until)
    return Outcome(decided.progress.phase, decided.requeue_seconds, turn.news, unkept)


def _depends_on_itself(turn: _Turn) -> bool:
    """Whether no other model has a part in the turn: stages of others decide how a Job is made, and who is ahead of a pod."""
    jobs, revisions = turn.seen.jobs.values(), turn.seen.revisions.values()
    waits = any(job.waiting for job in jobs) or any(revision.waiting for revision in revisions)
    return turn.decided.job is None and not waits


async def _make_sure(key: Key, cache: Cache, settings: Settings, writer: Writer, now: datetime) -> _Turn | None:
    """Look, and where something would follow from what the cache lacks, ask the API server and look again."""
    turn = await _look(key, cache, settings, writer, now)
    asked: set[str] = set()
    while turn and (doubts := _doubts(turn, cache) - asked):
        for job in sorted(doubts):
            await look_up(cache, writer, key, job)
        asked |= doubts
        turn = await _look(key, cache, settings, writer, now)
    if turn:
        turn.asked |= bool(asked)
    return turn


async def _carry_out(key: Key, turn: _Turn, cache: Cache, writer: Writer, failures: int) -> None:
    """Do what the plan says. What the API server refuses, and a defect, become the turn's plan and error. Raises the rest."""
    resource, seen = turn.resource, turn.seen
    try:
        await _write_children(turn, cache, writer)
    except ApiError as error:
        if not _refusal(error, failures):
            raise
        turn.error = error
        turn.decided = not_applied(turn.decided, active_revision(seen), error)
    except (OSError, TimeoutError):
        raise
    except Exception as error:
        log.exception("%s/%s: a defect of the operator", *key)
        turn.error = error
        turn.decided = defect(resource, seen, error)


def _summarize(turn: _Turn, now: datetime) -> dict[str, Any]:
    """The status to write. Where it cannot be told, that is a defect, and the turn's error."""
    try:
        return summarize(turn.resource, turn.seen, turn.decided, now)
    except Exception as error:
        log.exception("%s/%s: a defect of the operator", turn.resource.namespace, turn.resource.name)
        turn.error, turn.decided = error, defect(turn.resource, turn.seen, error)
        return summarize(turn.resource, turn.seen, turn.decided, now)


async def _tell(turn: _Turn, status: Mapping[str, Any], cache: Cache, writer: Writer, now: datetime) -> str:
    """Write the status, or where the API server refuses what is in it, that it does: the turn's error then. Returns what it
    does not keep.
    """
    resource = turn.resource
    try:
        return await _write_status(turn, status, cache, writer)
    except ApiError as error:
        if not _refuses_content(error):
            raise
        turn.error = first = turn.error or error
        excuse = excused(resource, turn.seen, status_refused(error), now)
    if _without_messages(excuse) == _without_messages(resource.status):
        return ""
    try:
        return await _write_status(turn, excuse, cache, writer)
    except ApiError as error:
        if not _refuses_content(error):
            raise
        raise first from error


async def _write_status(turn: _Turn, status: Mapping[str, Any], cache: Cache, writer: Writer) -> str:
    resource = turn.resource
    metadata = (cache.snapshot((resource.namespace, resource.name)).model or {}).get("metadata", {})
    if metadata.get("uid") != resource.uid:
        raise StaleError(409, f"OnnxModel {resource.name} was deleted meanwhile")
    WRITES.labels("apply", "OnnxModel/status").inc()
    answer = await writer.apply_status(resource.namespace, resource.name, metadata["resourceVersion"], status)
    cache.put(MODEL, answer)
    turn.news |= read(status, resource.uid).decisive != turn.seen.memory.decisive
    log.info("%s/%s: %s: %s", resource.namespace, resource.name, status["phase"], status["message"])
    if unkept := difference(status, answer.get("status") or {}):
        cache.admitted[resource.uid] = _kept(status, answer.get("status") or {})
    return unkept


def _cut(cache: Cache, resource: Resource, status: Mapping[str, Any]) -> bool:
    """Whether the status is what was left of the same one when it was written last: an older CRD lacks some of its fields."""
    known = cache.admitted.get(resource.uid)
    return known is not None and known == _kept(status, resource.status)


def _kept(sent: Mapping[str, Any], left: Mapping[str, Any]) -> str:
    return names.digest([sent, left])


async def _look(key: Key, cache: Cache, settings: Settings, writer: Writer, now: datetime) -> _Turn | None:
    """What is known, and what follows from it. None: there is no such model, or it is being deleted."""
    snapshot = cache.snapshot(key)
    if snapshot.model is None or "deletionTimestamp" in snapshot.model["metadata"]:
        return None
    seen: Observed | None = None
    resource: Resource | None = None
    try:
        seen = observe(snapshot)
        if unclear := puzzles(seen, now):
            seen = await _explained(seen, unclear, key[0], writer, now)
        try:
            resource = model = parse(snapshot.model)
            decided = plan(model, seen, settings, now)
        except SpecError as error:
            resource = resource or identify(snapshot.model)
            decided = invalid(resource, seen, error)
        return _Turn(resource, seen, decided, render(resource, decided, settings), asked=bool(unclear))
    except TRANSIENT:
        raise
    except Exception as error:
        log.exception("%s/%s: a defect of the operator", *key)
        resource = resource or identify(snapshot.model)
        # What pods tell is what others write. Without it, it is still known what serves.
        seen = seen or observe(dataclasses.replace(snapshot, pods=(), busy=()))
        return _Turn(resource, seen, defect(resource, seen, error), error=error)


def _doubts(turn: _Turn, cache: Cache) -> frozenset[str]:
    """Jobs of which the API server must be asked: the plan draws a conclusion from what the cache lacks, or a Job would be
    made again because of a pod that may have moved on.
    """
    replaced = {
        manifest["metadata"]["name"]
        for manifest in turn.manifests
        if manifest["kind"] == "Job" and _replaces(cache, manifest, turn.seen.live.get(_child(manifest)))
    }
    return turn.decided.doubts | replaced


def _child(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


async def _explained(seen: Observed, unclear: set[str], namespace: str, writer: Writer, now: datetime) -> Observed:
    """With the events of what waits for no reason that its own status gives. They are asked for then, and watched never."""
    told = {}
    for uid in unclear:
        try:
            told[uid] = await writer.warnings(namespace, uid)
        except ApiError as error:
            if not _refusal(error):
                raise
            log.warning("events of %s in %s cannot be read: %s", uid, namespace, error)
    return explained(seen, told, now)


def _without_messages(status: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a refusal is, its wording aside: with a request's number in it, each try would be a write, and each write
    another try.
    """
    return status.get("phase"), status.get("reason"), status.get("observedGeneration"), status.get("stages")


async def _write_children(turn: _Turn, cache: Cache, writer: Writer) -> None:
    """Apply and delete what the plan says."""
    model, live = turn.resource, turn.seen.live
    for manifest in turn.manifests:
        child = kind, name = _child(manifest)
        there = live.get(child)
        if _replaces(cache, manifest, there):
            await _delete(kind, live[child], cache, writer)
            turn.news, turn.deleted = True, turn.deleted or kind in _WITH_PODS
        elif needs_apply(manifest, there) and not _admitted(cache, manifest, there):
            turn.asked = True
            if kind == "PersistentVolumeClaim":  # the first child: better now than after an hour of Jobs
                await _check_name(model, writer, "Service", model.name)
            if there is None and cache.was_there((model.namespace, model.name), kind, name):
                await _check_model(model, cache, writer)
            created = taken = None
            if there is None:
                try:
                    WRITES.labels("create", kind).inc()
                    created = await writer.create(manifest)
                except StaleError as error:
                    taken = error
            if not created and (there is None or kind in FIXED):  # all of that is applied again, and the cache has less
                if not (there := await _check_name(model, writer, kind, name)):
                    raise ApiError(409, str(taken)) if taken else StaleError(409, f"{kind} {name} was there and is not")
                # Ours: the watch has yet to tell of it, or another hand took the labels by which it would.
                if cache.put(BY_NAME[kind], there) is not None:
                    turn.applied = turn.news = True
                if not needs_apply(manifest, there) or _admitted(cache, manifest, there):
                    continue
            if not (answer := created):
                WRITES.labels("apply", kind).inc()
                answer = await writer.apply(applicable(manifest, there))
            turn.applied = True
            turn.progressed |= created is not None
            turn.news |= cache.put(BY_NAME[kind], answer) is not None
            if needs_apply(manifest, answer) or (created and needs_replacement(manifest, answer)):
                cache.admitted[answer["metadata"]["uid"]] = fingerprint(manifest, answer)
                where = (difference(manifest, answer), *child)
                log.warning("%s/%s: an admission webhook changes %s of %s %s", model.namespace, model.name, *where)
    for child in turn.decided.prune:
        if "deletionTimestamp" not in live[child]["metadata"]:
            await _delete(child[0], live[child], cache, writer)
            turn.news, turn.deleted = True, turn.deleted or child[0] in _WITH_PODS
            turn.progressed = True


async def _check_model(model: Resource, cache: Cache, writer: Writer) -> None:
    """A child that is gone may have gone with its model, of whose deletion the watch has yet to tell. Raises StaleError then."""
    found = await writer.model(model.namespace, model.name)
    if found and found["metadata"]["uid"] == model.uid and "deletionTimestamp" not in found["metadata"]:
        return
    for known in (cache.snapshot((model.namespace, model.name)).model, found):
        if known and known["metadata"]["uid"] == model.uid:
            cache.drop(MODEL, known)
    raise StaleError(409, f"OnnxModel {model.name} is deleted")


async def _delete(kind: str, item: Mapping[str, Any], cache: Cache, writer: Writer) -> None:
    """Delete a child that is as the cache has it. Raises StaleError where it is not, after the cache has learnt what it is,
    and the API server's own 409 where it is.
    """
    WRITES.labels("delete", kind).inc()
    try:
        left = await writer.delete(kind, item)
    except StaleError as error:
        metadata = item["metadata"]
        left = await writer.get(kind, metadata["namespace"], metadata["name"])
        if left:
            cache.put(BY_NAME[kind], left)
            if left["metadata"]["resourceVersion"] == metadata["resourceVersion"]:
                raise ApiError(409, str(error)) from error
        raise
    if left:
        cache.put(BY_NAME[kind], left)
    else:
        cache.drop(BY_NAME[kind], item)


def _replaces(cache: Cache, manifest: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    return needs_replacement(manifest, live) and not _admitted(cache, manifest, live)


def _admitted(cache: Cache, manifest: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Whether it is what came of the same manifest when it was applied last: applied again, it would be the same."""
    return live is not None and cache.admitted.get(live["metadata"]["uid"]) == fingerprint(manifest, live)


async def _check_name(model: Resource, writer: Writer, kind: str, name: str) -> Mapping[str, Any] | None:
    """The child, if there is one of this model. Raises NameTakenError where it is another's."""
    found = await writer.get(kind, model.namespace, name)
    if found is None:
        return None
    owners = found["metadata"].get("ownerReferences", ())
    if any(owner["uid"] == model.uid for owner in owners):
        return found
    raise NameTakenError(kind, name, leaving=any(owner["kind"] == names.KIND for owner in owners))
