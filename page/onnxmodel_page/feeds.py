"""A feed for each credential and namespace that somebody looks at, and none for any other."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import NoReturn

from onnxmodel_page.feed import Feed, Source

_MOST = 100
"""Feeds at a time: each holds a watch of the API server, and the rows of its models."""
_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 10.0


class CrowdedError(Exception):
    """There are too many credentials at a time. The message says what to do."""


class Feeds:
    """The feeds that run. source: makes the source of a credential's models; "" is the page's own."""

    def __init__(self, source: Callable[[str], Source], clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._running: dict[tuple[str, str], tuple[Feed, asyncio.Task[None]]] = {}

    def get(self, token: str, namespace: str) -> Feed:
        """Return the feed of a credential, which starts if it has to. Raises CrowdedError."""
        key = hashlib.sha256(token.encode()).hexdigest(), namespace
        if key not in self._running:
            if len(self._running) >= _MOST and not self._make_room():
                raise CrowdedError(f"{_MOST} people look at this page already: try again in a minute")
            feed = Feed(self._source(token), namespace)
            task = asyncio.create_task(feed.run())
            self._running[key] = feed, task
            task.add_done_callback(lambda _: self._forget(key, feed))
        feed, _ = self._running[key]
        feed.used = self._clock()
        return feed

    async def tidy(self) -> NoReturn:
        """End what nobody has looked at for a while. Runs until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """End what nobody has looked at for a while."""
        for feed, task in [*self._running.values()]:
            if not feed.viewers and self._clock() - feed.used >= _IDLE_SECONDS:
                task.cancel()

    def close(self) -> None:
        """End all of them, and with them the streams of their viewers."""
        for feed, task in [*self._running.values()]:
            task.cancel()
            feed.end(503, "the page is restarted")

    def __len__(self) -> int:
        return len(self._running)

    def _make_room(self) -> bool:
        idle = [pair for pair in self._running.items() if not pair[1][0].viewers]
        if not idle:
            return False
        key, (_, task) = min(idle, key=lambda pair: pair[1][0].used)
        task.cancel()
        del self._running[key]
        return True

    def _forget(self, key: tuple[str, str], feed: Feed) -> None:
        if self._running.get(key, (None,))[0] is feed:
            del self._running[key]
