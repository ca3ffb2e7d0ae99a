"""kopf as the informer: every watched event goes into the cache, and its model into the queue. Nothing else.

Only `on.event` handlers: with these, kopf writes nothing to any object (no annotation, no finalizer).
"""

from dataclasses import dataclass
from typing import Any

import kopf

from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.kinds import ALL, Kind
from onnxmodel_operator.metrics import EVENTS
from onnxmodel_operator.workqueue import WorkQueue


@dataclass(frozen=True, slots=True)
class Informer:
    """What the handlers feed."""

    cache: Cache
    queue: WorkQueue[Key]

    def event(self, kind: Kind, event: kopf.RawEvent) -> None:
        """One watch event. Its `type` is None for what was there at the start."""
        EVENTS.labels(kind.name).inc()
        item: Any = event["object"]
        key = self.cache.drop(kind, item) if event["type"] == "DELETED" else self.cache.put(kind, item)
        if key is not None:
            self.queue.add(key)


def register(registry: kopf.OperatorRegistry, informer: Informer) -> None:
    """One handler for each kind."""
    for kind in ALL:
        _register(registry, informer, kind)


def _register(registry: kopf.OperatorRegistry, informer: Informer, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        informer.event(kind, event)


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf's settings for an informer."""
    for kind in ALL:
        if kind.label_selector:
            # Filtered by the API server: what is not ours never crosses the wire.
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.label_selector
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.scanning.disabled = True  # the kinds are known; no need to read CRDs and namespaces
    settings.posting.enabled = False
    settings.peering.standalone = True
    # Unused today; a handler that kopf wants to remember things for must not start to write under its own names.
    settings.persistence.finalizer = "onnx-operator.dev/finalizer"
