"""A queue of keys: a key waits once however often it is added, and is never worked on twice at a time.

This is client-go's workqueue in small: what makes a level-triggered controller calm. Plain asyncio, no Kubernetes. As in
client-go, what a list tells comes after what an event tells; as in the API server's own queues, shares take turns.
"""

import asyncio
import heapq
import itertools
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key")
log = logging.getLogger(__name__)
_LATER_IN = 8  # of so many keys one is of those that can wait, if there are any: they wait, and do not starve


class _Lane(Generic[Key]):
    """Keys in the order in which they came, one of each share in turn."""

    def __init__(self) -> None:
        self._shares: OrderedDict[Hashable, deque[Key]] = OrderedDict()

    def push(self, share: Hashable, key: Key) -> None:
        self._shares.setdefault(share, deque()).append(key)

    def pop(self) -> Key | None:
        if not self._shares:
            return None
        share, keys = self._shares.popitem(last=False)
        key = keys.popleft()
        if keys:
            self._shares[share] = keys  # behind the others
        return key


class WorkQueue(Generic[Key]):
    """add(), add_after() and retry() put keys in; run() works on them. One event loop, no threads."""

    def __init__(
        self,
        share: Callable[[Key], Hashable] = lambda _: None,
        *,
        first_backoff: float = 0.2,
        max_backoff: float = 60.0,
    ) -> None:
        """share: whose a key is; each takes its turn, however many keys one has.

        Backoff in seconds: doubled with each failure in a row of a key, up to the maximum.
        """
        self._share, self._first, self._max = share, first_backoff, max_backoff
        self._now: _Lane[Key] = _Lane()
        self._later: _Lane[Key] = _Lane()
        self._waiting: dict[Key, tuple[_Lane[Key], float]] = {}  # where, and since when
        self._free = asyncio.Semaphore(0)  # as many as keys wait
        self._taken = 0
        self._working: set[Key] = set()
        self._again: set[Key] = set()  # added while being worked on
        self._timers: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._order = itertools.count()
        self._timer_changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key, *, later: bool = False) -> None:
        """Work on the key as soon as a worker is free. later: what others wait for comes first."""
        if key in self._working:
            self._again.add(key)
            return
        lane = self._later if later else self._now
        known = self._waiting.get(key)
        if known is None:
            self._waiting[key] = lane, asyncio.get_running_loop().time()
            self._free.release()
        elif known[0] is self._later and not later:
            self._waiting[key] = lane, known[1]  # its place in the other lane is void
        else:
            return
        lane.push(self._share(key), key)

    def ages(self) -> dict[Hashable, float]:
        """How long the oldest waiting key of each share waits, in seconds."""
        oldest: dict[Hashable, float] = {}
        for key, (_, since) in self._waiting.items():
            share = self._share(key)
            oldest[share] = min(since, oldest.get(share, since))
        now = asyncio.get_running_loop().time()
        return {share: now - since for share, since in oldest.items()}

    def _take(self) -> Key:
        """The next key. There is one."""
        self._taken += 1
        lanes = (self._now, self._later) if self._taken % _LATER_IN else (self._later, self._now)
        for lane in lanes:
            while (key := lane.pop()) is not None:
                if key in self._waiting and self._waiting[key][0] is lane:
                    del self._waiting[key]
                    return key
        raise AssertionError("a key waits, and none of the lanes has it")

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on the key then. An earlier time that is already set stays."""
        due = asyncio.get_running_loop().time() + seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._timers, (due, next(self._order), key))
            self._timer_changed.set()

    def retry(self, key: Key) -> float:
        """Work on the key again after its backoff, which is returned in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds: float = min(self._first * 2.0 ** min(failures - 1, 30), self._max)
        self.add_after(key, seconds)
        return seconds

    def retry_all(self) -> None:
        """Work on all that failed now, as if it were for the first time: what they failed at is over."""
        failed, self._failures = self._failures, {}
        for key in failed:
            self.add(key, later=True)

    def failures(self, key: Key) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """The key is well: its next failure starts at the first backoff again."""
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
                log.exception("%s: work failed in a way that it should have handled", key)
                self.retry(key)
            finally:
                self._working.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
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
