"""Heads of requests and responses: the part of RFC 9112 that needs no connection."""

import ipaddress
import re
import time
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from onnxmodel_runtime.server import limits

Headers = list[tuple[bytes, bytes]]
# uri-host [":" port] of RFC 9110, with the zone of an IPv6 address that some clients leave in.
_HOST = re.compile(
    rb"(?:\[([0-9A-Za-z.:]+)(?:%[0-9A-Za-z.%~_-]+)?\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([^?#]*)(\?[^#]*)?", re.IGNORECASE)
CLOSE = (b"connection", b"close")
_REASONS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


@dataclass(slots=True)
class Reply:
    """A response, whose headers include the type and length of its body."""

    status: int
    headers: Headers
    body: bytes = b""


class Head:
    """A request's line and headers. prepared: the application's; the same head of another request has it too."""

    __slots__ = ("headers", "keep_alive", "method", "prepared", "target", "version")

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.headers: Headers = []
        self.version = "1.1"
        self.keep_alive = True
        self.prepared: Any = None


class Refused(Exception):
    """The front end refuses this request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def size_of(request: Head) -> int:
    """Return the bytes of a head."""
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)


def too_large(request: Head | None) -> Refused:
    """Return why a head is refused that exceeds MAX_HEAD."""
    if request is not None and len(request.target) > limits.MAX_HEAD // 2:
        return Refused(
            414, f"the request target is too long: request line and headers may have {limits.MAX_HEAD} bytes"
        )
    return Refused(431, f"the request line and headers exceed the maximum allowed size of {limits.MAX_HEAD} bytes")


def check(request: Head) -> None:
    """Check version, host and target as RFC 9112 says. An absolute target becomes a path. Raises Refused."""
    if request.version not in ("1.1", "1.0"):
        raise Refused(505, "this server supports HTTP/1.1 and HTTP/1.0")
    hosts = [value for name, value in request.headers if name == b"host"]
    if not hosts and request.version == "1.1":
        raise Refused(400, "the request has no Host header, which HTTP/1.1 requires")
    if len(hosts) > 1:
        raise Refused(400, f"the request has {len(hosts)} Host headers, but may have only one")
    if hosts and not _is_host(hosts[0]):
        raise Refused(400, "the Host header is not a host with an optional port")
    target = request.target
    if target[:1] == b"/" or request.method == "CONNECT":
        return
    if target == b"*" and request.method == "OPTIONS":
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _is_host(absolute[1]):
        raise Refused(400, "the request target is neither a path nor an http URL")
    request.target = (absolute[2] or b"/") + (absolute[3] or b"")


def _is_host(value: bytes) -> bool:
    """Return whether the value is a host with an optional port. Brackets must contain an IPv6 address."""
    found = _HOST.fullmatch(value)
    if found is None or found[1] is None:
        return found is not None
    try:
        ipaddress.IPv6Address(found[1].decode("ascii"))
    except ValueError:
        return False
    return True


def render(head: Head, status: int, headers: Headers) -> bytes:
    """Return the head of a response to this request."""
    lines = [_REASONS[status], _date()]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if head.version == "1.0" and head.keep_alive and CLOSE not in headers:
        lines.append(b"connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, f"date: {formatdate(now, usegmt=True)}\r\n".encode())
    return _dated[1]
