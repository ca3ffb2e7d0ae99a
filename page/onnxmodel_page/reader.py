"""The API server as one credential sees it: models and their events. No method writes.

Like the operator's client (docs/decisions/0026), plain HTTP by aiohttp.
"""

import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from onnxmodel_operator import names
from onnxmodel_operator.cluster.access import Access
from onnxmodel_operator.cluster.errors import ApiError

_TIMEOUT_SECONDS = 30
_SILENT_SECONDS = 90
_WATCH_SECONDS = (240, 300)
"""Lifetime of a watch, after which the API server asks again who this is: a right that was taken away ends with it."""
_PAGE = 250
OPENED = "OPENED"
"""Type of a first event of our own: the API server has accepted the watch."""
_API = f"/apis/{names.GROUP}/{names.VERSION}"


class ModelReader:
    """One credential. Every method raises ApiError, or OSError and TimeoutError where nobody answered."""

    def __init__(self, access: Access, session: aiohttp.ClientSession) -> None:
        self._access, self._session = access, session

    async def model(self, namespace: str, name: str) -> dict[str, Any]:
        """Get a model."""
        return await self._get(f"{_models(namespace)}/{name}", {})

    async def events(self, namespace: str, uid: str) -> list[dict[str, Any]]:
        """List the events of an object."""
        query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": "200"}
        items: list[dict[str, Any]] = (await self._get(f"/api/v1/namespaces/{namespace}/events", query))["items"]
        return items

    async def pages(self, namespace: str) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """List all models page by page, each with the resource version of the whole list. namespace: "" for all."""
        query = {"limit": str(_PAGE)}
        while True:
            page = await self._get(_models(namespace), query)
            yield page["items"], page["metadata"]["resourceVersion"]
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return

    async def watch(self, namespace: str, version: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events of models since a resource version, until the API server ends the stream.

        The first one has the type OPENED: somebody answers.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=_TIMEOUT_SECONDS, sock_read=_SILENT_SECONDS)
        try:
            async with self._asked(_models(namespace), query, timeout) as answer:
                yield {"type": OPENED}
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for each in lines:
                        yield _event(each)
        except TimeoutError as error:
            raise TimeoutError(f"no event and no bookmark for {_SILENT_SECONDS} s") from error

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        async with self._asked(path, query, aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)) as answer:
            try:
                data: dict[str, Any] = orjson.loads(await answer.read())
            except ValueError as error:
                raise ConnectionError("the API server's response is not JSON") from error
            return data

    @asynccontextmanager
    async def _asked(
        self, path: str, query: dict[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.get(
                self._access.server + path,
                params=query,
                headers=self._access.headers(),
                timeout=timeout,
                allow_redirects=False,  # the credential goes to the API server alone
            ) as answer:
                if answer.status != 200:
                    if answer.status == 401:
                        self._access.refused()
                    raise ApiError(answer.status, _words(await answer.read(), answer.reason))
                yield answer
        except TimeoutError:  # aiohttp's is a ClientError as well
            raise
        except aiohttp.ClientError as error:
            raise ConnectionError(f"cannot reach the API server: {error}") from error


@asynccontextmanager
async def connect(access: Access) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the connections to the API server, which all credentials share. It keeps no cookies: they would be shared, too."""
    headers = {"Accept": "application/json", "User-Agent": "onnxmodel-page"}
    connector = aiohttp.TCPConnector(ssl=access.tls or True, limit=0)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=jar) as session:
        yield session


def _models(namespace: str) -> str:
    return f"{_API}/namespaces/{namespace}/{names.PLURAL}" if namespace else f"{_API}/{names.PLURAL}"


def _event(text: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = orjson.loads(text)
        kind, item = event["type"], event["object"]
    except (ValueError, TypeError, KeyError) as error:
        raise ConnectionError("the stream contains something that is not an event") from error
    if kind == "ERROR":
        raise ApiError(item.get("code") or 0, item.get("message") or item.get("reason") or "unknown")
    return event


def _words(body: bytes, reason: str | None) -> str:
    try:
        return str(orjson.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(reason)
