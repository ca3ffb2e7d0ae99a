"""Ask Prometheus. Nothing that it answers can harm the operator: bytes, time and redirects are bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from onnxmodel_operator.live.query import MOST_BYTES, QueryResult, read, short

_AT_A_TIME = 4
_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=2)
_PATH = "/api/v1/query"


@asynccontextmanager
async def asker(address: str) -> AsyncIterator["Asker"]:
    """Provide an asker of the Prometheus at this URL."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Asker(session, address.rstrip("/") + _PATH)


class Asker:
    """Asks a bounded number of queries at a time."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._free = asyncio.Semaphore(_AT_A_TIME)

    async def ask(self, query: str) -> QueryResult:
        """Return what Prometheus answers. Raises nothing."""
        try:
            async with (
                self._free,
                self._session.post(self._url, data={"query": query, "timeout": "8s"}, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(MOST_BYTES + 1)
                while len(body) <= MOST_BYTES and (more := await answer.content.read(MOST_BYTES)):
                    body += more
                return read(answer.status, body)
        except Exception as error:  # whatever a hostile answer does to the client: it is no answer
            return QueryResult(None, f"Prometheus cannot be asked: {short(str(error) or type(error).__name__)}")
