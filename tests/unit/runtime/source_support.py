"""Web servers for the tests of fetch, and the fetch that is allowed to reach them."""

import hashlib
import http.server
import io
import re
import ssl
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onnxmodel_runtime.contract.fetch import FetchRequest, SourcePolicy
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.stages.fetch import fetch

BODY = b"\x08\x08" + bytes(range(256)) * 100
DIGEST = hashlib.sha256(BODY).hexdigest()
HERE = SourcePolicy(networks=("127.0.0.0/8", "::1/128"))  # where the tests' servers are
Handler = http.server.BaseHTTPRequestHandler
Route = Callable[[Handler], None]


@dataclass
class Site:
    """A web server: path -> what it does. seen: path and Authorization of each request; headers: all of them."""

    port: int
    scheme: str = "http"
    routes: dict[str, Route] = field(default_factory=dict)
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    default: Route | None = None

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


@contextmanager
def serving(tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[Site]:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.seen.append((self.path, self.headers.get("Authorization")))
            site.headers.append({name.lower(): value for name, value in self.headers.items()})
            route = site.routes.get(self.path.partition("?")[0], site.default)
            if route is None:
                self.send_error(404)
            else:
                route(self)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that do not like our certificate, or that have seen enough

    server = Server((address, 0), Answers)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    site = Site(server.server_port, "http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sends(body: bytes = BODY, status: int = 200, length: int | None = None, **headers: str) -> Route:
    """Answers with `body`; length: what it says that it sends."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return answer


def ranged(body: bytes, *, etag: str = '"1"', breaks_after: list[int] | None = None) -> Route:
    """A server that knows ranges. breaks_after: how many bytes each answer sends before it breaks off, then all."""
    breaks = list(breaks_after or ())

    def answer(handler: Handler) -> None:
        given = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        start = int(given[1]) if given and handler.headers.get("If-Range", etag) == etag else 0
        end = min(int(given[2]) + 1, len(body)) if given and given[2] else len(body)
        handler.send_response(206 if given and (start or given[1] == "0") else 200)
        if given and (start or given[1] == "0"):
            handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        handler.send_header("Content-Length", str(end - start))
        handler.send_header("ETag", etag)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body[start : start + breaks.pop(0)] if breaks else body[start:end])

    return answer


def redirects(target: str, status: int = 302) -> Route:
    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def in_turn(*routes: Route) -> Route:
    """Each request gets the next answer; the last stays."""
    left = list(routes)

    def answer(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


def get(
    uri: str,
    directory: Path,
    *,
    sha256: str = "",
    max_bytes: int = 1 << 20,
    local: bool = False,
    policy: SourcePolicy = HERE,
    signature: str = "",
    golden: str = "",
    kind: str = "model",
) -> dict[str, Any]:
    request = FetchRequest(uri, str(directory), sha256, max_bytes, policy, signature, golden, kind=kind)
    return fetch(request, local=local, pause=lambda _: None)


def refused(uri: str, directory: Path, **options: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        get(uri, directory, **options)
    assert not directory.exists()
    assert not list(directory.parent.glob("*.tmp-*"))  # nothing half-made stays
    assert caught.value.failure.hint
    assert caught.value.failure.field.startswith("spec.") or not caught.value.failure.reason.startswith("Source")
    return caught.value


def rejected(uri: str, directory: Path, *words: str, reason: str = "SourceRejected", **options: Any) -> StageError:
    """Refused by policy, at once and for good, in words that say what it was."""
    error = refused(uri, directory, **options)
    assert (error.failure.reason, error.retry) == (reason, False), error.failure
    for word in words:
        assert word in f"{error.failure.message} {error.failure.hint}"
    return error


def tar(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as packed:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return out.getvalue()


def packed_zip(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()
