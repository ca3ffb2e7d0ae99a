"""Bring the children of a model to what its plan says."""

import logging
from dataclasses import dataclass

from onnxmodel_operator import names
from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.errors import ApiError, NameTakenError, StaleError
from onnxmodel_operator.cluster.kinds import BY_NAME, MODEL
from onnxmodel_operator.controller.turn import Turn, child_of
from onnxmodel_operator.controller.writer import Writer
from onnxmodel_operator.drift import FIXED, applicable, difference, fingerprint, needs_apply, needs_replacement
from onnxmodel_operator.metrics import WRITES
from onnxmodel_operator.observe.objects import Object
from onnxmodel_operator.render import Manifest

log = logging.getLogger(__name__)

_WITH_PODS = ("Job", "Deployment")


async def write_children(turn: Turn, cache: Cache, writer: Writer) -> None:
    """Delete what must be replaced, apply what is missing or differs, and delete what nothing needs.

    Raises StaleError where the cache is behind, NameTakenError where a child's name is another object's, and what the writer
    raises.
    """
    hand = _Hand(turn, cache, writer)
    for manifest in turn.manifests:
        there = turn.seen.live.get(child_of(manifest))
        if there and replaces(cache, manifest, there):
            await hand.remove(manifest["kind"], there)  # the next turn makes it again
        elif differs(cache, manifest, there):
            await hand.put_right(manifest, there)
    for child in turn.decided.prune:
        there = turn.seen.live[child]
        if "deletionTimestamp" not in there["metadata"]:
            await hand.remove(child[0], there)
            turn.progressed = True


def replaces(cache: Cache, manifest: Manifest, live: Object | None) -> bool:
    """Return whether the child must be deleted and created again, because it cannot be changed in place."""
    return needs_replacement(manifest, live) and not _is_admitted(cache, manifest, live)


def differs(cache: Cache, manifest: Manifest, live: Object | None) -> bool:
    """Return whether the child must be applied: it is missing, applied from another manifest, or changed since."""
    return needs_apply(manifest, live) and not _is_admitted(cache, manifest, live)


def _is_admitted(cache: Cache, manifest: Manifest, live: Object | None) -> bool:
    """Return whether an admission webhook turned the same manifest into this: applying it again changes nothing."""
    return live is not None and cache.admitted.get(live["metadata"]["uid"]) == fingerprint(manifest, live)


@dataclass(frozen=True, slots=True)
class _Hand:
    """Write one child at a time. Each write updates the cache and records in the turn what was done."""

    turn: Turn
    cache: Cache
    writer: Writer

    @property
    def model(self) -> Resource:
        return self.turn.resource

    async def remove(self, kind: str, item: Object) -> None:
        """Delete a child."""
        await self._delete(kind, item)
        self.turn.news = True
        self.turn.deleted |= kind in _WITH_PODS

    async def put_right(self, manifest: Manifest, there: Object | None) -> None:
        """Create a child that is missing, or apply one that differs."""
        kind, name = child_of(manifest)
        self.turn.asked = True
        if kind == "PersistentVolumeClaim":  # the first child: better now than after an hour of Jobs
            await self._find("Service", self.model.name)
        if there is None:
            await self._create(manifest)
        elif kind not in FIXED:
            await self._apply(manifest, there)
        elif found := await self._find(kind, name):  # all of that is applied again, and the cache holds less
            await self._adopt(manifest, found)
        else:
            raise StaleError(409, f"{kind} {name} no longer exists")

    async def _create(self, manifest: Manifest) -> None:
        kind, name = child_of(manifest)
        if self.cache.was_there((self.model.namespace, self.model.name), kind, name):
            await self._check_model()
        try:
            WRITES.labels("create", kind).inc()
            created = await self.writer.create(manifest)
        except StaleError as taken:
            found = await self._find(kind, name)
            if found is None:
                raise ApiError(409, str(taken)) from taken
            await self._adopt(manifest, found)
            return
        self.turn.progressed = True
        self._note(manifest, created, admitted=needs_replacement(manifest, created))

    async def _adopt(self, manifest: Manifest, found: Object) -> None:
        """Take over a child of this model that the cache lacks: its event has not arrived, or its labels were removed."""
        if self.cache.put(BY_NAME[manifest["kind"]], found) is not None:
            self.turn.applied = self.turn.news = True
        if differs(self.cache, manifest, found):
            await self._apply(manifest, found)

    async def _apply(self, manifest: Manifest, there: Object) -> None:
        WRITES.labels("apply", manifest["kind"]).inc()
        self._note(manifest, await self.writer.apply(applicable(manifest, there)))

    def _note(self, manifest: Manifest, answer: Object, *, admitted: bool = False) -> None:
        """Record the answer to a write. admitted: an admission webhook changed the object, as it did where it still
        differs.
        """
        kind, name = child_of(manifest)
        self.turn.applied = True
        self.turn.news |= self.cache.put(BY_NAME[kind], answer) is not None
        if admitted or needs_apply(manifest, answer):
            self.cache.admitted[answer["metadata"]["uid"]] = fingerprint(manifest, answer)
            where = (difference(manifest, answer), kind, name)
            log.warning(
                "%s/%s: an admission webhook changes %s of %s %s", self.model.namespace, self.model.name, *where
            )

    async def _delete(self, kind: str, item: Object) -> None:
        """Delete a child if it is as the cache has it.

        Raises StaleError if it has changed, after updating the cache, and the API server's own 409 if it has not.
        """
        WRITES.labels("delete", kind).inc()
        try:
            left = await self.writer.delete(kind, item)
        except StaleError as error:
            metadata = item["metadata"]
            left = await self.writer.get(kind, metadata["namespace"], metadata["name"])
            if left:
                self.cache.put(BY_NAME[kind], left)
                if left["metadata"]["resourceVersion"] == metadata["resourceVersion"]:
                    raise ApiError(409, str(error)) from error
            raise
        if left:
            self.cache.put(BY_NAME[kind], left)
        else:
            self.cache.drop(BY_NAME[kind], item)

    async def _find(self, kind: str, name: str) -> Object | None:
        """Get the object of this name, or None. Raises NameTakenError if it does not belong to the model."""
        found = await self.writer.get(kind, self.model.namespace, name)
        if found is None:
            return None
        owners = found["metadata"].get("ownerReferences", ())
        if any(owner["uid"] == self.model.uid for owner in owners):
            return found
        raise NameTakenError(kind, name, leaving=any(owner["kind"] == names.KIND for owner in owners))

    async def _check_model(self) -> None:
        """Check that the model still exists: a missing child may have been deleted with it, before its watch event
        arrived.

        Raises StaleError if the model is gone.
        """
        model, key = self.model, (self.model.namespace, self.model.name)
        found = await self.writer.model(*key)
        if found and found["metadata"]["uid"] == model.uid and "deletionTimestamp" not in found["metadata"]:
            return
        for known in (self.cache.snapshot(key).model, found):
            if known and known["metadata"]["uid"] == model.uid:
                self.cache.drop(MODEL, known)
        raise StaleError(409, f"OnnxModel {model.name} has been deleted")
