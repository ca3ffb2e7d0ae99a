"""A queue of keys: a key waits once however often it is added, and is never worked on twice at a time.

This is client-go's workqueue in small: what makes a level-triggered controller calm. Plain asyncio, no Kubernetes.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
log = logging.getLogger(__name__)


class WorkQueue(Generic[Key]):
    """add(), add_after() and retry() put keys in; run() works on them. One event loop, no threads."""

    def __init__(self, *, first_backoff: float = 0.2, max_backoff: float = 60.0) -> None:
        """Backoff in seconds: doubled with each failure in a row of a key, up to the maximum."""
        self._first, self._max = first_backoff, max_backoff
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()  # in _ready
        self._working: set[Key] = set()
        self._again: set[Key] = set()  # added while being worked on
        self._timers: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._order = itertools.count()
        self._timer_changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Work on the key as soon as a worker is free."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

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
            key = await self._ready.get()
            self._waiting.discard(key)
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
                await asyncio.wait_for(self._timer_changed.wait(), timeout)
            except TimeoutError:
                continue
