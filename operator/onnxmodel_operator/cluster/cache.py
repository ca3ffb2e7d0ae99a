"""Objects that the watches have reported, by model: reflectors keep the dictionary up to date, `snapshot` reads it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.cluster.kinds import (
    AUTOSCALER,
    BUDGET,
    CLAIM,
    DEPLOYMENT,
    JOB,
    MODEL,
    POD,
    RECORD,
    ROUTES,
    SCALED_OBJECT,
    SERVICE,
    Kind,
)
from onnxmodel_operator.cluster.trim import share, trim
from onnxmodel_operator.observe import Snapshot, reports, works_on_a_node
from onnxmodel_operator.observe.objects import Object

Key = tuple[str, str]
"""Namespace and name of a model."""
_GONE = 10_000


def key_of(kind: Kind, item: Object) -> Key | None:
    """Return the model that an object belongs to. None for a child without our label."""
    metadata = item["metadata"]
    name = metadata["name"] if kind is MODEL else metadata.get("labels", {}).get(names.LABEL_MODEL)
    return (metadata["namespace"], name) if name else None


class Cache:
    """The last known state of each object of each kind. Not thread-safe: one event loop."""

    def __init__(self) -> None:
        self._items: dict[Key, dict[str, dict[str, Object]]] = {}
        self._keys: dict[str, Key] = {}  # by uid: the model that each known object is kept under
        self._gone: dict[str, int] = {}  # by uid: the version at which it was dropped, those dropped last at the end
        self._deleted: dict[tuple[Key, str, str], None] = {}  # by model, kind and name: what was dropped
        self._busy: dict[str, Object] = {}  # by uid: pods of stages that are on a node, of all models
        self.upgrading: set[Key] = set()
        """Models that move to newer images: those whose status says so, and those that were just told to."""
        self.missing: set[str] = set()
        """Kinds of add-ons that the cluster does not have."""
        self._servers: dict[str, tuple[Key, Object]] = {}  # by uid: pods that have metrics of a revision
        self.admitted: dict[str, str] = {}
        """Fingerprints by uid of objects that the API server changed on apply. They are not applied again."""
        self.notes: dict[Key, Any] = {}
        """Conclusions from all objects of a model. Dropped as soon as any of the objects changes."""

    def put(self, kind: Kind, item: Object) -> Key | None:
        """Store the object unless a newer state of it is known. Returns the model whose state this changes, if any.

        For watch events and for answers of the API server: an answer may be ahead of the watch.
        """
        key, uid, name = key_of(kind, item), item["metadata"]["uid"], item["metadata"]["name"]
        if self._gone.get(uid, -1) >= _version(item):
            return None  # an event from before its deletion
        before = self._keys.get(uid)
        if before and before != key:  # another hand changed our label: who lost the object puts that right
            lost = self._items[before][kind.name][name]
            if _version(lost) >= _version(item):
                return None
            self.drop(kind, lost)
        if key is None:
            return before
        bucket = self._items.setdefault(key, {}).setdefault(kind.name, {})
        known = bucket.get(name)
        if known is not None and _version(known) >= _version(item):
            return None
        if known is not None and known["metadata"]["uid"] != uid:
            self._lose(known["metadata"]["uid"])
        self._gone.pop(uid, None)
        kept = trim(kind, item)
        same = known is not None and _equal(known, kept)
        bucket[name] = kept = {**known, "metadata": kept["metadata"]} if known and same else share(kind, kept)
        self._keys[uid] = key
        self._busy.pop(uid, None)
        self._servers.pop(uid, None)
        if kind is POD and works_on_a_node(item):
            self._busy[uid] = kept
        if kind is MODEL:
            self._note_upgrade(key, kept)
        if kind is POD and reports(item):
            self._servers[uid] = key, kept
        if same:
            return None
        self.notes.pop(key, None)
        return before or key

    def drop(self, kind: Kind, item: Object) -> Key | None:
        """Remove the object, and refuse every state of it up to this one. Returns its model.

        A newer object of the same name (another uid) stays. A newer state of this one may follow: a watch also reports
        an object as deleted when it loses our label.
        """
        uid = item["metadata"]["uid"]
        self._gone.pop(uid, None)
        self._gone[uid] = _version(item)
        if len(self._gone) > _GONE:
            del self._gone[next(iter(self._gone))]
        key = self._lose(uid) or key_of(kind, item)
        if key is None:
            return None
        if kind is MODEL:
            self.upgrading.discard(key)
        self.notes.pop(key, None)
        bucket = self._items.get(key, {}).get(kind.name, {})
        known = bucket.get(item["metadata"]["name"])
        if known is not None and known["metadata"]["uid"] == uid:
            del bucket[item["metadata"]["name"]]
            if kind is not POD:
                self._deleted[key, kind.name, item["metadata"]["name"]] = None
                if len(self._deleted) > _GONE:
                    del self._deleted[next(iter(self._deleted))]
            if not any(self._items[key].values()):
                del self._items[key]
        return key

    def others_upgrading(self, key: Key) -> tuple[str, ...]:
        """Return the models besides this one that move to newer images now, as namespace/name."""
        return tuple(sorted("/".join(other) for other in self.upgrading if other != key))

    def _note_upgrade(self, key: Key, model: Object) -> None:
        moves = ((model.get("status") or {}).get("upgrade") or {}).get("state") == "Running"
        (self.upgrading.add if moves else self.upgrading.discard)(key)

    def was_there(self, key: Key, kind: str, name: str) -> bool:
        """Return whether a child of this name was in the cache and was deleted.

        Only recent deletions are remembered.
        """
        return (key, kind, name) in self._deleted

    def _lose(self, uid: str) -> Key | None:
        self._busy.pop(uid, None)
        self._servers.pop(uid, None)
        self.admitted.pop(uid, None)
        return self._keys.pop(uid, None)

    def snapshot(self, key: Key) -> Snapshot:
        """Return every known object of one model, and the pods of stages, of any model, that have a node."""
        kinds = self._items.get(key, {})

        def children(kind: Kind) -> tuple[Object, ...]:
            bucket = kinds.get(kind.name, {})
            return tuple(bucket[name] for name in sorted(bucket))

        return Snapshot(
            model=kinds.get(MODEL.name, {}).get(key[1]),
            jobs=children(JOB),
            pods=children(POD),
            deployments=children(DEPLOYMENT),
            services=children(SERVICE),
            claims=children(CLAIM),
            busy=tuple(self._busy.values()),
            records=children(RECORD),
            budgets=children(BUDGET),
            routes=tuple(item for kind in ROUTES for item in children(kind)),
            scaled_objects=children(SCALED_OBJECT),
            autoscalers=children(AUTOSCALER),
            upgrading=self.others_upgrading(key),
            missing=frozenset(self.missing),
        )

    def servers(self) -> Mapping[str, tuple[Key, Object]]:
        """Return the pods that have metrics of a revision, by uid, each with its model."""
        return self._servers

    def keys(self) -> list[Key]:
        """Return the models that have a known object."""
        return list(self._items)

    def uids(self, kind: Kind, namespace: str | None = None) -> set[str]:
        """Return the uids of all known objects of a kind, in one namespace or in all."""
        metadata = (item["metadata"] for item in self._of(kind))
        return {one["uid"] for one in metadata if namespace is None or one["namespace"] == namespace}

    def forget(self, kind: Kind, uids: Collection[str]) -> set[Key]:
        """Remove the objects with these uids, which no longer exist. Returns the models whose state this changes."""
        gone = [item for item in self._of(kind) if item["metadata"]["uid"] in uids] if uids else []
        return {key for item in gone if (key := self.drop(kind, item))}

    def _of(self, kind: Kind) -> Iterator[Object]:
        return (item for kinds in self._items.values() for item in kinds.get(kind.name, {}).values())


def _version(item: Object) -> int:
    """Resource versions of one kind are numbers that grow (KEP-5504 makes that a promise)."""
    return int(item["metadata"]["resourceVersion"])


def _equal(one: Object, other: Object) -> bool:
    """Return whether two objects differ in nothing but the resource version.

    A write to a field that the cache trims changes only the version.
    """
    metadata = {**one["metadata"], "resourceVersion": other["metadata"]["resourceVersion"]}
    return bool({**one, "metadata": metadata} == other)
