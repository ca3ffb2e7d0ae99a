"""Client of the API server: server-side apply of children and status, deletion, lists and watches.

Plain HTTP by aiohttp, without discovery: the kinds are known (docs/decisions/0002).
"""

import json
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from onnxmodel_operator import names
from onnxmodel_operator.cluster.access import Access, find
from onnxmodel_operator.cluster.errors import ApiError, StaleError
from onnxmodel_operator.cluster.kinds import BY_NAME, MODEL, POD, Kind
from onnxmodel_operator.observe import Warned
from onnxmodel_operator.times import parse_time

_TIMEOUT_SECONDS = 30
_SILENT_SECONDS = 90
_KEPT_SECONDS = 60  # an unused connection; the API server closes it after 90
_WATCH_SECONDS = (300, 600)
_PAGE = 500
_NEVER = datetime.min.replace(tzinfo=UTC)
_NO_VERSION = "1"
"""A version that no object ever has: an apply with it as its precondition creates the object, or ends in a conflict."""
_JSON, _APPLY, _MERGE = "application/json", "application/apply-patch+yaml", "application/merge-patch+json"


class Client:
    """One connection pool. Every method raises ApiError, or OSError and TimeoutError where nobody answered.

    fence: asked before each write for the seconds that it may take. Raises NotLeadingError where it must not begin.
    """

    def __init__(
        self, access: Access, session: aiohttp.ClientSession, fence: Callable[[], float] = lambda: _TIMEOUT_SECONDS
    ) -> None:
        self._access, self._session, self.fence = access, session, fence
        self.heard: Callable[[Exception | None], None] = lambda _: None
        """Callback for each request: None once it succeeds, or the error."""

    async def apply(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply the child's manifest, fields of other managers aside. Returns the object as stored."""
        metadata = manifest["metadata"]
        path = BY_NAME[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        return await self._apply(path, manifest, names.MANAGER)

    async def create(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply a child that does not exist yet. Returns it. Raises StaleError where the name is taken."""
        with _conditional():
            return await self.apply({**manifest, "metadata": {**manifest["metadata"], "resourceVersion": _NO_VERSION}})

    async def apply_status(
        self, namespace: str, name: str, version: str, status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Make the status exactly this. Returns the resource.

        The version keeps it off a new resource of the same name: where a status is written, the API server takes any uid.
        Raises StaleError where it is another one.
        """
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": version},
            "status": status,
        }
        with _conditional():
            return await self._apply(f"{MODEL.path(namespace, name)}/status", body, names.STATUS_MANAGER)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Get any object of the operator's kinds, whoever made it. None if there is none."""
        try:
            return await self._request("get", BY_NAME[kind].path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def model(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A model; None where there is none. By a list, which the operator may do anyway."""
        answer = await self._request("get", MODEL.path(namespace), query={"fieldSelector": f"metadata.name={name}"})
        return next(iter(answer["items"]), None)

    async def pods(self, namespace: str, job: str) -> list[dict[str, Any]]:
        """List the pods of a Job. Consistent: not from a stale cache of the API server."""
        selector = f"{names.SELECTOR},batch.kubernetes.io/job-name={job}"
        answer = await self._request("get", POD.path(namespace), query={"labelSelector": selector})
        items: list[dict[str, Any]] = answer["items"]
        return items

    async def delete(self, kind: str, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Delete a child, if it still is what `item` says, and in the background what it owns. One that is not there is fine.

        Returns it where it is still on its way out, else None. Raises StaleError where it has changed.
        """
        metadata = item["metadata"]
        body = {
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        }
        try:
            with _conditional():
                path = BY_NAME[kind].path(metadata["namespace"], metadata["name"])
                answer = await self._write("delete", path, body, {}, _JSON)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        # Some kinds answer with what is gone. Only a finalizer keeps a child.
        return answer if answer.get("metadata", {}).get("finalizers") else None

    async def pages(self, kind: Kind, namespace: str | None = None) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """List all of our objects of a kind, page by page, each with the resource version of the whole list.

        namespace: the only one to list; None for all.

        Consistent: not from a stale cache of the API server.
        """
        query = {**_selecting(kind), "limit": str(_PAGE)}
        while True:
            page = await self._request("get", kind.path(namespace), query=query)
            yield page["items"], page["metadata"]["resourceVersion"]
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                return

    async def watch(
        self, kind: Kind, version: str | None, namespace: str | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events since a resource version. None: first all objects, up to a bookmark that marks their end.

        Ends when the API server ends it, in minutes. Raises ApiError for an ERROR event, and TimeoutError for silence:
        an API server without news sends a bookmark each minute.
        """
        first = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        query = {
            **_selecting(kind),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),  # not all streams of all replicas at once
            **(first if version is None else {"resourceVersion": version}),
        }
        timeout = aiohttp.ClientTimeout(sock_connect=_TIMEOUT_SECONDS, sock_read=_SILENT_SECONDS)
        answer = await self._ask("get", kind.path(namespace), query=query, timeout=timeout)
        try:
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield _event(line)
            if rest:
                yield _event(rest)
        # Without tracebacks: aiohttp keeps the error with the connection that its traceback leads to, a cycle of 7 KB, and
        # what lives as long as a stream is out of the collector's sight (pauses.py).
        except TimeoutError as error:  # aiohttp's is a ClientError as well
            raise TimeoutError(f"no event and no bookmark for {_SILENT_SECONDS} s") from error.with_traceback(None)
        except aiohttp.ClientError as error:
            raise ConnectionError(f"the stream was interrupted: {error}") from error.with_traceback(None)
        finally:
            answer.close()

    async def warnings(self, namespace: str, uid: str) -> tuple[Warned, ...]:
        """List the warning events of an object, newest first."""
        path = f"/api/v1/namespaces/{namespace}/events"
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": "100"}
        items = (await self._request("get", path, query=query))["items"]
        found = [Warned(item.get("reason") or "", item.get("message") or "", _seen(item)) for item in items]
        return tuple(sorted(found, key=lambda event: event.time or _NEVER, reverse=True))

    async def create_event(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Create an Event. kubectl describe shows it with the object that it regards."""
        await self._write("post", _events(namespace), body, {}, _JSON)

    async def count_event(self, namespace: str, name: str, series: Mapping[str, Any]) -> bool:
        """Set the series of an Event. False if the Event is not there any more."""
        try:
            await self._write("patch", f"{_events(namespace)}/{name}", {"series": series}, {}, _MERGE)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def read_lease(self, namespace: str, name: str, timeout: float) -> dict[str, Any] | None:
        """Get a Lease. None if there is none. timeout: in seconds."""
        try:
            return await self._request("get", f"{_leases(namespace)}/{name}", seconds=timeout)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def write_lease(self, lease: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Create a Lease, or replace the one of its resourceVersion. Returns it. No fence: it is what the fence is made of.

        timeout: in seconds. Raises ApiError 409 where another was faster.
        """
        metadata = lease["metadata"]
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease}
        path = _leases(metadata["namespace"])
        if "resourceVersion" in metadata:
            return await self._request("put", f"{path}/{metadata['name']}", body=body, seconds=timeout)
        return await self._request("post", path, body=body, seconds=timeout)

    async def _apply(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        return await self._write("patch", path, body, {"fieldManager": manager, "force": "true"}, _APPLY)

    async def _write(
        self, method: str, path: str, body: Mapping[str, Any], query: dict[str, str], content: str
    ) -> dict[str, Any]:
        seconds = min(_TIMEOUT_SECONDS, self.fence())
        return await self._request(method, path, query=query, body=body, content=content, seconds=seconds)

    async def _request(
        self, method: str, path: str, *, seconds: float = _TIMEOUT_SECONDS, **asked: Any
    ) -> dict[str, Any]:
        # By default aiohttp rounds up to a whole second what is over 5 s: a write would last longer than its fence.
        timeout = aiohttp.ClientTimeout(total=seconds, ceil_threshold=math.inf)
        answer = await self._ask(method, path, timeout=timeout, **asked)
        try:
            data: dict[str, Any] = orjson.loads(await answer.read())
        except (aiohttp.ClientError, ValueError) as error:
            raise self._failed(ConnectionError(f"the API server's response was interrupted: {error}")) from error
        except (OSError, TimeoutError) as error:
            self.heard(error)
            raise
        return data

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: str = _JSON,
    ) -> aiohttp.ClientResponse:
        headers = self._access.headers()
        if body is not None:
            headers["Content-Type"] = content
        try:
            answer = await self._session.request(
                method,
                self._access.server + path,
                params=query,
                data=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            )
            if answer.status // 100 != 2:
                if answer.status == 401:
                    self._access.refused()
                raise self._failed(ApiError(answer.status, _words(await answer.read(), answer.reason)))
        except aiohttp.ClientError as error:
            raise self._failed(ConnectionError(f"cannot reach the API server: {error}")) from error
        except (OSError, TimeoutError) as error:
            self.heard(error)
            raise
        self.heard(None)
        return answer

    def _failed(self, error: Exception) -> Exception:
        self.heard(error)
        return error


@contextmanager
def _conditional() -> Iterator[None]:
    """A write with a precondition: its conflict means that the object is not what the cache has."""
    try:
        yield
    except ApiError as error:
        if error.status != 409:
            raise
        raise StaleError(409, str(error)) from error


def _event(line: bytes) -> dict[str, Any]:
    """One line of a watch. Raises ApiError for an ERROR event, ConnectionError for what a proxy cut or put in its place."""
    try:
        event: dict[str, Any] = orjson.loads(line)
        kind, item = event["type"], event["object"]
        if kind != "ERROR":
            item["metadata"]["resourceVersion"]
            return event
    except (ValueError, TypeError, KeyError) as error:
        raise ConnectionError(f"the stream contains something that is not an event: {line[:100]!r}") from error
    raise ApiError(item.get("code") or 0, item.get("message") or item.get("reason") or "unknown")


def _selecting(kind: Kind) -> dict[str, str]:
    return {"labelSelector": kind.label_selector} if kind.label_selector else {}


def _leases(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def _events(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def _seen(event: dict[str, Any]) -> datetime | None:
    """Return when an event was last seen. The field that holds the time depends on the event's author."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((parse_time(time) for time in times if time), None)


def _words(body: bytes, reason: str | None) -> str:
    """The API server's own sentence, out of the Status object that it answers with."""
    try:
        return str(orjson.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(reason)


@asynccontextmanager
async def connect(access: Access | None = None) -> AsyncIterator[Client]:
    """Create a client, by default with the access of the pod or of KUBECONFIG. Raises AccessError."""
    access = access or find()
    # Answers as they are: unpacking them costs more than they are long.
    headers = {"Accept": _JSON, "Accept-Encoding": "identity", "User-Agent": names.MANAGER}
    # Without a limit: each watch holds a connection, and with many namespaces requests would wait for those for ever.
    connector = aiohttp.TCPConnector(ssl=access.tls or True, keepalive_timeout=_KEPT_SECONDS, limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield Client(access, session)
