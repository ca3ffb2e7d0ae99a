"""Ask a server for its metrics. Nothing that it answers can harm the operator: bytes, time and redirects are bounded."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp

from onnxmodel_operator.live.parse import MOST_BYTES, UnreadableError, parse
from onnxmodel_operator.live.windows import Counts
from onnxmodel_runtime.contract.compare import HEADER

log = logging.getLogger(__name__)

AT_A_TIME = 16
TIMEOUT = aiohttp.ClientTimeout(total=3, sock_connect=1)
_PATH = "/metrics"
_CHUNK = 1 << 16


@asynccontextmanager
async def scraper() -> AsyncIterator["Scraper"]:
    """Provide a scraper that asks a bounded number of servers at a time, and none longer than a moment."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(
        connector=connector, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        yield Scraper(session)


class Scraper:
    """Reads the metrics of servers."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        # Not the connector's own limit: servers that do not answer would use up the time of those that wait behind them.
        self._free = asyncio.Semaphore(AT_A_TIME)

    async def read(self, host: str, port: int, model: str, order: str = "") -> Counts | None:
        """Return the counts of a server's model, or None where it gives none that can be read. Raises nothing.

        order: what the server shall compare its answers with.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            async with self._free:
                answer = await self._get(f"http://{address}{_PATH}", {HEADER: order} if order else {})
            return parse(answer, model)
        except Exception as error:  # whatever a hostile answer does to the client and the parser: it is no answer
            log.debug("metrics of %s at %s: %s", model, address, str(error)[:200] or type(error).__name__)
            return None

    async def _get(self, url: str, more: Mapping[str, str]) -> bytes:
        headers = {"Accept": "text/plain", **more}
        async with self._session.get(url, allow_redirects=False, headers=headers) as answer:
            if answer.status != HTTPStatus.OK:
                raise UnreadableError(f"status {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise UnreadableError("the answer is too large")
            return bytes(body)
