"""The one story: snapshot, parse, observe, plan, render, apply, summarize, status.

Level-triggered: it looks at what is, never at what just happened, so it may be run at any time, twice, or after a crash.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from onnxmodel_operator import names
from onnxmodel_operator.api.spec import Resource, SpecError, identify, parse
from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.errors import ApiError, NameTakenError
from onnxmodel_operator.drift import difference, fingerprint, needs_apply, needs_replacement
from onnxmodel_operator.metrics import WRITES
from onnxmodel_operator.observe import Observed, Warned, explained, observe, puzzles
from onnxmodel_operator.plan import Plan, active_revision, invalid, plan
from onnxmodel_operator.render import render
from onnxmodel_operator.settings import Settings
from onnxmodel_operator.status import summarize
from onnxmodel_operator.troubles import defect, not_applied

log = logging.getLogger(__name__)

_ANSWERS = (400, 403, 409, 422)
"""The API server understood and refuses: quota, admission, a rule. Worth saying in status; anything else just passes."""


class Writer(Protocol):
    """What a reconcile writes with: `cluster.client.Client`, or a recorder in a test."""

    async def apply(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a child what the manifest says. Returns what became of it."""

    async def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Any object, ours or not; None where there is none."""

    async def warnings(self, namespace: str, uid: str) -> tuple[Warned, ...]:
        """The warning events of an object, the newest first."""

    async def apply_status(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Make the status exactly this."""

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete a child; one that is not there is fine."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reconcile ended: the phase for metrics, and when to look again though nothing changes."""

    phase: str | None = None
    requeue_seconds: float | None = None


async def reconcile(key: Key, cache: Cache, settings: Settings, writer: Writer, now: datetime) -> Outcome:
    """Bring one model one step on. Raises what the writer raises; then it must be called again."""
    snapshot = cache.snapshot(key)
    if snapshot.model is None or "deletionTimestamp" in snapshot.model["metadata"]:
        return Outcome()  # its children go by their owner references
    seen = await _explained(observe(snapshot), key[0], writer, now)
    resource = identify(snapshot.model)
    refused: Exception | None = None
    try:
        try:
            resource = model = parse(snapshot.model)
            decided = plan(model, seen, settings, now)
        except SpecError as error:
            decided = invalid(resource, seen, error)
        await _carry_out(resource, decided, cache, seen.live, settings, writer)
    except ApiError as error:
        if error.status not in _ANSWERS:
            raise
        refused = error
        decided = not_applied(decided, active_revision(resource, seen), error)
    except Exception as error:
        log.exception("%s/%s: a defect of the operator", *key)
        refused = error
        decided = defect(resource, seen, error)
    status = summarize(resource, seen, decided, now)
    same = refused and _without_messages(status) == _without_messages(resource.status)
    if status != resource.status and not same:
        WRITES.labels("apply", "OnnxModel/status").inc()
        await writer.apply_status(resource.namespace, resource.name, resource.uid, status)
        log.info("%s/%s: %s: %s", *key, status["phase"], status["message"])
    if refused:
        raise refused  # said in status, and tried again by the caller
    return Outcome(decided.progress.phase, decided.requeue_seconds)


async def _explained(seen: Observed, namespace: str, writer: Writer, now: datetime) -> Observed:
    """With the events of what waits for no reason that its own status gives. They are asked for then, and watched never."""
    told = {}
    for uid in puzzles(seen, now):
        try:
            told[uid] = await writer.warnings(namespace, uid)
        except ApiError as error:
            if error.status not in _ANSWERS:
                raise
            log.warning("events of %s in %s cannot be read: %s", uid, namespace, error)
    return explained(seen, told, now)


def _without_messages(status: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a refusal is, its wording aside: with a request's number in it, each try would be a write, and each write
    another try.
    """
    return status.get("phase"), status.get("reason"), status.get("observedGeneration"), status.get("stages")


async def _carry_out(
    model: Resource,
    decided: Plan,
    cache: Cache,
    live: Mapping[tuple[str, str], Any],
    settings: Settings,
    writer: Writer,
) -> None:
    for manifest in render(model, decided, settings):
        child = (manifest["kind"], manifest["metadata"]["name"])
        if needs_replacement(manifest, live.get(child)):
            WRITES.labels("delete", child[0]).inc()
            await writer.delete(child[0], model.namespace, child[1])
        elif needs_apply(manifest, live.get(child)) and not _admitted(cache, manifest, live.get(child)):
            if child not in live:
                await _check_name(model, writer, *child)
            if child[0] == "PersistentVolumeClaim":  # the first child: better now than after an hour of Jobs
                await _check_name(model, writer, "Service", model.name)
            WRITES.labels("apply", child[0]).inc()
            answer = await writer.apply(manifest)
            if needs_apply(manifest, answer):
                cache.admitted[answer["metadata"]["uid"]] = fingerprint(manifest, answer)
                where = (difference(manifest, answer), *child)
                log.warning("%s/%s: an admission webhook changes %s of %s %s", model.namespace, model.name, *where)
    for kind, name in decided.prune:
        if "deletionTimestamp" not in live[kind, name]["metadata"]:
            WRITES.labels("delete", kind).inc()
            await writer.delete(kind, model.namespace, name)


def _admitted(cache: Cache, manifest: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Whether it is what came of the same manifest when it was applied last: applied again, it would be the same."""
    return live is not None and cache.admitted.get(live["metadata"]["uid"]) == fingerprint(manifest, live)


async def _check_name(model: Resource, writer: Writer, kind: str, name: str) -> None:
    """The cache knows our objects only, and an apply would take over whatever has the name. Raises NameTakenError."""
    found = await writer.get(kind, model.namespace, name)
    if found is None:
        return
    owners = found["metadata"].get("ownerReferences", ())
    if any(owner["uid"] == model.uid for owner in owners):
        return  # ours, and the watch has yet to tell
    raise NameTakenError(kind, name, leaving=any(owner["kind"] == names.KIND for owner in owners))
