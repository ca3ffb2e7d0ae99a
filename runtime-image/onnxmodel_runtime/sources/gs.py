"""gs://BUCKET/KEY, with Google's client. GOOGLE_APPLICATION_CREDENTIALS_JSON holds a service account's key, or nobody asks.

The node's metadata service, which the library would ask for want of a key, hands out the node's rights: it never is.
"""

import json
from collections.abc import Generator
from typing import Any
from urllib.parse import quote, urlsplit

import google.api_core.exceptions as api
import google.auth.exceptions as auth
import requests
import urllib3.exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage  # type: ignore[import-untyped]
from google.oauth2 import service_account

from onnxmodel_runtime.contract.volume import MODEL_FILE
from onnxmodel_runtime.sources.requests import guard
from onnxmodel_runtime.sources.source import (
    CHUNK,
    MAX_FILES,
    Body,
    Remote,
    UnreachableError,
    forbidden,
    invalid,
    not_found,
    rejected,
    scrubbed,
    secret_invalid,
    untrusted,
)
from onnxmodel_runtime.sources.web import variable

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS_JSON"
_TIMEOUT = (10, 60)


class GsSource:
    """An object, or a prefix that ends in "/"."""

    loose = False

    def __init__(self, uri: str) -> None:
        self.uri, self.bucket = uri, urlsplit(uri, allow_fragments=False).netloc
        self.key = uri.removeprefix(f"gs://{self.bucket}").lstrip("/")
        if not self.bucket or not self.key:
            raise invalid(uri, "expected gs://BUCKET/KEY")
        endpoint = variable("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"
        self.endpoint = (endpoint if "://" in endpoint else f"http://{endpoint}").rstrip("/")
        inner = requests.Session()
        guard(inner)
        credentials = _credentials(self.endpoint)
        self.session = AuthorizedSession(credentials, auth_request=Request(inner))  # type: ignore[no-untyped-call]
        guard(self.session)
        self.client: Any = storage.Client(
            project=None, credentials=credentials, _http=self.session, client_options={"api_endpoint": self.endpoint}
        )

    @property
    def resolved(self) -> str:
        """The URI."""
        return self.uri

    def list(self) -> "list[Remote]":
        """List the object, or every object below the prefix."""
        try:
            if not self.key.endswith("/"):
                blob = self.client.bucket(self.bucket).blob(self.key)
                blob.reload(timeout=_TIMEOUT, retry=None)
                return [self._remote(MODEL_FILE, blob)]
            blobs = self.client.list_blobs(
                self.bucket, prefix=self.key, max_results=MAX_FILES + 1, timeout=_TIMEOUT, retry=None
            )
            files = [blob for blob in blobs if not blob.name.endswith("/")]  # consoles make empty "folder" objects
        except Exception as error:
            raise self._known(error) from error
        if not files:
            raise not_found(self.uri, "no object has this prefix")
        if len(files) > MAX_FILES:
            raise invalid(self.uri, f"the folder contains more than {MAX_FILES} objects")
        return [self._remote(blob.name.removeprefix(self.key), blob) for blob in files]

    def _remote(self, path: str, blob: Any) -> Remote:
        length = -1 if blob.size is None else int(blob.size)
        # The generation names this very content, so going on where it broke off needs no more than an offset.
        url = f"{self.endpoint}/download/storage/v1/b/{quote(self.bucket)}/o/{quote(blob.name, safe='')}?alt=media"
        url += f"&generation={blob.generation}" if blob.generation else ""
        return Remote(path, length, lambda start: self._open(url, start, length))

    def _open(self, url: str, start: int, length: int) -> Body:
        # gzip: an object that is stored packed comes as it is stored, in the length that was listed.
        headers = {"Accept-Encoding": "gzip"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            response = self.session.get(url, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=False)
            if response.status_code not in (200, 206):
                raise api.from_http_response(response)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise self._known(error) from error
        return Body(start if response.status_code == 206 else 0, self._chunks(response), length)

    def _chunks(self, response: requests.Response) -> Generator[bytes, None, None]:
        try:
            yield from response.raw.stream(CHUNK, decode_content=False)
        except Exception as error:
            raise self._known(error) from error
        finally:
            response.close()

    def _known(self, error: Exception) -> Exception:
        if isinstance(error, api.NotFound):
            return not_found(self.uri, "the store has no such object or bucket")
        if isinstance(error, api.Unauthorized | api.Forbidden):
            return forbidden(self.uri, f"the store returned {error.code} for {_who()}")
        if isinstance(error, requests.exceptions.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return untrusted(self.uri, error)
        if isinstance(error, api.ServerError | api.TooManyRequests | auth.TransportError):
            return UnreachableError(f"{self.uri}: {scrubbed(error)}")
        if isinstance(error, api.GoogleAPICallError):
            return rejected(f"{self.uri}: {scrubbed(error)}", "Check the URI.")
        if isinstance(error, auth.GoogleAuthError):
            return forbidden(self.uri, f"no token for {_who()}: {error}")
        if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return secret_invalid(f"STORAGE_EMULATOR_HOST is not a valid address: {error}", "Set a URL, or remove it.")
        transport = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
        return UnreachableError(f"{self.uri}: {scrubbed(error)}") if isinstance(error, transport) else error


def _who() -> str:
    return f"the account of {_VARIABLE}" if variable(_VARIABLE) else "anonymous requests"


def _credentials(endpoint: str) -> Any:
    text = variable(_VARIABLE)
    if not text:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    hint = "Use the JSON key of a service account."
    try:
        info = json.loads(text)
        # Other kinds name URLs, files and even programs that the library would use.
        if not isinstance(info, dict) or info.get("type") != "service_account":
            raise ValueError("it is not the key of a service account")
        for url in (endpoint, str(info.get("token_uri"))):
            if urlsplit(url).scheme != "https":
                raise ValueError(f"it would be sent to {url} unencrypted")
        return service_account.Credentials.from_service_account_info(info, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
    except (ValueError, KeyError, TypeError, auth.GoogleAuthError) as error:
        why = "not valid JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise secret_invalid(f"{_VARIABLE} is not valid: {why}", hint) from error
