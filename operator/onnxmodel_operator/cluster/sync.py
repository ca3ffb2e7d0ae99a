"""The informer's barrier and its safety net: what was listed against what the watches told."""

import asyncio
import logging
from typing import Any, Protocol

from onnxmodel_operator.cluster.cache import Cache, Key
from onnxmodel_operator.cluster.kinds import ALL, Kind

log = logging.getLogger(__name__)


class Lister(Protocol):
    """What can list a kind: `cluster.client.Client`."""

    async def list(self, kind: Kind) -> list[dict[str, Any]]:
        """All of our objects of a kind."""


async def wait_until_known(cache: Cache, lister: Lister) -> None:
    """Return when the watches have told of every object of every kind: before, nothing may be decided.

    A decision without the Jobs in view would run them again. An empty kind sends no event, so "nothing came" is no
    sign: the list says what must have come. What is deleted meanwhile is not in the next list.
    """
    for kind in ALL:
        pause = 0.05
        while missing := cache.missing(kind, await lister.list(kind)):
            log.debug("waiting for %d of kind %s", missing, kind.name)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2)


async def resync(cache: Cache, lister: Lister) -> set[Key]:
    """Learn what the watches missed, lost deletions above all. Returns the models that this concerns."""
    concerned: set[Key] = set()
    for kind in ALL:
        before = cache.start_list(kind)
        concerned |= cache.finish_list(kind, await lister.list(kind), before)
    return concerned
