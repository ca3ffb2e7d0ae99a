"""The rows that one credential may see: one list and one watch, however many people look, and the differences for each."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_page.reader import OPENED
from onnxmodel_page.view import row

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
_GONE, _REFUSED = 410, (401, 403)
_TOMBSTONES = 1000
"""Deleted models that are remembered for browsers that were away for a moment."""
_OUT_OF_ORDER = "the page has an internal error, which its log explains: try again"


class Source(Protocol):
    """The origin of a feed's models: `reader.ModelReader`."""

    def pages(self, namespace: str) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """List all models page by page, each with the resource version of the whole list."""

    def watch(self, namespace: str, version: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events of models since a resource version, after one of type OPENED once somebody answers."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The state of a feed: Loading, Live, Late (rows may be old, message says why) or Ended (code and message say why)."""

    state: str
    message: str = ""
    code: int = 0


class Feed:
    """The rows of the models in a namespace, or in all.

    Each change has a number. A browser says the last one that it knows, and is told what is newer. epoch: tells the numbers
    of this feed from those of another.
    """

    def __init__(self, source: Source, namespace: str = "") -> None:
        self.epoch = secrets.token_hex(6)
        self.number = 0
        self.report = Freshness("Loading")
        self.news = asyncio.Event()
        """Set, and replaced, at the next change."""
        self.listed = asyncio.Event()
        """Set once there is something to show, be it an error."""
        self.viewers, self.used = 0, time.monotonic()
        self._source, self._namespace = source, namespace
        self._version = ""
        self._rows: dict[str, tuple[int, bytes]] = {}  # in the order of their numbers
        self._gone: dict[str, int] = {}  # likewise
        self._forgotten = 0
        self._snapshot: tuple[int, Freshness, bytes] | None = None

    async def run(self) -> None:
        """Follow the models until the credential is refused."""
        pause = _FIRST_PAUSE_SECONDS
        while self.report.state != "Ended":
            try:
                if not self._version:
                    await self._list()
                await self._follow()
                pause = _FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)
            except ApiError as error:
                if error.status in _REFUSED:
                    self.end(error.status, str(error))
                elif error.status == _GONE:
                    self._version = ""
                else:
                    pause = await self._wait(str(error), pause)
            except (OSError, TimeoutError) as error:
                pause = await self._wait(str(error), pause)
            except Exception:
                log.exception("a feed failed")
                self.end(500, _OUT_OF_ORDER)

    def end(self, code: int, message: str) -> None:
        """Forget everything, and tell all viewers why."""
        self._rows.clear()
        self._tell(Freshness("Ended", message, code))
        self.listed.set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Count a viewer: a feed without any ends after a while."""
        self.viewers += 1
        try:
            yield
        finally:
            self.viewers -= 1
            self.used = time.monotonic()

    def snapshot(self) -> bytes:
        """Return everything, as JSON."""
        known = self._snapshot
        if known is None or known[:2] != (self.number, self.report):
            rows = b",".join(data for _, data in self._rows.values())
            head = orjson.dumps({"at": self.at, "report": self.report})
            self._snapshot = known = (self.number, self.report, head[:-1] + b',"rows":[' + rows + b"]}")
        return known[2]

    @property
    def at(self) -> str:
        """The name of the present moment."""
        return f"{self.epoch}.{self.number}"

    def place(self, at: str) -> int | None:
        """Return the number of a moment of this feed. None if the differences since then are not known."""
        epoch, _, number = at.partition(".")
        if epoch != self.epoch or not number.isdecimal() or not self._forgotten <= int(number) <= self.number:
            return None
        return int(number)

    def changes(self, since: int) -> bytes | None:
        """Return the differences since a number as JSON. None if they are not known any more."""
        if since < self._forgotten:
            return None
        rows = [data for number, data in _newer(self._rows, since)]
        gone = [key for key in reversed(self._gone) if self._gone[key] > since]
        return b'{"rows":[' + b",".join(reversed(rows)) + b'],"gone":' + orjson.dumps(gone) + b"}"

    async def _list(self) -> None:
        met, reached = set(), ""
        async for items, version in self._source.pages(self._namespace):
            met |= {self._put(item) for item in items}
            reached = version
            self._announce()
            self.listed.set()
        for key in self._rows.keys() - met:
            self._drop(key)
        self._version = reached
        self._tell(Freshness("Live"))

    async def _follow(self) -> None:
        async with aclosing(self._source.watch(self._namespace, self._version)) as events:
            async for event in events:
                self._tell(Freshness("Live"))
                if event["type"] == OPENED:
                    continue
                item = event["object"]
                self._version = item["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._drop(_key(item))
                elif event["type"] != "BOOKMARK":
                    self._put(item)
                if event["type"] != "BOOKMARK":
                    self._announce()

    async def _wait(self, problem: str, seconds: float) -> float:
        """Say that nothing is heard, wait, and return how long to wait the next time."""
        self._tell(Freshness("Late", problem))
        self.listed.set()
        await asyncio.sleep(seconds)
        return min(2 * seconds, _LONGEST_PAUSE_SECONDS)

    def _put(self, item: Mapping[str, Any]) -> str:
        key, data = _key(item), orjson.dumps(row(item))
        known = self._rows.get(key)
        if known is None or known[1] != data:
            self.number += 1
            self._rows.pop(key, None)
            self._gone.pop(key, None)
            self._rows[key] = (self.number, data)
        return key

    def _drop(self, key: str) -> None:
        if self._rows.pop(key, None) is None:
            return
        self.number += 1
        self._gone[key] = self.number
        if len(self._gone) > _TOMBSTONES:
            oldest = next(iter(self._gone))
            self._forgotten = self._gone.pop(oldest)

    def _tell(self, report: Freshness) -> None:
        if report != self.report:
            self.report = report
            self._announce()

    def _announce(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


def _key(item: Mapping[str, Any]) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


def _newer(rows: dict[str, tuple[int, bytes]], since: int) -> Iterator[tuple[int, bytes]]:
    for key in reversed(rows):
        if rows[key][0] <= since:
            return
        yield rows[key]
