"""A queue of keys: a key waits once however often it is added, and is never worked on twice at a time.

This is client-go's workqueue in small: what makes a level-triggered controller calm. Plain asyncio, no Kubernetes. As in
client-go, what is urgent comes first; as in the API server's own queues, shares take turns.
"""

import asyncio
import heapq
import itertools
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from enum import IntEnum
from typing import Generic, TypeVar

Key = TypeVar("Key")
log = logging.getLogger(__name__)
_OLDEST_IN = 8  # of so many keys one is what waits longest, however little its urgency: nothing starves


class Urgency(IntEnum):
    """The order of keys: FIRST and NEXT order the keys within a share, LATER comes after all shares."""

    FIRST = 0
    NEXT = 1
    LATER = 2


class _Lane(Generic[Key]):
    """Keys by share. Shares take turns; within a share, keys come by urgency, then in order of arrival."""

    def __init__(self) -> None:
        self._shares: OrderedDict[Hashable, tuple[deque[Key], ...]] = OrderedDict()

    def push(self, share: Hashable, key: Key, urgency: Urgency) -> None:
        if share not in self._shares:
            self._shares[share] = tuple(deque() for _ in Urgency)
        self._shares[share][urgency].append(key)

    def pop(self) -> tuple[Urgency, Key] | None:
        if not self._shares:
            return None
        share, queues = self._shares.popitem(last=False)
        urgency = next(urgency for urgency in Urgency if queues[urgency])
        key = queues[urgency].popleft()
        if any(queues):
            self._shares[share] = queues  # behind the others
        return urgency, key


class WorkQueue(Generic[Key]):
    """add(), add_after() and retry() add keys; run() works on them. One event loop, no threads."""

    def __init__(
        self,
        share: Callable[[Key], Hashable] = lambda _: None,
        *,
        first_backoff: float = 0.2,
        max_backoff: float = 60.0,
    ) -> None:
        """share: the owner of a key. Shares take turns, however many keys one has.

        The backoff in seconds doubles with each failure in a row of a key, up to the maximum.
        """
        self._share, self._first, self._max = share, first_backoff, max_backoff
        self._prompt: _Lane[Key] = _Lane()
        self._later: _Lane[Key] = _Lane()
        self._waiting: dict[Key, tuple[Urgency, float]] = {}  # where, and since when; what waits longest comes first
        self._free = asyncio.Semaphore(0)  # as many as keys wait
        self._taken = 0
        self._working: set[Key] = set()
        self._again: dict[Key, Urgency] = {}  # added while being worked on
        self._timers: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._order = itertools.count()
        self._timer_changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key, urgency: Urgency = Urgency.NEXT) -> None:
        """Work on the key as soon as a worker is free. Adding a waiting key can only make it more urgent."""
        if key in self._working:
            self._again[key] = min(urgency, self._again.get(key, urgency))
            return
        known = self._waiting.get(key)
        if known is None:
            self._waiting[key] = urgency, asyncio.get_running_loop().time()
            self._free.release()
        elif urgency < known[0]:
            self._waiting[key] = urgency, known[1]  # its other place is void
        else:
            return
        lane = self._later if urgency is Urgency.LATER else self._prompt
        lane.push(self._share(key), key, urgency)

    def ages(self) -> dict[Hashable, float]:
        """Return how long the oldest waiting key of each share has waited, in seconds."""
        oldest: dict[Hashable, float] = {}
        for key, (_, since) in self._waiting.items():
            share = self._share(key)
            oldest[share] = min(since, oldest.get(share, since))
        now = asyncio.get_running_loop().time()
        return {share: now - since for share, since in oldest.items()}

    def _take(self) -> Key:
        """Remove and return the next key. The queue must not be empty."""
        self._taken += 1
        key = self._most_urgent() if self._taken % _OLDEST_IN else next(iter(self._waiting))
        del self._waiting[key]
        self._due.pop(key, None)  # it is worked on now, with all that happened
        return key

    def _most_urgent(self) -> Key:
        for lane in (self._prompt, self._later):
            while (found := lane.pop()) is not None:
                urgency, key = found
                if key in self._waiting and self._waiting[key][0] is urgency:
                    return key
        raise AssertionError("a key is waiting, but no lane contains it")

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on the key after a delay, unless it is worked on before. An earlier deadline stays."""
        due = asyncio.get_running_loop().time() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            if len(self._timers) > 2 * len(self._due) + 100:  # most are void: their keys were worked on before
                self._timers = [timer for timer in self._timers if self._due.get(timer[2]) == timer[0]]
                heapq.heapify(self._timers)
            heapq.heappush(self._timers, (due, next(self._order), key))
            self._timer_changed.set()

    def retry(self, key: Key) -> float:
        """Work on the key again after its backoff. Returns the backoff in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds: float = min(self._first * 2.0 ** min(failures - 1, 30), self._max)
        self.add_after(key, seconds)
        return seconds

    def retry_all(self) -> None:
        """Work on all failed keys now and reset their backoff: the cause of their failures is gone."""
        failed, self._failures = self._failures, {}
        for key in failed:
            self.add(key, Urgency.LATER)

    def failures(self, key: Key) -> int:
        """The number of failures of the key in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """Reset the backoff of a key that succeeded."""
        self._failures.pop(key, None)

    async def run(self, work: Callable[[Key], Awaitable[None]], workers: int) -> None:
        """Call `work` for each key with this many workers, until cancelled. `work` handles its own errors."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick())
            for _ in range(workers):
                group.create_task(self._worker(work))

    async def _worker(self, work: Callable[[Key], Awaitable[None]]) -> None:
        while True:
            await self._free.acquire()
            key = self._take()
            self._working.add(key)
            try:
                await work(key)
            except Exception:
                log.exception("%s: unhandled error in the work function", key)
                self.retry(key)
            finally:
                self._working.discard(key)
                if (urgency := self._again.pop(key, None)) is not None:
                    self.add(key, urgency)
            await asyncio.sleep(0)  # work that waits for nothing must not hold up watches, the Lease and /healthz

    async def _tick(self) -> None:
        while True:
            self._timer_changed.clear()
            now = asyncio.get_running_loop().time()
            while self._timers and self._timers[0][0] <= now:
                due, _, key = heapq.heappop(self._timers)
                if self._due.get(key) == due:  # else an earlier time replaced this one
                    del self._due[key]
                    self.add(key)
            timeout = self._timers[0][0] - now if self._timers else None
            try:
                # Not wait_for(): before Python 3.12 it loses a cancellation that meets the event.
                async with asyncio.timeout(timeout):
                    await self._timer_changed.wait()
            except TimeoutError:
                continue
