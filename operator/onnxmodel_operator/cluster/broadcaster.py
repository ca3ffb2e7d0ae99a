"""Write Events about models: in the background, bounded, and never at the cost of a reconcile.

An Event that says the same again counts in a series. What cannot be written is dropped: Events are for people, and
everything that they say is in status.
"""

import asyncio
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from onnxmodel_operator import names
from onnxmodel_operator.cluster.errors import TRANSIENT, ApiError, lacks_a_right
from onnxmodel_operator.events.values import About, ModelEvent
from onnxmodel_operator.metrics import WRITES

log = logging.getLogger(__name__)

_WAITING = 2000
"""Events that wait to be written. When more come, the oldest ones are dropped."""
_PER_SECOND = 20.0
_BURST, _REFILL_SECONDS = 50.0, 30.0
"""Events of one model at once, and the time after which it may have one more."""
_REMEMBERED = 4096
_SERIES_SECONDS = 3600
"""An Event lives for an hour by default. After that, the same words are a new one."""


class EventWriter(Protocol):
    """The requests that a broadcaster makes of a client."""

    async def create_event(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Create an Event."""

    async def count_event(self, namespace: str, name: str, series: Mapping[str, Any]) -> bool:
        """Set the series of an Event. False if it is not there any more."""


@dataclass(slots=True)
class _Series:
    """An Event as it was written, and how often its words were heard."""

    name: str
    count: int
    last: float


@dataclass(slots=True)
class _Budget:
    """The Events that a model may still have."""

    left: float
    since: float


class Broadcaster:
    """A queue of Events, and the task that writes them."""

    def __init__(self, writer: EventWriter, clock: Callable[[], float] = time.monotonic) -> None:
        self._writer, self._clock = writer, clock
        self._waiting: deque[tuple[About, ModelEvent]] = deque(maxlen=_WAITING)
        self._news = asyncio.Event()
        self._series: OrderedDict[tuple[str, ModelEvent], _Series] = OrderedDict()
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._instance = (os.environ.get("POD_NAME") or os.uname().nodename)[:128]
        self._forbidden = False

    def add(self, about: About, events: Iterable[ModelEvent]) -> None:
        """Let these Events be written. Returns at once."""
        self._waiting.extend((about, event) for event in events)
        if self._waiting:
            self._news.set()

    async def run(self) -> NoReturn:
        """Write what waits, forever."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                about, event = self._waiting.popleft()
                if await self._write(about, event):
                    await asyncio.sleep(1 / _PER_SECOND)

    async def _write(self, about: About, event: ModelEvent) -> bool:
        """Write one Event, or count it. Returns whether the API server was asked."""
        known = self._known(about, event)
        known.count += 1
        if not self._may(about.uid):
            return False
        try:
            counted = known.count > 1 and await self._count(about, known)
            if not counted:
                known.count = 1
                WRITES.labels("create", "Event").inc()
                await self._writer.create_event(about.namespace, self._body(about, event, known.name))
        except TRANSIENT as error:
            self._series.pop((about.uid, event), None)
            self._tell(about, error)
        return True

    async def _count(self, about: About, known: _Series) -> bool:
        series = {"count": known.count, "lastObservedTime": _now()}
        WRITES.labels("patch", "Event").inc()
        return await self._writer.count_event(about.namespace, known.name, series)

    def _known(self, about: About, event: ModelEvent) -> _Series:
        """The series of these words about this model, or the start of one."""
        now, key = self._clock(), (about.uid, event)
        found = self._series.pop(key, None)
        if found is None or now - found.last > _SERIES_SECONDS:
            found = _Series(f"{about.name[:200]}.{time.time_ns():x}", 0, now)
        found.last = now
        self._series[key] = found
        while len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)
        return found

    def _may(self, uid: str) -> bool:
        """Take one from the model's budget. False if there is none left."""
        now = self._clock()
        budget = self._budgets.pop(uid, None) or _Budget(_BURST, now)
        budget.left, budget.since = min(_BURST, budget.left + (now - budget.since) / _REFILL_SECONDS), now
        self._budgets[uid] = budget
        while len(self._budgets) > _REMEMBERED:
            self._budgets.popitem(last=False)
        if budget.left < 1:
            return False
        budget.left -= 1
        return True

    def _body(self, about: About, event: ModelEvent, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": about.namespace},
            "eventTime": _now(),
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason[:128],
            "action": event.action[:128],
            "note": event.note,
            "reportingController": names.MANAGER,
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
        }

    def _tell(self, about: About, error: Exception) -> None:
        """Log that an Event is lost. A missing right is told once: each Event would meet it."""
        if isinstance(error, ApiError) and lacks_a_right(error):
            if not self._forbidden:
                log.warning("cannot write Events: %s; apply the chart's ClusterRole", error)
            self._forbidden = True
        else:
            log.debug("%s/%s: an Event was not written: %s", about.namespace, about.name, error)


def _now() -> str:
    """The time with microseconds, as Events have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
