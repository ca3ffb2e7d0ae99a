"""One HTTP client for http(s)://, oci://, hf:// and the store: redirects are followed by hand, for each may lead elsewhere."""

import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.util import make_headers, parse_url

from onnxmodel_runtime.sources import network
from onnxmodel_runtime.sources.source import (
    CHUNK,
    Body,
    UnreachableError,
    forbidden,
    invalid,
    not_found,
    rejected,
    shown,
    untrusted,
)

MAX_REDIRECTS = 5
_CONNECT_SECONDS = 10.0
_SEND_SECONDS = 60.0  # that a server may take nothing of what it is sent
_REDIRECTS = {301, 302, 303, 307, 308}
_PORTS = {"http": 80, "https": 443}
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
Origin = tuple[str, str, int]


@dataclass(frozen=True)
class WebReply:
    """The answer at the end of all redirects. first: headers of the first answer, which comes from the host that was asked."""

    url: str
    response: urllib3.BaseHTTPResponse
    first: Mapping[str, str]

    @property
    def status(self) -> int:
        """The answer's status."""
        return self.response.status


class Web:
    """Asks servers. authorization: gives the Authorization header for an origin, "" for every origin that gets none.

    schemes_bind: whether the policy's schemes are meant for these URLs, and not for a protocol on top of them.
    """

    def __init__(self, uri: str, authorization: Callable[[Origin], str], *, schemes_bind: bool = False) -> None:
        self.uri, self.authorization, self.schemes_bind = uri, authorization, schemes_bind

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, redirects: int = MAX_REDIRECTS) -> WebReply:
        """Return the reply to GET, of any status. Raises UnreachableError, or StageError for a forbidden redirect."""
        return self._follow(url, headers or {}, redirects)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Iterable[bytes] | None = None,
        *,
        seconds: float = 60,
    ) -> WebReply:
        """Return the reply to another method, of any status, redirects too. seconds: to wait for it once all is sent.

        Raises UnreachableError.
        """
        response = self._request(url, self._parse(url), headers or {}, method, body, seconds)
        return WebReply(url, response, response.headers)

    def _follow(self, url: str, headers: Mapping[str, str], redirects: int) -> WebReply:
        first: Mapping[str, str] | None = None
        for _ in range(redirects + 1):
            parts = self._parse(url)
            response = self._request(url, parts, headers)
            first = response.headers if first is None else first
            if response.status not in _REDIRECTS:
                return WebReply(url, response, first)
            location = response.headers.get("Location", "")
            response.close()
            if _AMBIGUOUS.search(location):  # some parsers drop such letters, some keep them
                raise rejected(f"{shown(url)} redirects to {location!r}", "Use a server that redirects to plain URLs.")
            try:
                target = urljoin(url, location)
                scheme = urlsplit(target).scheme
            except ValueError as error:
                raise rejected(
                    f"{shown(url)} redirects to {location[:200]!r}: {error}", "Use another server."
                ) from error
            if parts.scheme == "https" and scheme == "http":
                raise rejected(
                    f"{shown(url)} redirects from https to {shown(target)}", "Use a server that does not leave https."
                )
            url = target
        raise rejected(
            f"{shown(self.uri)} redirects more than {redirects} times", "Use the address of the last redirect."
        )

    def _parse(self, url: str) -> SplitResult:
        """Parsers that disagree about the host would let one be checked and another be asked."""
        try:
            parts, other = urlsplit(url), parse_url(url)
            port = parts.port
        except (ValueError, urllib3.exceptions.LocationParseError) as error:
            raise invalid(self.uri, str(error)) from error
        host = parts.hostname or ""
        if parts.scheme not in _PORTS or not host:
            raise invalid(self.uri, "expected a host" if url == self.uri else f"it redirects to {shown(url)!r}")
        if _AMBIGUOUS.search(url) or (other.host or "").strip("[]").lower() != host or other.port != port:
            raise rejected(f"{shown(url)!r} is ambiguous", "Use a plain URL.")
        if parts.username is not None or parts.password is not None:
            raise rejected(f"{shown(self.uri)} redirects to a URL with a user or a password in it", "Use a plain URL.")
        if self.schemes_bind:
            network.check_scheme(parts.scheme)
        network.check_url(url)
        return parts

    def _request(
        self,
        url: str,
        parts: SplitResult,
        headers: Mapping[str, str],
        method: str = "GET",
        body: Iterable[bytes] | None = None,
        seconds: float = 60,
    ) -> urllib3.BaseHTTPResponse:
        assert parts.hostname
        sent = {"User-Agent": "onnxmodel", "Accept-Encoding": "identity", **headers}
        if value := self.authorization(origin(parts)):
            sent["Authorization"] = value
        # urllib3 bounds each piece that is sent by the time to connect.
        connect = _CONNECT_SECONDS if body is None else _SEND_SECONDS
        try:
            return _manager(parts).request(
                method,
                url,
                body=body,
                headers=sent,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=connect, read=seconds),
            )
        except urllib3.exceptions.SSLError as error:
            raise untrusted(url, error) from error
        except urllib3.exceptions.LocationParseError as error:
            raise invalid(self.uri, str(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{shown(url)}: {error}") from error

    def checked(self, reply: WebReply) -> WebReply:
        """Return the reply if it is a success. Raises the error of its status otherwise."""
        status, url = reply.status, reply.url
        if status in (200, 206):
            return reply
        detail = f"the server returned {status} {reply.response.reason or ''}".strip()
        reply.response.close()
        if status in (404, 410):
            raise not_found(url, detail)
        if status in (401, 403, 407):
            raise forbidden(url, detail)
        if may_pass(status):
            raise UnreachableError(f"{shown(url)}: {detail}")
        raise rejected(f"{shown(url)}: {detail}", "Use a URI that returns the file itself.")

    def read(
        self, url: str, headers: Mapping[str, str] | None = None, *, limit: int = 4 << 20
    ) -> tuple[bytes, WebReply]:
        """Read a small document as a whole."""
        reply = self.checked(self.get(url, headers))
        return read(reply, limit), reply


def read(reply: WebReply, limit: int) -> bytes:
    """Read the body of a small reply."""
    content = b""
    for chunk in stream(reply):
        content += chunk
        if len(content) > limit:
            raise rejected(f"{shown(reply.url)} returned more than {limit} bytes", "Use the URI of a model.")
    return content


def stream(reply: WebReply) -> Generator[bytes, None, None]:
    """Yield the body of a reply piece by piece."""
    try:
        yield from reply.response.stream(CHUNK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(f"the connection to {shown(reply.url)} was interrupted: {error}") from error
    finally:
        reply.response.close()


class WebFile:
    """A file behind a URL, which goes on where it broke off when it is surely still the same file.

    constant: the URL names its content, so that it cannot have changed.
    """

    def __init__(self, get: Callable[[Mapping[str, str]], WebReply], web: Web, *, constant: bool = False) -> None:
        self._get, self._web, self._constant = get, web, constant
        self._tag = ""

    def open(self, start: int) -> Body:
        """Open the file from `start`, or from its beginning."""
        headers: dict[str, str] = {}
        if start and (self._tag or self._constant):
            headers["Range"] = f"bytes={start}-"
            if self._tag:
                headers["If-Range"] = self._tag
        reply = self._get(headers)
        if "Range" in headers:
            given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.response.headers.get("Content-Range", ""))
            if reply.status == 206 and given and int(given[1]) == start:
                length = -1 if given[2] == "*" else int(given[2])
                return Body(start, stream(reply), length, _vouched(reply))
            if reply.status in (206, 416):
                reply.response.close()
                reply = self._get({})
        if reply.status == 206:
            raise rejected(
                f"{shown(reply.url)} returned a range that was not requested",
                "Use a server that returns complete files.",
            )
        self._web.checked(reply)
        tag = reply.response.headers.get("ETag", "")
        self._tag = (
            "" if tag.startswith("W/") else tag
        )  # a weak one says that files are alike, not that they are the same
        told = reply.response.headers.get("Content-Length", "")
        return Body(0, stream(reply), int(told) if told.isdecimal() else -1, _vouched(reply))


def _vouched(reply: WebReply) -> str:
    """The sha256 that the Hub tells of a large file. Of the host that was asked, not of where it redirects to."""
    tag = reply.first.get("X-Linked-ETag", "").strip('"')
    return tag if re.fullmatch("[0-9a-f]{64}", tag) else ""


def may_pass(status: int) -> bool:
    """Return whether a status of HTTP says that another attempt may help."""
    return status >= 500 or status in (408, 425, 429)


def origin(parts: SplitResult) -> Origin:
    """Return the origin to which a credential is limited: scheme, host and port."""
    return parts.scheme, (parts.hostname or "").removesuffix("."), parts.port or _PORTS.get(parts.scheme, 0)


def loopback(host: str) -> bool:
    """Return whether a host is this machine by its literal name, where http is as good as https."""
    return host in ("localhost", "127.0.0.1", "::1")


def _manager(parts: SplitResult) -> urllib3.PoolManager:
    """One manager, one request: nothing is reused, so closing the response closes everything."""
    assert parts.hostname
    address = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if not address:
        return urllib3.PoolManager()
    if "://" not in address:
        address = f"http://{address}"
    try:
        auth = parse_url(address).auth
        return urllib3.ProxyManager(address, proxy_headers=make_headers(proxy_basic_auth=auth) if auth else None)
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        name = f"{parts.scheme}_proxy"
        raise rejected(f"cannot use the proxy in {name}: {error}", f"Correct {name}.") from error


def variable(name: str) -> str:
    """Return a variable of the fetch container, without the trailing newline that a file in a Secret often has."""
    return os.environ.get(name, "").strip()
