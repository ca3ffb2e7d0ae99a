"""ASGI: the interface of an application, and the path of a request through it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from onnxmodel_runtime.server.http1.heads import Head, Headers, Reply, render
from onnxmodel_runtime.server.http1.parser import Incoming

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application(Protocol):
    """An ASGI application that can also respond at once."""

    def now(self, head: Head, body: bytes) -> Reply | None:
        """Return the response, or None if it has to wait for something. Does not raise."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request by ASGI. Does not raise."""


class Channel(Protocol):
    """A connection, as a cycle sees it."""

    client: tuple[str, int] | None
    """Address and port."""
    gone: bool
    """The connection is closed: nothing is received or sent any more."""
    writable: bool
    """True while the client reads as fast as we write."""

    def invite(self) -> None:
        """Ask the client for the body that it holds back."""

    def taken(self, request: Incoming) -> None:
        """Receive more of the body: the application has taken what had arrived."""

    def last_or_not(self, request: Incoming, headers: Headers) -> Headers:
        """Return the response's headers, with `Connection: close` if the connection ends with this response."""

    def write(self, request: Incoming, head: bytes, body: bytes) -> None:
        """Write a part of the response."""

    def until_writable(self) -> Awaitable[None]:
        """Wait until `writable`."""

    def over(self, cycle: "Cycle") -> None:
        """Go on with the next request: the application has returned."""


class Cycle:
    """A request and its response, on their way through the application.

    headers: of the response, once it has begun. ended: the response is complete.
    """

    __slots__ = ("_changed", "_channel", "_delivered", "_head", "_task", "ended", "headers", "request")

    def __init__(self, channel: Channel, request: Incoming) -> None:
        self.request = request
        self.headers: Headers | None = None
        self.ended = False
        self._channel = channel
        self._task: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None
        self._delivered = False  # all of the body
        self._head = b""  # of the response, until a part of the body is there

    def start(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        """Run the application in a task."""
        self._task = loop.create_task(self._run(application))

    def cancel(self) -> None:
        """Cancel the task."""
        if self._task is not None:
            self._task.cancel()

    def wake(self) -> None:
        """Let the application see that more of the request has arrived, or that no more will."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _run(self, application: Application) -> None:
        request, channel = self.request, self._channel
        path, _, query = request.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version,
            "method": request.method,
            "scheme": "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": channel.client,
        }
        try:
            await application(scope, self._receive, self._send)
        finally:
            channel.over(self)

    @property
    def _cut_off(self) -> bool:
        """True if no more of the request will arrive."""
        return self._channel.gone or self.request.refused is not None

    async def _receive(self) -> Message:
        request, channel = self.request, self._channel
        if request.expects:
            request.expects = False
            if not request.complete and not channel.gone:
                channel.invite()
        while not self._cut_off and (self._delivered or not (request.chunks or request.complete)):
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        if self._cut_off:
            return {"type": "http.disconnect"}
        body = request.body()
        request.chunks.clear()
        request.size = 0
        self._delivered = request.complete
        channel.taken(request)
        return {"type": "http.request", "body": body, "more_body": not self._delivered}

    async def _send(self, message: Message) -> None:
        request, channel = self.request, self._channel
        if channel.gone:
            return
        if message["type"] == "http.response.start":
            self.headers = channel.last_or_not(request, message["headers"])
            self._head = render(request, message["status"], self.headers)
            return
        head, self._head = self._head, b""
        self.ended = not message.get("more_body", False)
        channel.write(request, head, message.get("body", b""))
        if not channel.writable:
            await channel.until_writable()
