"""HTTP/1.1 requests from bytes, parsed by httptools. It does no I/O."""

from collections.abc import Callable

import httptools

from onnxmodel_runtime.server import limits
from onnxmodel_runtime.server.http1.heads import Head, Headers, Refused, check, size_of, too_large


class Incoming(Head):
    """A request, as far as it has arrived."""

    __slots__ = ("chunks", "complete", "expects", "refused", "size")

    def __init__(self) -> None:
        super().__init__()
        self.expects = False  # an interim response, before it sends the body
        self.chunks: list[bytes] = []
        self.size = 0  # of the chunks
        self.complete = False
        self.refused: Refused | None = None

    def body(self) -> bytes:
        """Return what has arrived of the body, or of what was not taken of it yet."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


class RequestParser:
    """Parses the requests of one connection."""

    def __init__(self, whole: Callable[[Incoming], None]) -> None:
        """whole: called with each complete request, in order, while `feed` runs."""
        self.incoming: Incoming | None = None
        """The request that is not complete. It has a method once its head is complete."""
        self._whole = whole
        self._http = httptools.HttpRequestParser(self)
        self._offered: Incoming | None = None  # whose head asks for another protocol
        self._head = 0  # bytes received since the last complete head, or of what is behind a chunk; -1 within a body
        self._piece = 0  # bytes received at one time
        self._begun_in = 0  # the piece in which the head began
        self._fields: Headers = []  # where headers go

    @property
    def in_head(self) -> bool:
        """True in the middle of a head, or of trailers."""
        return self._head > 0

    def feed(self, data: bytes) -> None:
        """Parse the next bytes. Raises Refused for what no request of this connection can follow."""
        if self._head >= 0:
            self._head += len(data)
        self._piece = len(data)
        try:
            try:
                self._http.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._decline(memoryview(data)[offer.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Refused):
                raise error.__context__ from None
            raise Refused(400, f"the request is not HTTP/1.1: {error}") from error
        if self._head > limits.MAX_HEAD:
            raise too_large(self.incoming)

    def forget(self) -> None:
        """Drop the request that is not complete."""
        self.incoming = self._offered = None

    def _decline(self, rest: memoryview) -> None:
        """Go on in this protocol with a request that offers another one. rest: the bytes behind its head.

        The parser takes each such offer as accepted, and the head for the whole request. A new parser gets the head
        without the offer.
        """
        while (request := self._offered) is not None:
            self._offered = None
            if request.method == "CONNECT":
                raise Refused(501, "this server is not a proxy")
            fields = b"".join(b"%s: %s\r\n" % field for field in request.headers if field[0] != b"upgrade")
            line = b"%s %s HTTP/%s\r\n" % (request.method.encode(), request.target, request.version.encode())
            self._http = httptools.HttpRequestParser(self)
            self._head = 0
            self._http.feed_data(line + fields + b"\r\n")
            try:
                self._http.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]

    # httptools calls these.

    def on_message_begin(self) -> None:
        """Start a request."""
        self.incoming = request = Incoming()
        self._begun_in = self._piece
        self._fields = request.headers

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it."""
        assert self.incoming is not None
        self.incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        name = name.lower()
        self._fields.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            assert self.incoming is not None
            self.incoming.expects = True

    def on_headers_complete(self) -> None:
        """Check the head."""
        request = self.incoming
        assert request is not None
        # Head and piece together are more than what was received of it: only then is it worth counting.
        if self._head + self._begun_in > limits.MAX_HEAD and size_of(request) > limits.MAX_HEAD:
            raise too_large(request)
        request.method = self._http.get_method().decode("ascii")
        request.version = self._http.get_http_version()
        check(request)
        request.keep_alive = self._http.should_keep_alive()
        self._head = -1
        if self._http.should_upgrade():
            self._offered, self.incoming = request, None

    def on_chunk_header(self) -> None:
        """Start a chunk. The last one has no body, but may have trailers, which nobody reads."""
        self._head = 0
        self._fields = []

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        request = self.incoming
        assert request is not None
        self._head = -1
        request.chunks.append(body)
        request.size += len(body)

    def on_message_complete(self) -> None:
        """Hand over the request."""
        self._head = 0
        request, self.incoming = self.incoming, None
        if request is not None:  # an offer of another protocol ends without one
            request.complete = True
            self._whole(request)
