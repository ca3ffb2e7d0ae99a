"""Request bodies: read, decompressed, and held in memory within bounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.errors import Code, ServerError
from onnxmodel_runtime.server.http1.asgi import Receive
from onnxmodel_runtime.server.protocol import compression

TOO_MUCH = "the server holds too many large requests"


class Gone(Exception):
    """The client is gone; nobody reads a response."""


class Bodies:
    """All request bodies in memory."""

    def __init__(self) -> None:
        self.held = 0

    @contextlib.asynccontextmanager
    async def read(self, receive: Receive, encoding: str, limit: int, announced: int = 0) -> AsyncIterator[bytes]:
        """Read one body, and decompress it. Its memory counts until the block ends. Raises ServerError.

        announced: its Content-Length; too large a one is refused before a byte of the body is read. The front lets a
        refused client finish sending.
        """
        before = _Lease(self)
        after = _Lease(self)
        try:
            _bound(announced, limit)
            body = await _read(receive, before, limit)
            if compression.is_one(encoding):
                body = await decompressed(body, encoding, limit, after.take)
                before.end()
            yield body
        finally:
            before.end()
            after.end()


async def decompressed(body: bytes, encoding: str, limit: int, take: Callable[[int], None]) -> bytes:
    """Decompress a body. take: called with the size of each piece of it; may raise."""
    whole = compression.Decompression(body, encoding, limit)
    pieces = []
    while not whole.done:
        pieces.append(await asyncio.to_thread(whole.read))
        take(len(pieces[-1]))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Lease:
    """One request's share of the common memory."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size = 0

    def take(self, size: int) -> None:
        self._size += size
        self._bodies.held += size
        if self._bodies.held > limits.MAX_BODIES:
            raise ServerError(TOO_MUCH, Code.UNAVAILABLE)

    def end(self) -> None:
        self._bodies.held -= self._size
        self._size = 0


def _bound(size: int, limit: int) -> None:
    if size > limit:
        raise ServerError(f"the request exceeds the maximum allowed input size of {limit} bytes", Code.TOO_LARGE)


async def _read(receive: Receive, lease: _Lease, limit: int) -> bytes:
    """All bytes."""
    chunks: list[bytes] = []
    size = 0
    more = True
    try:
        async with asyncio.timeout(limits.READ_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk, more = message.get("body", b""), message.get("more_body", False)
                size += len(chunk)
                _bound(size, limit)
                lease.take(len(chunk))
                chunks.append(chunk)
    except TimeoutError as error:
        raise ServerError(f"the request's body did not arrive within {limits.READ_SECONDS:.0f} s") from error
    return b"".join(chunks)
