"""Keeps the garbage collector from stopping the event loop: the cache is large, lives long and holds no cycles."""

import asyncio
import gc
import time
from collections.abc import Callable
from typing import NoReturn

_SECONDS = 10.0
_WHOLE_SECONDS = 3600.0
_NEVER = 1_000_000


class Collector:
    """Collects what is new, and then exempts what is left from later collections.

    Python's own full collections look at each object of the cache: a fifth of a second for 1,000 models, at any time.
    What is exempted and becomes a cycle without owner, as a closed connection may, is collected once an hour.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole = clock()
        self.collect()  # all that was imported, before anybody waits

    def collect(self) -> None:
        """Look at what was made since the last time, or at everything where an hour has passed."""
        if self._clock() - self._whole >= _WHOLE_SECONDS:
            self._whole = self._clock()
            gc.unfreeze()
        gc.collect()
        gc.freeze()

    async def run(self) -> NoReturn:
        """Collect from time to time, in place of Python's own full collections."""
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        while True:
            await asyncio.sleep(_SECONDS)
            self.collect()
