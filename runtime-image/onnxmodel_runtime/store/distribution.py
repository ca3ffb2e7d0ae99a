"""The calls of the OCI distribution API that the store needs, on one repository, and their errors in words."""

import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from onnxmodel_runtime.contract.store import DOCKER_CONFIG, Repository
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.oci_login import Login
from onnxmodel_runtime.sources.source import UnreachableError
from onnxmodel_runtime.sources.web import Web, WebReply, loopback, may_pass, read, stream
from onnxmodel_runtime.store.patience import MissingError, Patience, away, platforms

T = TypeVar("T")
SETTINGS = "settings.artifacts.oci"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_SECRET = f"the Secret that {SETTINGS}.secretRef names"
_MOST_BYTES = 4 << 20  # of a manifest, as registries have it
_COMMIT_SECONDS = 600  # registries look at a whole layer before they answer
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


class Distribution:
    """One repository of a registry."""

    def __init__(self, place: Repository, repository: str, seconds: float, pause: Callable[[float], None]) -> None:
        """place: the registry and how it is asked. repository: without the host."""
        self.host = place.repository.partition("/")[0]
        self.uri = f"oci://{self.host}/{repository}"
        self._patience = Patience(seconds, pause)
        scheme = "http" if place.insecure or loopback(self.host.rpartition(":")[0] or self.host) else "https"
        self._root = f"{scheme}://{self.host}/v2"
        self._base = f"{self._root}/{repository}"
        self._login = Login(self.uri, self._base, repository, with_password=True, plainly=place.insecure)
        self._web = Web(self.uri, self._login.authorization)

    def manifest(self, reference: str) -> bytes:
        """Return a manifest. Raises MissingError."""
        url = f"{self._base}/manifests/{reference}"
        return self._again(lambda: read(self._get(url, {"Accept": MANIFEST}), _MOST_BYTES))

    def put_manifest(self, reference: str, content: bytes) -> None:
        """Write a manifest. Raises MissingError if the registry lacks a blob that it names, StageError for a large one."""
        if len(content) > _MOST_BYTES:
            raise StageError(
                "ArtifactsRefused",
                f"{self.uri}:{reference} would have a manifest of {len(content)} bytes, and registries take {_MOST_BYTES}",
                "Use fewer files of external data, or shorter names.",
            )
        url = f"{self._base}/manifests/{reference}"
        self._again(lambda: self._send("PUT", url, (content,), len(content), {"Content-Type": MANIFEST}))

    def has(self, digest: str) -> bool:
        """Return whether the repository has a blob."""

        def ask() -> bool:
            # A redirect leads to where the blob is.
            self._done("HEAD", f"{self._base}/blobs/{digest}", (200, 301, 302, 303, 307, 308))
            return True

        try:
            return self._again(ask)
        except MissingError:
            return False

    def upload(self, digest: str, size: int, content: Callable[[], Iterable[bytes]]) -> None:
        """Write a blob. It appears when it is whole. Raises StageError where the repository must be created first."""

        def ask() -> None:
            reply = self._done("POST", f"{self._base}/blobs/uploads/", (202,), {"Content-Length": "0"})
            place = urljoin(reply.url, reply.response.headers.get("Location", ""))
            whole = f"{place}{'&' if urlsplit(place).query else '?'}digest={digest}"
            self._send("PUT", whole, lambda: self._watched(content()), size)

        try:
            self._again(ask)
        except MissingError as error:
            hint = f"Create the repository {self.uri.removeprefix('oci://')}, if the registry wants that first"
            raise platforms(f"{self.uri}: the registry takes no blob: {error}", hint, SETTINGS) from error

    def download(self, digest: str, take: Callable[[], Callable[[bytes], object]], most: int) -> None:
        """Pass the bytes of a blob to what `take` returns, which is asked again for each attempt. Raises MissingError."""

        def ask() -> None:
            sink, left = take(), most
            for chunk in self._watched(stream(self._get(f"{self._base}/blobs/{digest}", {}))):
                left -= len(chunk)
                if left < 0:
                    return
                sink(chunk)

        self._again(ask)

    def _watched(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        total = 0
        for chunk in chunks:
            yield chunk
            total += len(chunk)
            self._patience.moved(total)

    def tags(self) -> list[str]:
        """List the tags of the repository."""
        try:
            return list(self._pages(f"{self._base}/tags/list?n=1000", "tags"))
        except MissingError:
            return []

    def repositories(self) -> list[str]:
        """List all repositories of the registry. Raises MissingError if it has no such list."""
        return list(self._pages(f"{self._root}/_catalog?n=1000", "repositories"))

    def delete(self, tag: str) -> None:
        """Remove a tag and its manifest, if it is there. No other tag may have the same manifest."""
        url = f"{self._base}/manifests/"

        def ask() -> None:
            head = self._done("HEAD", f"{url}{tag}", (200,), {"Accept": MANIFEST})
            digest = head.response.headers.get("Docker-Content-Digest", "")
            refused = ""
            for reference in filter(None, (digest, tag)):  # some remove manifests alone, and some tags
                reply = self._ask("DELETE", f"{url}{reference}", {})
                if reply.status in (200, 202, 204, 404):
                    reply.response.close()
                    return
                if may_pass(reply.status):
                    raise self._known(reply)
                refused = self._words(reply)
            raise StageError(
                "StoreForbidden",
                f"{self.host} removes nothing: {refused}",
                "Allow it to delete manifests; or remove tags by the registry's own rules.",
                SETTINGS,
            )

        try:
            self._again(ask)
        except MissingError:
            return

    def _pages(self, url: str, name: str) -> Iterator[str]:
        seen = set[str]()
        while url:
            if url in seen:  # a part would hide the mark that keeps a model's images
                message = f"{self.host}: a page of its {name} leads to one that was read before"
                raise platforms(message, "Let the proxy before the registry keep the query", SETTINGS)
            seen.add(url)
            reply, content = self._again(lambda: self._page(url))  # noqa: B023  asked before the next one
            try:
                yield from map(str, json.loads(content).get(name) or ())
            except (ValueError, AttributeError, RecursionError) as error:
                raise platforms(f"{self.host} lists no {name}", f"Correct {SETTINGS}.repository", SETTINGS) from error
            following = _NEXT.search(reply.response.headers.get("Link", ""))
            url = urljoin(url, following[1]) if following else ""

    def _page(self, url: str) -> tuple[WebReply, bytes]:
        reply = self._get(url, {})
        return reply, read(reply, _MOST_BYTES)

    def _get(self, url: str, headers: Mapping[str, str]) -> WebReply:
        reply = self._login.through(url, lambda: self._web.get(url, headers))
        if reply.status != 200:
            raise self._known(reply)
        return reply

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> WebReply:
        return self._login.through(url, lambda: self._web.send(method, url, headers))

    def _done(self, method: str, url: str, good: tuple[int, ...], headers: Mapping[str, str] | None = None) -> WebReply:
        reply = self._ask(method, url, headers or {})
        if reply.status not in good:
            raise self._known(reply)
        reply.response.close()
        return reply

    def _send(
        self,
        method: str,
        url: str,
        content: Callable[[], Iterable[bytes]] | Iterable[bytes],
        size: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        told = {"Content-Type": "application/octet-stream", **(headers or {}), "Content-Length": str(size)}

        def ask() -> WebReply:
            body = content() if callable(content) else content
            return self._web.send(method, url, told, body, seconds=_COMMIT_SECONDS)

        reply = self._login.through(url, ask)
        if reply.status not in (200, 201, 202, 204):
            raise self._known(reply)
        reply.response.close()

    def _known(self, reply: WebReply) -> Exception:
        """The error for a status that is not the expected one."""
        status, words = reply.status, self._words(reply)
        if status == 404 or "BLOB_UNKNOWN" in words:
            return MissingError(words)
        if status in (401, 403, 407):
            return self._forbidden(f"{self.uri}: the registry refuses: {words}")
        if may_pass(status):
            return away(f"the registry {self.host} returned {words}", f"{SETTINGS}.repository")
        return platforms(f"{self.uri}: the registry returned {words}", "Check the registry's limits", SETTINGS)

    def _words(self, reply: WebReply) -> str:
        """The status of a reply, with the code that the distribution API has for it. The reply is closed."""
        try:
            content = reply.response.read(4096)
            found = re.findall(r'"code"\s*:\s*"([A-Z_]{1,64})"', content.decode("latin-1"))
        except Exception:  # the status is the reply, whatever else breaks
            found = []
        finally:
            reply.response.close()
        return " ".join([str(reply.status), *found[:3]])

    def _forbidden(self, message: str) -> StageError:
        hint = f"Correct the credentials for {self.host} in {_SECRET}: it reads, writes and deletes"
        return platforms(message, hint, SETTINGS)

    def _again(self, ask: Callable[[], T]) -> T:
        def known() -> T:
            try:
                return ask()
            except UnreachableError as error:
                raise away(f"the registry {self.host} does not answer: {error}", f"{SETTINGS}.repository") from error
            except StageError as error:  # in the words of a model's source, unless it is ours
                raise self._ours(error) from error

        return self._patience.ask(known)

    def _ours(self, error: StageError) -> StageError:
        failure = error.failure
        if failure.field.startswith(SETTINGS):
            return error
        if failure.reason == "SourceUntrusted":
            hint = f"Add its certificate authority in PEM as CA_CERTIFICATES to {_SECRET}"
            return platforms(failure.message, hint, SETTINGS)
        if failure.reason == "SourceLoginElsewhere":
            hint = f"If that is correct, name it as OCI_AUTH_HOST in {_SECRET}"
            return platforms(failure.message, hint, SETTINGS)
        if failure.reason == "SourceForbidden":
            return self._forbidden(failure.message)
        return platforms(failure.message, "Check the registry", SETTINGS)


def take_docker_config(place: Repository) -> None:
    """Leave the user and the password of the store's registry in the environment, and of no other registry."""
    text = os.environ.pop(DOCKER_CONFIG, "")
    for name in ("OCI_USERNAME", "OCI_PASSWORD"):
        os.environ.pop(name, None)
    if not text:
        return
    try:
        user, password = _login_of(json.loads(text)["auths"], place.repository)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise platforms(
            f"{_SECRET} has no {DOCKER_CONFIG} that can be read: {type(error).__name__}",
            f"Make {_SECRET} with kubectl create secret docker-registry",
            SETTINGS,
        ) from error
    if user or password:
        os.environ["OCI_USERNAME"], os.environ["OCI_PASSWORD"] = user, password


def _login_of(auths: Mapping[str, Any], repository: str) -> tuple[str, str]:
    """The entry that says most of a repository: its key is the host, or the host with the beginning of the path."""
    fitting = {}
    for key, entry in auths.items():
        bare = re.sub("^https?://", "", key).rstrip("/")
        if f"{repository}/".startswith(f"{bare}/"):
            fitting[len(bare)] = entry
    if not fitting:
        return "", ""
    entry = fitting[max(fitting)]
    if entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        return user, password
    return str(entry.get("username", "")), str(entry.get("password", ""))
