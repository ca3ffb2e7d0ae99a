"""Read the metrics of all servers, spread over time, and wake a model when what follows from them has changed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from zlib import crc32

from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.live.scrape import scraper
from onnxmodel_operator.live.speed import Speed, is_slow, latest
from onnxmodel_operator.live.windows import Counts, Live, Reading, thinned
from onnxmodel_operator.metrics import READINGS
from onnxmodel_operator.observe.objects import Object, label

log = logging.getLogger(__name__)

PORT = 8002
SLOW_SECONDS = 30.0
FAST_SECONDS = 5.0
"""For models that have pods of several revisions: a rollout compares them."""
_TICK_SECONDS = 1.0
_KEPT = 24
"""Readings of a pod outside of a rollout: what is concluded looks ten minutes back."""
_GONE_SECONDS = 1800.0
"""Time after which a pod that is gone is forgotten. Until then its requests are part of its revision's windows."""
_RECENT_SECONDS = 120.0
"""Time after which the speed of servers that do not answer is not shown any more."""

Read = Callable[[str, int, str, str], Awaitable[Counts | None]]


def address(pod: Object) -> tuple[str, int]:
    """Return where the metrics of a server's pod are."""
    return pod["status"]["podIP"], PORT


class Meters:
    """Readings of all servers. Nothing is written to the cluster: the models' turns do that, if anything flips."""

    def __init__(
        self,
        cache: Cache,
        telemetry: Telemetry,
        wake: Callable[[Key], None],
        *,
        where: Callable[[Object], tuple[str, int]] = address,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """wake: called for a model that a turn would now judge otherwise than its last one."""
        self._cache, self._telemetry, self._wake = cache, telemetry, wake
        self._where, self._clock, self._now = where, clock, now
        self._asked: dict[str, float] = {}  # by uid of the pod: when it was last asked
        self.speeds: dict[Key, Speed] = {}
        """The latest speed of each model that has one."""

    async def run(self) -> NoReturn:
        """Read forever."""
        async with scraper() as source:
            while True:
                await self.round(source.read)
                await asyncio.sleep(_TICK_SECONDS)

    async def round(self, read: Read) -> None:
        """Read the servers whose time has come, then judge their models."""
        servers = dict(self._cache.servers())
        self._asked = {uid: at for uid, at in self._asked.items() if uid in servers}
        due = self._due(servers)
        found = await asyncio.gather(*(self._read(read, servers[uid]) for uid in due))
        for uid, reading in zip(due, found, strict=True):
            if reading:
                key, pod = servers[uid]
                self._keep(key, label(pod, names.LABEL_REVISION), uid, reading)
        for key in {servers[uid][0] for uid in due}:
            self._judge(key)
        for key in self._telemetry.readings.keys() - {key for key, _ in servers.values()}:
            self.speeds.pop(key, None)
            self._forget(key)

    def _due(self, servers: Mapping[str, tuple[Key, Object]]) -> list[str]:
        """The servers to ask now. A new one is first asked at a moment of its own, so that they come spread out."""
        now, revisions, due = self._clock(), dict[Key, set[str]](), []
        for key, pod in servers.values():
            revisions.setdefault(key, set()).add(label(pod, names.LABEL_REVISION))
        for uid, (key, _) in servers.items():
            seconds = FAST_SECONDS if len(revisions[key]) > 1 else SLOW_SECONDS
            if now - self._asked.setdefault(uid, now - crc32(uid.encode()) % SLOW_SECONDS) >= seconds:
                self._asked[uid] = now
                due.append(uid)
        return due

    async def _read(self, read: Read, server: tuple[Key, Object]) -> Reading | None:
        key, pod = server
        comparison = self._telemetry.comparisons.get(key)
        asked = comparison is not None and label(pod, names.LABEL_REVISION) == comparison.revision
        counts = await read(*self._where(pod), key[1], comparison.order.text() if comparison and asked else "")
        READINGS.labels("ok" if counts else "failed").inc()
        return Reading(self._now(), counts) if counts else None

    def _keep(self, key: Key, revision: str, uid: str, reading: Reading) -> None:
        """Add a reading, without those that are too old to matter."""
        pods = {name: dict(readings) for name, readings in self._telemetry.of(key).pods.items()}
        readings = pods.setdefault(revision, {}).get(uid, ())
        if readings and readings[-1].counts == reading.counts:
            reading = Reading(reading.time, readings[-1].counts)  # idle: it costs no memory
        kept = thinned((*readings, reading))
        pods[revision][uid] = kept if len(pods) > 1 else kept[-_KEPT:]
        since = reading.time.timestamp() - _GONE_SECONDS
        left = {
            name: {pod: readings for pod, readings in known.items() if readings[-1].time.timestamp() >= since}
            for name, known in pods.items()
        }
        self._telemetry.readings[key] = Live({name: known for name, known in left.items() if known})

    def _judge(self, key: Key) -> None:
        pace, live = self._telemetry.paces.get(key), self._telemetry.of(key)
        self.speeds.pop(key, None)
        if pace is None:
            return
        recent = live.window(pace.proven.revision, self._now() - timedelta(seconds=_RECENT_SECONDS), self._now())
        if recent and (speed := latest(live, pace.proven)):
            self.speeds[key] = speed
        if is_slow(live, pace.proven, pace.factor, pace.slow) != pace.slow:
            self._wake(key)

    def _forget(self, key: Key) -> None:
        """Drop the readings of a model that has had no servers for long."""
        last = max(
            (readings[-1].time for pods in self._telemetry.readings[key].pods.values() for readings in pods.values()),
            default=None,
        )
        if last is None or (self._now() - last).total_seconds() > _GONE_SECONDS:
            del self._telemetry.readings[key]
