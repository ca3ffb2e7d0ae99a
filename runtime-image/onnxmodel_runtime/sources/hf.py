"""hf://ORG/NAME[@REVISION]/PATH: a model of a Hub, by its HTTP API.

The revision is resolved to its commit first, so that all files are of one commit and the record says of which.
"""

import json
import re
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.sources.source import MAX_FILES, Remote, invalid, not_found, rejected, secret_invalid
from onnxmodel_runtime.sources.web import Origin, Web, WebFile, WebReply, loopback, origin, variable

ENDPOINT = "https://huggingface.co"
Entries = list[dict[str, Any]]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class HfSource:
    """A file, or a folder that ends in "/". HF_TOKEN goes to the Hub (HF_ENDPOINT) and not to where it redirects."""

    loose = False

    def __init__(self, uri: str) -> None:
        # No urlsplit: a path may hold "?" and "#". A "/" of a revision is written %2F.
        owner, _, rest = uri.removeprefix("hf://").partition("/")
        name, _, self.path = rest.partition("/")
        name, _, revision = name.partition("@")
        if not _NAME.fullmatch(owner) or not _NAME.fullmatch(name) or "/" not in rest:
            raise invalid(uri, "expected hf://ORG/NAME/PATH or hf://ORG/NAME@REVISION/PATH")
        if ".." in self.path.split("/"):
            raise invalid(uri, "expected a path without '..'")
        self.uri, self.repository, self.revision = uri, f"{owner}/{name}", unquote(revision) or "main"
        self.endpoint = (variable("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        try:
            parts = urlsplit(self.endpoint)
            self._hub = origin(parts)
        except ValueError as error:
            raise secret_invalid(f"HF_ENDPOINT is not a valid URL: {error}", "Set it to the Hub's URL.") from error
        self._token = variable("HF_TOKEN")
        if self._token and parts.scheme != "https" and not loopback(parts.hostname or ""):
            raise secret_invalid(
                "HF_TOKEN would be sent to HF_ENDPOINT unencrypted",
                "Use an https:// address for HF_ENDPOINT, or no token.",
            )
        self.commit = ""
        self._web = Web(uri, self._authorization)

    @property
    def resolved(self) -> str:
        """The URI at its commit."""
        return f"hf://{self.repository}@{self.commit or quote(self.revision, safe='')}/{self.path}"

    def list(self) -> "list[Remote]":
        """List the file, or every file below the folder, all of one commit."""
        answer = self._json(f"{self._api}/revision/{quote(self.revision, safe='')}")
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not re.fullmatch("[0-9a-f]{40,64}", commit):
            raise rejected(f"{self.endpoint} returns no commit for {self.revision}", "Check HF_ENDPOINT.")
        self.commit = commit
        if self.path and not self.path.endswith("/"):
            return [self._remote(MODEL_FILE, self.path, -1)]
        files = [item for item in self._tree() if item.get("type") == "file"]
        if not files:
            raise not_found(self.uri, "there is no such folder")
        return [
            self._remote(item["path"].removeprefix(self.path), item["path"], item["size"])
            for item in files
            if item["path"].startswith(self.path)
        ]

    @property
    def _api(self) -> str:
        return f"{self.endpoint}/api/models/{self.repository}"

    def _tree(self) -> Entries:
        folder = f"/{quote(self.path.rstrip('/'))}" if self.path else ""
        url: str = f"{self._api}/tree/{self.commit}{folder}?recursive=true"
        found: Entries = []
        while url:
            content, reply = self._web.read(url)
            page = self._parse(content)
            if not isinstance(page, list) or not all(map(_is_entry, page)):
                raise rejected(f"{url} returned something that is not a list of files", "Check HF_ENDPOINT.")
            found += page
            if len(found) > MAX_FILES:
                raise invalid(self.uri, f"the folder contains more than {MAX_FILES} files")
            following = re.search(r'<([^>]+)>;\s*rel="next"', reply.response.headers.get("Link", ""))
            try:
                url = urljoin(url, following[1]) if following and page else ""
            except ValueError as error:
                raise rejected(
                    f"{self.endpoint} returned a next page that is not a URL", "Check HF_ENDPOINT."
                ) from error
        return found

    def _remote(self, name: str, path: str, length: int) -> Remote:
        url = f"{self.endpoint}/{self.repository}/resolve/{self.commit}/{quote(path)}"

        def get(headers: Any) -> WebReply:
            return self._web.get(url, headers)

        return Remote(name, length, WebFile(get, self._web).open)

    def _json(self, url: str) -> Any:
        return self._parse(self._web.read(url)[0])

    def _parse(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise rejected(f"{self.endpoint} returned something that is not JSON", "Check HF_ENDPOINT.") from error

    def _authorization(self, asked: Origin) -> str:
        return f"Bearer {self._token}" if self._token and asked == self._hub else ""


def _is_entry(item: Any) -> bool:
    """A file with its path and size, or a folder."""
    if not isinstance(item, dict) or not isinstance(item.get("path"), str):
        return False
    return item.get("type") != "file" or (isinstance(item.get("size"), int) and item["size"] >= 0)
