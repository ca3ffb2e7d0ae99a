"""Keeps the garbage collector from stopping the event loop: the cache is large, lives long and holds no cycles."""

import asyncio
import gc
from typing import NoReturn

_SECONDS = 10.0
_NEVER = 1_000_000


class Collector:
    """Collects new garbage, and exempts what is left from all later collections.

    A full collection visits each object of the cache: half a second for 2,000 models. Objects of the cache have no
    cycles, so they need none. Only a cycle that survives a collection and dies later stays in memory
    (docs/decisions/0029).
    """

    def __init__(self) -> None:
        self.collect()  # all that was imported, before anybody waits

    def collect(self) -> None:
        """Collect the objects created since the last call."""
        gc.collect()
        gc.freeze()

    async def run(self) -> NoReturn:
        """Collect periodically, in place of Python's own full collections."""
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        while True:
            await asyncio.sleep(_SECONDS)
            self.collect()
