"""A forwarding proxy on the loopback address, in a thread: plain HTTP and a token to it, the kubeconfig's TLS and
certificate behind it.

Faults are rules that a test puts into `Proxy.faults` and takes out again, while requests run.
"""

import asyncio
import base64
import contextlib
import json
import ssl
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import yaml
from aiohttp import web

from tests.rights import needed, words

_HOP = {"connection", "transfer-encoding", "content-length", "host", "authorization", "keep-alive"}


@dataclass(frozen=True)
class Fault:
    """What happens to the requests that it is for. Empty fields match everything. query: a part of the query string.

    before: the request never reaches the API server. `reset` closes the connection, `hang` answers never, an int is the
    status.
    after: the API server did it, and its answer is lost: `reset` or a status.
    odds: of so many requests in a row that it is for, the first so many are hit. each: counted for each path by itself. For
    before and after only.
    late: seconds that each event of a watch arrives too late. Events keep their distance.
    ends: a watch is cut after so many seconds, by an ERROR event of `code` if there is one.
    repeats: each event comes twice. swaps: of two events that come close together, the second one comes first.
    """

    plural: str = ""
    query: str = ""
    verbs: tuple[str, ...] = ()
    before: str | int = ""
    after: str | int = ""
    odds: tuple[int, int] = (1, 1)
    each: bool = False
    late: float = 0
    silent: bool = False
    ends: float = 0
    code: int = 0
    repeats: bool = False
    swaps: bool = False

    def hits(self, verb: str, plural: str, query: str) -> bool:
        """Whether it is for this request."""
        return (
            (not self.plural or self.plural == plural)
            and (not self.verbs or verb in self.verbs)
            and self.query in query
        )


class Proxy:
    """`kubeconfig` leads through it. writes, reads: the verb and the path of what was asked for, watches aside.
    asked: the rights that all of it needed, as verb and resource.

    dies: asked for each write, by its path, before it is forwarded (False) and when it is answered (True): whether whoever
    asks is dead now. It is called in the proxy's thread, and may kill the operator there.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._server = config["clusters"][0]["cluster"]["server"]
        self._ssl = tls(config, folder)
        self.asked: set[tuple[str, str]] = set()
        self.faults: list[Fault] = []
        self.writes: list[tuple[str, str]] = []
        self.reads: list[tuple[str, str]] = []
        self.dies: Callable[[str, bool], bool] = lambda path, answered: False
        self._folder = folder
        self._hits: Counter[tuple[Fault, str]] = Counter()
        self._deaf = 0.0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy")
        self._streams: set[asyncio.Transport] = set()

    def __enter__(self) -> "Proxy":
        self._thread.start()
        assert self._ready.wait(30)
        port = self._port
        self.kubeconfig = self._folder / "proxied.kubeconfig"
        cluster = {"name": "proxied", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        self.rotate()
        user = {"name": "proxied", "user": {"tokenFile": str(self._token)}}
        context = {"name": "proxied", "context": {"cluster": "proxied", "user": "proxied"}}
        whole = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "proxied"}
        self.kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **whole}))
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def rotate(self) -> None:
        """Another token is in the file, and the one before is not accepted any more."""
        self._token = self._folder / "token"
        new = self._folder / "token.new"
        new.write_text(uuid.uuid4().hex)
        new.replace(self._token)

    def written(self, namespace: str, *verbs: str) -> list[tuple[str, str]]:
        """The writes in a namespace, of these verbs (all by default), without renewals of a Lease."""
        inside = [write for write in self.writes if f"/namespaces/{namespace}/" in write[1]]
        return [write for write in inside if "/leases" not in write[1] and (not verbs or write[0] in verbs)]

    def deafen(self) -> None:
        """The watches that are open now stay open, and nothing arrives any more."""
        self._deaf = self._loop.time()

    def cut(self) -> None:
        """Close every stream that is open now."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for transport in self._streams:
            transport.abort()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, read_bufsize=2**21
        ) as self._session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = int(runner.addresses[0][1])
            self._ready.set()
            await self._stopped.wait()
            self._cut()
            await runner.cleanup()
        await asyncio.sleep(0.1)  # TLS connections take a moment to close

    def _of(self, request: web.Request, verb: str, plural: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.hits(verb, plural, request.query_string)]

    def _turn(self, fault: Fault, request: web.Request) -> bool:
        hit, many = fault.odds
        among = fault, request.path_qs if fault.each else ""
        self._hits[among] += 1
        return (self._hits[among] - 1) % many < hit

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        watch = request.query.get("watch") in ("true", "1", "True")
        verb, plural = "watch" if watch else request.method.lower(), next(iter(words(request.path)), "")
        if not watch:
            (self.reads if verb == "get" else self.writes).append((verb, request.path))
        if request.headers.get("Authorization") != f"Bearer {self._token.read_text()}":
            return await _refused(request, 401)
        for fault in self._of(request, verb, plural):
            if fault.before and self._turn(fault, request):
                return await _refused(request, fault.before)
        write = verb not in ("get", "watch") and plural != "leases"
        if write and self.dies(request.path, False):
            return await _refused(request, "reset")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        timeout = aiohttp.ClientTimeout(total=None)
        target = f"{self._server}{request.raw_path}"
        body = await request.read()
        try:
            async with self._session.request(
                request.method, target, data=body, headers=headers, timeout=timeout
            ) as answer:
                if watch and answer.status == 200:
                    self.asked |= needed("watch", request.path)
                    return await self._stream(request, answer, plural)
                content = await answer.read()
            self.asked |= needed(verb, request.path, answer.status)
        except aiohttp.ClientError:  # the API server itself is away
            return await _refused(request, "reset")
        if write and self.dies(request.path, True):
            return await _refused(request, "reset")
        for fault in self._of(request, verb, plural):
            if fault.after and self._turn(fault, request):
                return await _refused(request, fault.after)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        return web.Response(status=answer.status, body=content, headers=kept)

    async def _stream(self, request: web.Request, answer: Any, plural: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        began = asyncio.get_running_loop().time()
        transport = cast(asyncio.Transport, request.transport)
        self._streams.add(transport)
        lines: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        sending = asyncio.create_task(self._send(request, response, lines, plural))
        try:
            async for line in _lines(answer, lambda: sending.done() or self._ends(request, began, plural)):
                faults, now = self._of(request, "watch", plural), asyncio.get_running_loop().time()
                if self._deaf > began or any(fault.silent for fault in faults):
                    continue
                for _ in range(2 if any(fault.repeats for fault in faults) else 1):
                    lines.put_nowait((now + max((fault.late for fault in faults), default=0), line))
            if not self._ends(request, began, plural):
                lines.put_nowait(None)
                await sending
            code = next((fault.code for fault in self._of(request, "watch", plural) if fault.ends and fault.code), 0)
            if code:
                status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code}
                event = {"type": "ERROR", "object": {**status, "message": f"injected {code}"}}
                await response.write(json.dumps(event).encode() + b"\n")
            await response.write_eof()
        except (ConnectionError, aiohttp.ClientError):
            pass
        finally:
            self._streams.discard(transport)
            sending.cancel()
            await asyncio.wait({sending})
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, lines: Any, plural: str) -> None:
        """Pass lines on when they are due, until there is a None."""
        with contextlib.suppress(ConnectionError):
            while item := await lines.get():
                due, line = item
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                first = b""
                if any(fault.swaps for fault in self._of(request, "watch", plural)) and not _bookmark(line):
                    await asyncio.sleep(0.2)
                    if not lines.empty() and (following := lines.get_nowait()):
                        first, line = (line, following[1]) if _bookmark(following[1]) else (following[1], line)
                await response.write(first + line)

    def _ends(self, request: web.Request, began: float, plural: str) -> bool:
        lived = asyncio.get_running_loop().time() - began
        return any(fault.ends and lived >= fault.ends for fault in self._of(request, "watch", plural))


async def _lines(answer: Any, ended: Any) -> AsyncIterator[bytes]:
    """Whole lines until the answer ends, or `ended` says so; it is asked twice a second."""
    reading: asyncio.Task[bytes] | None = None
    try:
        while not ended():
            reading = reading or asyncio.create_task(answer.content.readline())
            done, _ = await asyncio.wait({reading}, timeout=0.5)
            if done:
                line, reading = reading.result(), None
                if not line:
                    return
                yield line
    finally:
        if reading:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
                await reading


def _bookmark(line: bytes) -> bool:
    return b'"BOOKMARK"' in line[:40]


async def _refused(request: web.Request, how: str | int) -> web.StreamResponse:
    if isinstance(how, int):
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": how, "message": f"injected {how}"}
        return web.json_response(status, status=how)
    if how == "hang":
        await asyncio.sleep(3600)  # until the client gives up
    if request.transport:
        request.transport.abort()
    return web.Response(status=500)


def tls(config: Any, folder: Path) -> ssl.SSLContext:
    """The client's side of TLS, as a kubeconfig has it. folder: where keys are put."""
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
    files = {}
    for holder, field in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")):
        if data := holder.get(f"{field}-data"):
            path = folder / field
            path.write_bytes(base64.b64decode(data))
            files[field] = str(path)
        else:
            files[field] = holder[field]
    context = ssl.create_default_context(cafile=files["certificate-authority"])
    context.load_cert_chain(files["client-certificate"], files["client-key"])
    return context
