"""The protocol on HTTP, and the metrics: bare ASGI applications, which respond at once if nothing must be awaited."""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

from onnxmodel_runtime.contract import compare
from onnxmodel_runtime.server import limits, tracing
from onnxmodel_runtime.server.access import Caller
from onnxmodel_runtime.server.bodies import Bodies, Gone
from onnxmodel_runtime.server.errors import HTTP_STATUS, BusyHereError, Code, ServerError
from onnxmodel_runtime.server.http1 import heads
from onnxmodel_runtime.server.http1.asgi import Receive, Scope, Send
from onnxmodel_runtime.server.protocol import compression, describe, repeat, rest
from onnxmodel_runtime.server.protocol.request import InferRequest, ModelSpec
from onnxmodel_runtime.server.recorder import CONTENT_TYPE
from onnxmodel_runtime.server.service import Encode, Service

log = logging.getLogger("onnxmodel.server")
_TRACE = "onnxmodel.trace"  # in the scope of a request that belongs to one
_LENGTH_HEADER = rest.LENGTH_HEADER.encode()


@dataclass(frozen=True, slots=True)
class RestReply:
    """A response before its type and length become headers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = b"application/json"


class Protocol:
    """The Open Inference Protocol on HTTP."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._bodies = Bodies()
        self._repeated: repeat.Rest | None = None

    def now(self, head: heads.Head, body: bytes) -> heads.Reply | None:
        """Answer an inference without waiting, as most are where the model takes microseconds. None if it must wait."""
        service = self._service
        if not service.quick:
            return None
        prepared = head.prepared
        if prepared is None:
            prepared = head.prepared = _prepare(head, len(body))
        if not prepared or self._bodies.held + len(body) > limits.MAX_BODIES:
            return None
        name, version, length, parent = prepared
        try:
            answered = service.infer_now(name, version, partial(self._decode, body, length))
            if answered is None:
                return None
            answer, json_length = answered
        except ServerError as error:
            status, kind, json_length = HTTP_STATUS[error.code], b"application/json", None
            answer = _body({"error": error.message})
        else:
            status, kind = 200, b"application/json" if json_length is None else b"application/octet-stream"
        sent = [(b"content-type", kind), (b"content-length", b"%d" % len(answer))]
        if json_length is not None:
            sent.append((_LENGTH_HEADER, b"%d" % json_length))
        if parent and (trace := tracing.parse(parent)) is not None:
            sent.append((tracing.RESPONSE_HEADER.encode(), trace.response.encode()))
        if service.draining:
            sent.append((b"connection", b"close"))
        return heads.Reply(status, sent, answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        more: list[tuple[bytes, bytes]] = []
        try:
            reply = await self._route(scope, receive)
        except Gone:
            return
        except ServerError as error:
            reply = _json({"error": error.message}, HTTP_STATUS[error.code])
        except Exception:
            log.exception("a request failed")
            reply = _json({"error": "internal error"}, 500)
        # While draining, clients are asked to come back over a new connection, which leads to another pod.
        if (trace := scope.get(_TRACE)) is not None:
            more.append((tracing.RESPONSE_HEADER.encode(), trace.response.encode()))
        await _send(send, replace(reply, headers=(*reply.headers, *more)) if more else reply, self._service.draining)

    def _decode(self, body: bytes, length: int | None, spec: ModelSpec) -> tuple[InferRequest, Encode[repeat.Body]]:
        if self._repeated is None:
            self._repeated = repeat.Rest(spec)
        return self._repeated.decode(body, length)

    async def _route(self, scope: Scope, receive: Receive) -> RestReply:
        service = self._service
        method = "GET" if scope["method"] == "HEAD" else scope["method"]  # the front sends no body then
        path = [unquote(part) for part in scope["raw_path"].decode("ascii").split("/")[1:]]
        if path[-1:] == [""] and len(path) > 1:  # KServe's server redirects to the path without its last slash
            path.pop()
        match path:
            case []:  # OPTIONS *, the only target that is no path
                return RestReply(200, b"", ((b"allow", b"GET, HEAD, POST"),))
            case ["v2", "models", name, *rest_] if path != ["v2", "models", "stats"]:
                return await self._model(method, name, rest_, scope, receive)
            case ["v2"]:
                return _get(method, describe.server)
            case ["v2", "health", "live"]:
                return _state(method, "live", service.live)
            case ["v2", "health", "ready"]:
                return _state(method, "ready", service.ready)
            case ["v2", "models", "stats"]:
                return _get(method, lambda: {"model_stats": service.statistics("", "")})
            case ["v2", "repository", "index"]:
                if method != "POST":
                    return _not_allowed(method, "POST")
                return await self._index(scope, receive)
            case ["v2", what, *_] if what in describe.UNSUPPORTED:
                raise _unsupported(what)
            case _:
                raise self._nothing()

    def _nothing(self) -> ServerError:
        return ServerError(
            f"there is nothing at this path: the model is at /v2/models/{self._service.name}", Code.NOT_FOUND
        )

    async def _model(self, method: str, name: str, path: list[str], scope: Scope, receive: Receive) -> RestReply:
        version = ""
        if path[:1] == ["versions"] and len(path) > 1:
            version, path = path[1], path[2:]
        match path:
            case ["infer"]:
                if method != "POST":
                    return _not_allowed(method, "POST")
                return await self._infer(name, version, scope, receive)
            case []:
                return _get(method, lambda: self._service.metadata(name, version))
            case ["ready"]:
                if method == "GET" and not self._service.is_ready(name, version):
                    raise ServerError("Model version not ready")
                return _get(method, lambda: {"name": name, "ready": True})
            case ["config"]:
                return _get(method, lambda: self._service.config(name, version))
            case ["stats"]:
                return _get(method, lambda: {"model_stats": self._service.statistics(name, version)})
            case [("generate" | "generate_stream" | "trace") as what, *_]:
                raise _unsupported(what)
            case _:
                raise self._nothing()

    async def _index(self, scope: Scope, receive: Receive) -> RestReply:
        length = _length(dict(scope["headers"]))
        async with self._bodies.read(receive, "", limits.OFF_LOOP, length) as body:
            try:
                asked = rest.parse(body or b"{}")
            except RecursionError:
                asked = None
        ready = asked.get("ready", False) if isinstance(asked, dict) else None
        if not isinstance(ready, bool):
            raise ServerError("Invalid value for 'ready': expected a boolean")
        return _json(self._service.index(ready))

    async def _infer(self, name: str, version: str, scope: Scope, receive: Receive) -> RestReply:
        headers = dict(scope["headers"])
        encoding = _text(headers, "content-encoding")
        trace = scope[_TRACE] = tracing.parse(_text(headers, tracing.REQUEST_HEADER))
        if compare.COMPARED_HEADER.encode() in headers:
            return await self._compared(name, version, encoding, headers, receive)
        caller = Caller("http", (scope.get("client") or ("",))[0], trace)
        read = self._bodies.read(receive, encoding, limits.MAX_REQUEST, _length(headers))
        async with _refusals(self._service, caller, read) as body:
            header = _text(headers, rest.LENGTH_HEADER) or None
            decode = partial(_decode_headed, body, header)
            answer, json_length = await self._service.infer(name, version, len(body), decode, caller)
        return await _encoded(answer, json_length, compression.choose(_text(headers, "accept-encoding")))

    async def _compared(
        self, name: str, version: str, encoding: str, headers: Mapping[bytes, bytes], receive: Receive
    ) -> RestReply:
        try:
            self._service.admit_apart(name, version)  # before the body is read, which may be large
            return await self._apart(name, version, encoding, headers, receive)
        except BusyHereError as error:
            wait = ((b"retry-after", b"%d" % math.ceil(error.seconds)),) if error.seconds else ()
            return RestReply(HTTP_STATUS[error.code], _body({"error": error.message}), wait)

    async def _apart(
        self, name: str, version: str, encoding: str, headers: Mapping[bytes, bytes], receive: Receive
    ) -> RestReply:
        async with self._bodies.read(receive, encoding, limits.MAX_REQUEST, _length(headers)) as body:
            decode = partial(_decode_headed, body, _text(headers, rest.LENGTH_HEADER) or None)
            return _answer(*await self._service.infer_apart(name, version, len(body), decode))


@contextlib.asynccontextmanager
async def _refusals(
    service: Service, caller: Caller, read: contextlib.AbstractAsyncContextManager[bytes]
) -> AsyncIterator[bytes]:
    """The body; one that cannot be read is in the access log too, though the service never hears of it."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            body = await stack.enter_async_context(read)
        except ServerError as error:
            service.refused(caller, error)
            raise
        yield body


def _decode_headed(
    body: bytes, header: str | None, spec: ModelSpec
) -> tuple[InferRequest, Encode[tuple[bytes, int | None]]]:
    return _decode(body, rest.header_length(header, len(body)), spec)


class Metrics:
    """The metrics on HTTP."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def now(self, head: heads.Head, body: bytes) -> None:
        """Return None: metrics are not urgent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] != "/metrics":
            reply = _json({"error": "there is nothing at this path"}, 404)
        elif scope["method"] not in ("GET", "HEAD"):
            reply = _not_allowed(scope["method"], "GET")
        else:
            service = self._service
            if order := _text(dict(scope["headers"]), compare.HEADER):
                service.comparing.follow(order)
            text = (service.recorder.metrics() + service.comparing.metrics()).encode()
            reply = RestReply(200, text, content_type=CONTENT_TYPE.encode())
        await _send(send, reply, close=False)


def _prepare(head: heads.Head, size: int) -> tuple[str, str, int | None, str] | tuple[()]:
    """Model, version, length of the JSON part and parent span of a plain inference; nothing of other requests."""
    path = [unquote(part) for part in head.target.decode("latin-1").split("/")[1:]]
    match path:
        case ["v2", "models", name, "infer"]:
            version = ""
        case ["v2", "models", name, "versions", version, "infer"]:
            pass
        case _:
            return ()
    headers = dict(head.headers)
    encodings = _text(headers, "content-encoding") or compression.choose(_text(headers, "accept-encoding"))
    compared = compare.COMPARED_HEADER.encode() in headers
    if head.method != "POST" or size > limits.OFF_LOOP or encodings or compared:
        return ()
    try:
        length = rest.header_length(_text(headers, rest.LENGTH_HEADER) or None, size)
    except ServerError:
        return ()
    return name, version, length, _text(headers, tracing.REQUEST_HEADER)


def _decode(body: bytes, length: int | None, spec: ModelSpec) -> tuple[InferRequest, Encode[tuple[bytes, int | None]]]:
    decoded = rest.decode(spec, body, length)
    return decoded.request, partial(rest.encode, spec, decoded)


def _answer(body: bytes, json_length: int | None) -> RestReply:
    if json_length is None:
        return RestReply(200, body)
    return RestReply(200, body, ((_LENGTH_HEADER, b"%d" % json_length),), b"application/octet-stream")


async def _encoded(body: bytes, json_length: int | None, encoding: str) -> RestReply:
    reply = _answer(body, json_length)
    if encoding and len(body) >= compression.WORTHWHILE:
        body = await asyncio.to_thread(compression.compress, body, encoding)
        headers = (*reply.headers, (b"content-encoding", encoding.encode()))
        return RestReply(200, body, headers, reply.content_type)
    return reply


def _text(headers: Mapping[bytes, bytes], name: str) -> str:
    return headers.get(name.lower().encode(), b"").decode("latin-1")


def _unsupported(what: str) -> ServerError:
    return ServerError(f"this server does not support {describe.UNSUPPORTED[what]}", Code.UNSUPPORTED)


def _get(method: str, answer: Callable[[], Any]) -> RestReply:
    return _json(answer()) if method == "GET" else _not_allowed(method, "GET")


def _state(method: str, name: str, good: bool) -> RestReply:
    """The status says it, as Triton has it; KServe's clients read the body."""
    return _json({name: good}, 200 if good else 400) if method == "GET" else _not_allowed(method, "GET")


def _not_allowed(method: str, wanted: str) -> RestReply:
    """wanted: GET, which allows HEAD as well, or POST."""
    allow = b"GET, HEAD" if wanted == "GET" else wanted.encode()
    return RestReply(405, _body({"error": f"this path does not allow {method}: use {wanted}"}), ((b"allow", allow),))


def _length(headers: Mapping[bytes, bytes]) -> int:
    """The Content-Length, which the front's parser has checked; 0 where there is none."""
    return int(headers.get(b"content-length", 0))


def _body(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _json(value: Any, status: int = 200) -> RestReply:
    return RestReply(status, _body(value))


def _headers(reply: RestReply, close: bool) -> heads.Headers:
    headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
    if close:
        headers.append((b"connection", b"close"))
    return headers


async def _send(send: Send, reply: RestReply, close: bool) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply, close)})
    await send({"type": "http.response.body", "body": reply.body})
