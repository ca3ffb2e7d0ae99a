"""az://ACCOUNT/CONTAINER/PATH, with Azure's client: a key, a shared access signature or a connection string, or nobody asks."""

import re
from collections.abc import Generator
from itertools import islice
from typing import Any

import azure.core.exceptions as azure
import requests
from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient

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
from onnxmodel_runtime.sources.web import may_pass, variable

_ACCOUNT = r"[a-z0-9]{3,24}"
_URI = re.compile(
    rf"az://(?P<account>{_ACCOUNT})/(?P<container>\$root|\$web|[a-z0-9][a-z0-9-]{{1,62}})/(?P<path>.+)", re.S
)
_HINT = "Provide AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING for this account."


class AzSource:
    """A blob, or a prefix that ends in "/". Credentials are for the account of `home`.

    AZURE_STORAGE_ENDPOINT: where the account is, when not at ACCOUNT.blob.core.windows.net.
    """

    loose = False

    def __init__(self, uri: str, home: str = "") -> None:
        found = _URI.fullmatch(uri)
        if not found:
            raise invalid(uri, _wrong(uri))
        self.uri, self.account, self.path = uri, found["account"], found["path"]
        theirs = _URI.fullmatch(home or uri)
        session = requests.Session()
        guard(session)
        options: dict[str, Any] = {
            "transport": RequestsTransport(session=session, session_owner=False),
            "retry_total": 0,  # fetch tries again, with a line in the log
            "permit_redirects": False,
            "connection_timeout": 10,
            "read_timeout": 60,
            "max_single_get_size": 4 * CHUNK,
            "max_chunk_get_size": 4 * CHUNK,
        }
        try:
            self.client: Any = self._client(
                found["container"], theirs is not None and theirs["account"] == self.account, options
            )
        except ValueError as error:
            raise secret_invalid(f"cannot create the Azure client: {error}", _HINT) from error

    @property
    def resolved(self) -> str:
        """The URI."""
        return self.uri

    def _client(self, container: str, ours: bool, options: dict[str, Any]) -> Any:
        string = variable("AZURE_STORAGE_CONNECTION_STRING")
        endpoint = variable("AZURE_STORAGE_ENDPOINT")
        if ours and string and not endpoint:
            client = ContainerClient.from_connection_string(string, container, **options)
            if client.account_name != self.account:
                raise ValueError(f"AZURE_STORAGE_CONNECTION_STRING belongs to the account {client.account_name}")
            return client
        credential: Any = None
        if ours and (key := variable("AZURE_STORAGE_KEY")):
            credential = {"account_name": self.account, "account_key": key}
        elif ours and (token := variable("AZURE_STORAGE_SAS_TOKEN")):
            credential = AzureSasCredential(token.removeprefix("?"))
        elif ours and string:
            raise ValueError(
                "AZURE_STORAGE_CONNECTION_STRING has its own endpoint, so AZURE_STORAGE_ENDPOINT must not be set"
            )
        url = endpoint or f"https://{self.account}.blob.core.windows.net"
        return ContainerClient(url, container, credential, **options)

    def list(self) -> "list[Remote]":
        """List the blob, or every blob below the prefix."""
        try:
            if not self.path.endswith("/"):
                properties = self.client.get_blob_client(self.path).get_blob_properties()
                return [self._remote(MODEL_FILE, properties)]
            listed = islice(self.client.list_blobs(name_starts_with=self.path, include=["metadata"]), 2 * MAX_FILES)
            blobs = [blob for blob in listed if not _is_folder(blob)]
        except Exception as error:
            raise self._known(error) from error
        if not blobs:
            raise not_found(self.uri, "no blob has this prefix")
        if len(blobs) > MAX_FILES:
            raise invalid(self.uri, f"the folder contains more than {MAX_FILES} blobs")
        return [self._remote(blob.name.removeprefix(self.path), blob) for blob in blobs]

    def _remote(self, path: str, blob: Any) -> Remote:
        return Remote(path, int(blob.size), lambda start: Body(start, self._chunks(blob, start), int(blob.size)))

    def _chunks(self, blob: Any, start: int) -> Generator[bytes, None, None]:
        # Every part is asked for on the condition that the blob is still the one that was listed.
        options = {"etag": blob.etag, "match_condition": MatchConditions.IfNotModified} if blob.etag else {}
        try:
            if start < blob.size or not blob.size:
                client = self.client.get_blob_client(blob.name)
                yield from client.download_blob(
                    offset=start or None, max_concurrency=1, decompress=False, **options
                ).chunks()
        except GeneratorExit:
            raise
        except Exception as error:
            raise self._known(error) from error

    def _known(self, error: Exception) -> Exception:
        status = int(getattr(error, "status_code", 0) or 0)
        code = getattr(error, "error_code", "") or ""
        detail = f"the store returned {status} {getattr(code, 'value', code)}".strip()
        if isinstance(error, azure.ClientAuthenticationError) or status in (401, 403):
            return forbidden(self.uri, detail)
        if isinstance(error, azure.ResourceNotFoundError) or status == 404:
            return not_found(self.uri, detail)
        if status == 412:
            return rejected(f"{self.uri} was replaced during the fetch", "Run it again when the upload has finished.")
        if may_pass(status):
            return UnreachableError(f"{self.uri}: {detail}")
        if isinstance(error, azure.HttpResponseError) and status >= 300:
            return rejected(f"{self.uri}: {detail}", "Check the URI, and AZURE_STORAGE_ENDPOINT.")
        if "certificate" in str(error).lower():
            return untrusted(self.uri, error)
        transport = (azure.AzureError, requests.exceptions.RequestException, OSError)
        return UnreachableError(f"{self.uri}: {scrubbed(error)}") if isinstance(error, transport) else error


def _wrong(uri: str) -> str:
    """Return which part of the URI is wrong, and what it must be."""
    account, _, rest = uri.removeprefix("az://").partition("/")
    container, _, path = rest.partition("/")
    if not account or not container or not path:
        return "expected az://ACCOUNT/CONTAINER/PATH"
    if not re.fullmatch(_ACCOUNT, account):
        return f"the account {account!r} must have 3 to 24 lowercase letters and digits"
    return f"the container {container!r} must have 2 to 63 lowercase letters, digits and '-', or be $root or $web"


def _is_folder(blob: Any) -> bool:
    """Consoles and hierarchical accounts make empty blobs for folders."""
    marked = str((blob.metadata or {}).get("hdi_isfolder", "")).lower() == "true"
    return marked or str(blob.name).endswith("/")
