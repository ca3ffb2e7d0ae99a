"""http(s)://, with urllib3: redirects are followed by hand, because each one may lead somewhere else."""

import ipaddress
import os
import socket
from collections.abc import Generator
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from onnxmodel_runtime.contract import MODEL_FILE
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources import CHUNK, FIELD, Remote, UnreachableError, forbidden, invalid, not_found

MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
# A cloud's metadata service hands out the node's credentials; no model lives there. Link-local holds most of them.
_METADATA = (ipaddress.ip_network("100.100.100.200/32"), ipaddress.ip_network("fd00:ec2::254/128"))


class HttpSource:
    """A file on a web server. The environment's HTTP_AUTHORIZATION goes to the URI's own host and to no other."""

    def __init__(self, uri: str) -> None:
        self.uri, self.parts = uri, urlsplit(uri)
        if not self.parts.hostname:
            raise invalid(uri, "a host is expected")
        if self.parts.username or self.parts.password:
            raise invalid(uri, "credentials belong into spec.source.secretRef, not into the URI")
        if uri.endswith("/"):
            raise invalid(uri, "a folder cannot be listed over HTTP; give the file's URI, or use s3:// or pvc://")

    def list(self) -> "list[Remote]":
        """The file; its size is known when it comes."""
        return [Remote(MODEL_FILE, -1, self._chunks)]

    def _chunks(self) -> Generator[bytes, None, None]:
        response = self._open()
        try:
            yield from response.stream(CHUNK, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"{self.uri} broke off: {error}") from error
        finally:
            response.close()

    def _open(self) -> urllib3.BaseHTTPResponse:
        url = self.uri
        for _ in range(MAX_REDIRECTS + 1):
            parts = urlsplit(url)
            response = self._request(url, parts)
            if response.status not in _REDIRECTS:
                self._check(url, response)
                return response
            target = urljoin(url, response.headers.get("Location", ""))
            response.close()
            if parts.scheme == "https" and urlsplit(target).scheme != "https":
                raise StageError(
                    "SourceRejected",
                    f"{url} redirects from https to {target}",
                    "Use a server that stays with https.",
                    FIELD,
                )
            url = target
        raise StageError(
            "SourceRejected",
            f"{self.uri} redirects more than {MAX_REDIRECTS} times",
            "Give the address at which it ends.",
            FIELD,
        )

    def _request(self, url: str, parts: SplitResult) -> urllib3.BaseHTTPResponse:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise invalid(self.uri, f"it redirects to {url!r}")
        headers = {"User-Agent": "onnxmodel", "Accept-Encoding": "identity"}
        if _origin(parts) == _origin(self.parts) and (secret := os.environ.get("HTTP_AUTHORIZATION")):
            headers["Authorization"] = secret
        proxy = None if proxy_bypass(parts.hostname) else getproxies().get(parts.scheme)
        if not proxy:
            _refuse_metadata_services(parts)
        timeout = urllib3.Timeout(connect=10, read=60)
        # One connection, one request: nothing is reused, so closing the response closes everything.
        manager = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
        try:
            return manager.request(
                "GET", url, headers=headers, redirect=False, retries=False, preload_content=False, timeout=timeout
            )
        except urllib3.exceptions.SSLError as error:
            raise StageError(
                "SourceUntrusted",
                f"{url}: {error}",
                "Give the server's certificate authority to the fetch container (SSL_CERT_FILE).",
                FIELD,
            ) from error
        except urllib3.exceptions.LocationParseError as error:
            raise invalid(self.uri, str(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"{url}: {error}") from error

    def _check(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        status = response.status
        if status == 200:
            return
        response.close()
        detail = f"the server answers {status} {response.reason or ''}".strip()
        if status in (404, 410):
            raise not_found(url, detail)
        if status in (401, 403, 407):
            raise forbidden(url, detail)
        if status >= 500 or status in (408, 425, 429):
            raise UnreachableError(f"{url}: {detail}")
        raise StageError("SourceRejected", f"{url}: {detail}", "Give a URI that answers with the file itself.", FIELD)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _refuse_metadata_services(parts: SplitResult) -> None:
    assert parts.hostname
    try:
        answers = socket.getaddrinfo(parts.hostname, parts.port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{parts.hostname} has no address: {error}") from error
    for answer in answers:
        address = ipaddress.ip_address(str(answer[4][0]).split("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_link_local or any(address in network for network in _METADATA):
            raise StageError(
                "SourceRejected",
                f"{parts.hostname} is {address}, an address of the node or of a metadata service",
                "Use a server of its own address.",
                FIELD,
            )
