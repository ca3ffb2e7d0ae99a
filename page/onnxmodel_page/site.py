"""The page over HTTP: static files, the list, its differences as Server-Sent Events, and one model."""

import asyncio
import contextlib
import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_page.credentials import Auth, NoTokenError, is_expected, token_of
from onnxmodel_page.feed import Feed
from onnxmodel_page.feeds import CrowdedError, Feeds
from onnxmodel_page.reader import ModelReader
from onnxmodel_page.view import detail

ASSETS = Path(__file__).with_name("assets")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_PRIVATE = {"Cache-Control": "no-store", "Vary": "Authorization"}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LIST_SECONDS, _BEAT_SECONDS, _TOGETHER_SECONDS, _WRITE_SECONDS = 30.0, 15.0, 0.1, 30.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    kind: str
    tag: str


@dataclass(frozen=True)
class Site:
    """The handlers. hosts: names under which a page with an account of its own may be asked for."""

    auth: Auth
    hosts: tuple[str, ...]
    feeds: Feeds
    reader: Callable[[str], ModelReader]

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_harden)
        app.on_shutdown.append(self._close)
        app.cleanup_ctx.append(self._tidying)
        app.router.add_get("/healthz", _alive)
        app.router.add_get("/api/models", self._models)
        app.router.add_get("/api/changes", self._changes, allow_head=False)
        app.router.add_get("/api/models/{namespace}/{name}", self._model)
        for path, asset in _assets():
            app.router.add_get(path, _serving(asset))
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if (
            self.auth is Auth.SERVICE_ACCOUNT
            and request.path != "/healthz"
            and not is_expected(request.host, self.hosts)
        ):
            return _refused(421, f"this page is not {request.host}: name it in page.hosts of the chart's values")
        try:
            return await handler(request)
        except NoTokenError as error:
            return _refused(401, str(error))
        except CrowdedError as error:
            return _refused(503, str(error))
        except ApiError as error:
            return _refused(error.status if error.status in (401, 403, 404) else 502, str(error))
        except (OSError, TimeoutError) as error:
            if request.transport is None or request.transport.is_closing():
                raise
            return _refused(502, str(error) or "the API server did not answer in time")
        except web.HTTPException as error:
            return _refused(error.status, error.reason)

    def _token(self, request: web.Request) -> str:
        return token_of(self.auth, request.headers.getall("Authorization", []))

    def _feed(self, request: web.Request) -> Feed:
        return self.feeds.get(self._token(request), _named(request.query.get("namespace", ""), empty=True))

    async def _models(self, request: web.Request) -> web.Response:
        """Everything that is there, as soon as there is anything."""
        feed = self._feed(request)
        async with asyncio.timeout(_LIST_SECONDS):
            await feed.listed.wait()
        if feed.report.state == "Ended":
            return _refused(feed.report.code, feed.report.message)
        body, headers = feed.snapshot(), dict(_PRIVATE)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, 2)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        """The differences since a moment, until one side ends it. A browser that was away for too long starts anew."""
        feed = self._feed(request)
        since = feed.place(request.headers.get("Last-Event-ID") or request.query.get("since", ""))
        stream = web.StreamResponse(headers={**_PRIVATE, "X-Accel-Buffering": "no"})
        stream.content_type = "text/event-stream"
        await stream.prepare(request)
        with feed.watched(), contextlib.suppress(ConnectionError):  # the browser went away
            await _send(stream, feed, since)
        return stream

    async def _model(self, request: web.Request) -> web.Response:
        """One model, and what is told about it, with the rights of whoever asks."""
        namespace, name = (_named(request.match_info[part]) for part in ("namespace", "name"))
        reader = self.reader(self._token(request))
        body = await reader.model(namespace, name)
        problem, events = "", []
        try:
            events = await reader.events(namespace, body["metadata"]["uid"])
        except ApiError as error:
            problem = str(error)
        data = orjson.dumps({"model": detail(body, events), "events_problem": problem})
        return web.Response(body=data, content_type="application/json", headers=_PRIVATE)

    async def _close(self, _: web.Application) -> None:
        self.feeds.close()

    async def _tidying(self, _: web.Application) -> Any:
        task = asyncio.create_task(self.feeds.tidy())
        yield
        task.cancel()


async def _send(stream: web.StreamResponse, feed: Feed, since: int | None) -> None:
    told = None
    while True:
        news, report = feed.news, feed.report
        changes = None if since is None else feed.changes(since)
        if changes is None:
            await _write(stream, _event("reset", b"{}"))
            return
        parts = []
        if since != feed.number:
            since = feed.number
            parts.append(_event("rows", changes, feed.at))
        if report != told:
            told = report
            parts.append(_event("report", orjson.dumps(report)))
        if parts:
            await _write(stream, b"".join(parts))
        if report.state == "Ended":
            return
        try:
            async with asyncio.timeout(_BEAT_SECONDS):
                await news.wait()
        except TimeoutError:
            await _write(stream, b":\n\n")  # proxies close what is silent
        else:
            await asyncio.sleep(_TOGETHER_SECONDS)  # a burst is one message


async def _write(stream: web.StreamResponse, data: bytes) -> None:
    try:
        async with asyncio.timeout(_WRITE_SECONDS):
            await stream.write(data)
    except TimeoutError as error:
        raise ConnectionResetError("the browser does not read") from error


def _event(kind: str, data: bytes, at: str = "") -> bytes:
    head = f"id: {at}\nevent: {kind}\n" if at else f"event: {kind}\n"
    return head.encode() + b"data: " + data + b"\n\n"


def _named(text: str, *, empty: bool = False) -> str:
    """Return the name, which becomes part of a path. Raises HTTPBadRequest."""
    if not (empty and not text) and not _NAME.fullmatch(text):
        raise web.HTTPBadRequest(reason="the request names no valid namespace or model")
    return text


def _refused(status: int, message: str) -> web.Response:
    headers = {**_PRIVATE, **({"WWW-Authenticate": "Bearer"} if status == 401 else {})}
    data = orjson.dumps({"message": message})
    return web.Response(status=status, body=data, content_type="application/json", headers=headers)


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _harden(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _assets() -> Iterator[tuple[str, _Asset]]:
    for file in sorted(ASSETS.iterdir()):
        body = file.read_bytes()
        asset = _Asset(body, _TYPES[file.suffix], hashlib.sha256(body).hexdigest()[:16])
        yield ("/" if file.name == "index.html" else f"/{file.name}"), asset


def _serving(asset: _Asset) -> _Handler:
    async def serve(request: web.Request) -> web.Response:
        headers: Mapping[str, str] = {"ETag": f'"{asset.tag}"', "Cache-Control": "no-cache"}
        if asset.tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=asset.body, content_type=asset.kind, charset="utf-8", headers=headers)

    return serve
