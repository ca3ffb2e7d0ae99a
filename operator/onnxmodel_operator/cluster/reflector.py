"""Reflectors, which keep the cache up to date: a list and a watch of each kind, restarted whenever they end.

Why not kopf: docs/decisions/0023.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, Protocol

from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.errors import TRANSIENT, ApiError, is_outage
from onnxmodel_operator.cluster.kinds import MODEL, Kind
from onnxmodel_operator.metrics import EVENTS, LISTS, REPAIRS

log = logging.getLogger(__name__)

RESYNC_SECONDS = 600.0
"""Seconds after which everything is listed anew: a safety net, whose need `REPAIRS` shows."""
_GONE, _MISSING = 410, 404
_TOO_LARGE = "Too large resource version"  # a 504: the API server has yet to reach it, or never had it
_NOT_STREAMED = (400, 422)
"""Status codes of an API server without the feature WatchList, which is off by default before Kubernetes 1.32."""
_SHORT_SECONDS = 10.0  # a watch that ended sooner counts as a failure
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
MISSING_PAUSE_SECONDS = 15.0
"""Seconds between two looks for the CRD of an add-on."""
_NAMED = 5  # models that a log line names
_AT_ONCE = 10  # events between two chances for everything else on the event loop
_END_OF_LIST = "k8s.io/initial-events-end"


class WentBackError(Exception):
    """The API server reports an older state than before, as after a restore of etcd: the cache cannot be trusted."""


class Changed(Protocol):
    """Callback for each model whose state changes, with the object that changed. None where the object is gone.

    later: it was there when the operator started, and others may come first.
    """

    def __call__(self, key: Key, item: Mapping[str, Any] | None, *, later: bool) -> None:
        """Handle a change. Called on the event loop."""


class ListWatcher(Protocol):
    """The source of a reflector's objects: `cluster.client.Client`."""

    def pages(self, kind: Kind, namespace: str | None = None) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """List all of our objects of a kind, page by page, each with the resource version of the whole list.

        namespace: the only one to list; None for all.
        """

    def watch(
        self, kind: Kind, version: str | None, namespace: str | None = None
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """The events since a resource version; for None first all that there is, up to a bookmark that says so.

        Ends when the API server ends it. Raises ApiError for an ERROR event, TimeoutError for silence.
        """


class Reflector:
    """The reflector of one kind, in all namespaces or in one.

    `synced` is set once every object is in the cache: decide nothing before.
    """

    def __init__(
        self,
        kind: Kind,
        source: ListWatcher,
        cache: Cache,
        changed: Changed,
        clock: Callable[[], float] = time.monotonic,
        namespace: str | None = None,
    ) -> None:
        self.kind, self._namespace = kind, namespace
        self.name = f"{kind.name} of namespace {namespace}" if namespace else kind.name
        self.synced = asyncio.Event()
        self._source, self._cache, self._changed, self._clock = source, cache, changed, clock
        self._version: str | None = None  # None: list first
        self._unlisted: set[str] | None = None
        """While a list runs: the uids of what was known before and is not named yet."""
        self._repaired: set[Key] = set()
        """While a list runs: the models whose changes only it has found."""
        self._highest = 0  # version that was ever reached
        self._streams = True
        self._listed = self._proved = self._told = clock()
        self._failures, self._said = 0, False
        for counter in (REPAIRS, LISTS):
            counter.labels(kind.name)  # from 0, so that the first one shows as an increase

    @property
    def _what(self) -> str:
        return f"{self.kind.name}s" + (f" of namespace {self._namespace}" if self._namespace else "")

    def silent_seconds(self) -> float:
        """Return the seconds since an event, a bookmark or a list last proved that the watch is alive."""
        return self._clock() - self._proved

    def event_age_seconds(self) -> float:
        """Return the seconds since the watch last told of a change: neither a bookmark nor a list is one."""
        return self._clock() - self._told

    async def run(self) -> NoReturn:
        """Follow the kind. Raises WentBackError; any other exception is a defect."""
        while True:
            began, problem, outage = self._clock(), "it ended at once", False
            try:
                await self._follow()
            except TRANSIENT as error:
                problem = str(error) or type(error).__name__
                outage = is_outage(error) and self._proved < began and not self.synced.is_set()
                status = error.status if isinstance(error, ApiError) else 0
                if status == _MISSING and self.kind.add_on:
                    await self._do_without()
                    continue
                self._streams &= not (status in _NOT_STREAMED and self._version is None)
                if status == _MISSING and self.kind is MODEL:
                    problem = (
                        "there is no CRD for OnnxModels: apply the CRD of the operator's release (docs/install.md)"
                    )
                if status == _GONE or _TOO_LARGE in problem:
                    self._version = None
            if self._proved - began >= _SHORT_SECONDS:
                if self._said:
                    log.info("the watch of %s is established again", self._what)
                self._failures, self._said = 0, False
            else:
                await self._pause(problem, outage)

    async def _do_without(self) -> None:
        """Take the kind for one that the cluster lacks. Its objects went with its CRD."""
        self._proved = self._clock()
        if self.kind.name not in self._cache.missing:
            log.warning("the cluster has no kind %s: the operator does without, until its CRD is there", self.kind.name)
            self._cache.missing.add(self.kind.name)
            self._cache.forget(self.kind, self._cache.uids(self.kind))
            self._wake_all()
        self._version = None
        self.synced.set()
        await asyncio.sleep(MISSING_PAUSE_SECONDS * random.uniform(0.5, 1))

    def _wake_all(self) -> None:
        """Let every model take a turn: each may depend on whether the kind is there."""
        every = self._cache.keys()
        for key in every:
            self._cache.notes.pop(key, None)
            self._changed(key, None, later=True)

    async def _pause(self, problem: str, outage: bool) -> None:
        """outage: the API server never answered yet, which is said once for all kinds."""
        self._failures += 1
        # One failure alone is ordinary: an API server that restarts, a version that is too old.
        if self._failures > 1 and not self._said and not outage:
            self._said = True
            log.warning("the watch of %s was interrupted: %s; it is restarted until it succeeds", self._what, problem)
        seconds = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 30), _LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(seconds * random.uniform(0.5, 1))

    async def _follow(self) -> None:
        if self._clock() - self._listed >= RESYNC_SECONDS:
            self._version = None
        if self._version is None:
            self._unlisted = self._cache.uids(self.kind, self._namespace)
            if not self._streams:
                await self._list()
        count = 0
        async with aclosing(self._source.watch(self.kind, self._version, self._namespace)) as events:
            async for event in events:
                self._proved = self._clock()
                self._take(event["type"], event["object"])
                count += 1
                if count % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                if self._version and self._proved - self._listed >= RESYNC_SECONDS:
                    return

    async def _list(self) -> None:
        listed = None
        async for items, version in self._source.pages(self.kind, self._namespace):
            listed = version
            self._proved = self._clock()
            for item in items:
                self._take("ADDED", item)
            await asyncio.sleep(0)
        self._finish_list(listed)

    def _take(self, type_: str, item: Mapping[str, Any]) -> None:
        metadata = item["metadata"]
        if type_ == "BOOKMARK":
            if self._unlisted is None or metadata.get("annotations", {}).get(_END_OF_LIST) == "true":
                self._finish_list(metadata["resourceVersion"])
            return
        EVENTS.labels(self.kind.name).inc()
        changed = self._cache.drop if type_ == "DELETED" else self._cache.put
        key = changed(self.kind, item)
        if self._unlisted is None:
            self._told = self._proved
            self._at(metadata["resourceVersion"])
        else:
            self._unlisted.discard(metadata["uid"])
        if key is not None:
            if self._unlisted is not None and self.synced.is_set():
                self._repair(key)
            self._changed(key, None if type_ == "DELETED" else item, later=not self.synced.is_set())

    def _finish_list(self, version: str | None) -> None:
        """Everything up to the version was told. What a list did not name was deleted while nobody looked."""
        if self._unlisted is not None:
            if version and int(version) < self._highest:
                raise WentBackError(
                    f"the API server's {self.kind.name}s were at version {self._highest} and are at {version}"
                )
            for key in self._cache.forget(self.kind, self._unlisted):
                self._repair(key)
                self._changed(key, None, later=False)
            self._unlisted, self._listed = None, self._clock()
            LISTS.labels(self.kind.name).inc()
            self._say_repaired()
            self.synced.set()
            if self.kind.name in self._cache.missing:
                log.info("the cluster has the kind %s now", self.kind.name)
                self._cache.missing.discard(self.kind.name)
                self._wake_all()
        self._at(version)

    def _repair(self, key: Key) -> None:
        REPAIRS.labels(self.kind.name).inc()
        self._repaired.add(key)

    def _say_repaired(self) -> None:
        """Log the models of a list's repairs: the metric has only their number."""
        if not self._repaired:
            return
        some = sorted(self._repaired)[:_NAMED]
        more = len(self._repaired) - len(some)
        told = ", ".join("/".join(key) for key in some) + (f" and {more} more models" if more else "")
        log.info("a new list of %s found changes that the watch had not told: of %s", self._what, told)
        self._repaired = set()

    def _at(self, version: str | None) -> None:
        self._version = version
        self._highest = max(self._highest, int(version or 0))
