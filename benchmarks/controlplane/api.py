"""The API server for the harness and the played kubelet: JSON over a pool of connections."""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

MODELS = "/apis/onnx-operator.dev/v1alpha1"
_AT_ONCE = 16
_JSON = "application/json"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


class RefusedError(Exception):
    """The API server refused. status: of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class Api:
    """Requests of one user; at most 16 at the same time."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session, self._free = session, asyncio.Semaphore(_AT_ONCE)

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """An object or a list."""
        return await self._ask("GET", path, query)

    async def table(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Return the table that `kubectl get` shows: each row's cells by column name. Light for both sides."""
        answer = await self._ask("GET", path, {**query, "includeObject": "None"}, accept=_TABLE)
        columns = [column["name"].upper() for column in answer["columnDefinitions"]]
        return [dict(zip(columns, row["cells"], strict=True)) for row in answer.get("rows") or ()]

    async def post(self, path: str, item: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object."""
        return await self._ask("POST", path, {}, item)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge the patch into an object."""
        return await self._ask("PATCH", path, {}, patch, "application/merge-patch+json")

    async def apply(self, path: str, item: Mapping[str, Any], manager: str) -> dict[str, Any]:
        """Server-side apply."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._ask("PATCH", path, query, item, "application/apply-patch+yaml")

    async def delete(self, path: str, **query: str) -> dict[str, Any]:
        """Delete an object or a collection."""
        return await self._ask("DELETE", path, query)

    async def watch(
        self, path: str, *, metadata: bool = False, **query: str
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield the existing objects, then every event, until the caller stops. metadata: only that of each object."""
        headers = {"Accept": _METADATA if metadata else _JSON}
        query |= {"watch": "true", "allowWatchBookmarks": "true"}
        version = ""
        while True:
            initial = {} if version else {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            asked = {**query, **initial, **({"resourceVersion": version} if version else {})}
            async with self._session.get(path, params=asked, headers=headers) as answer:
                if answer.status >= 300:
                    raise RefusedError(answer.status, await answer.text())
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        version = ""
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield event["type"], event["object"]

    async def _ask(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        kind: str = _JSON,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body)
        async with self._free:
            headers = {"Content-Type": kind, "Accept": accept}
            async with self._session.request(verb, path, params=query, data=data, headers=headers) as answer:
                text = await answer.text()
        if answer.status >= 300:
            raise RefusedError(answer.status, text)
        found: dict[str, Any] = json.loads(text)
        return found


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Api]:
    """As the user of a kubeconfig with a client certificate."""
    config = json.loads(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    session = aiohttp.ClientSession(
        cluster["server"],
        connector=aiohttp.TCPConnector(ssl=context, limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
        read_bufsize=2**22,
    )
    async with session:
        yield Api(session)
