"""Sources of models: s3://, gs://, az://, http(s)://, oci://, hf://, pvc:// and, for people, local files."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from onnxmodel_runtime.contract.uris import SOURCE_FORMS
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.folder import FolderSource, below
from onnxmodel_runtime.sources.source import FIELD, Source, invalid, shown

CLAIM_MOUNT = "/source"  # the operator mounts the claim of a pvc:// URI here, read-only

CREDENTIALS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("GOOGLE_APPLICATION_CREDENTIALS_JSON", "STORAGE_EMULATOR_HOST"),
    *("AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ENDPOINT"),
    *("HTTP_AUTHORIZATION", "OCI_USERNAME", "OCI_PASSWORD", "OCI_AUTH_HOST", "OCI_PLAIN_HTTP_HOSTS"),
    *("HF_TOKEN", "HF_ENDPOINT", "CA_CERTIFICATES"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
"""Variables that a Secret may set, of all schemes."""


def open_source(uri: str, *, local: bool = False, home: str = "") -> Source:
    """Return the source of a URI. Raises StageError for a URI without one.

    home: the URI that credentials are for; one of another host gets none of them. Empty: this URI itself.
    """
    home = home or uri
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise invalid(uri, str(error)) from error
    # Each client library is imported for its own scheme alone: some take seconds.
    if parts.scheme == "s3":
        from onnxmodel_runtime.sources.s3 import S3Source

        return S3Source(uri, local)
    if parts.scheme == "gs":
        from onnxmodel_runtime.sources.gs import GsSource

        return GsSource(uri)
    if parts.scheme == "az":
        from onnxmodel_runtime.sources.az import AzSource

        return AzSource(uri, home)
    if parts.scheme in ("http", "https"):
        from onnxmodel_runtime.sources.http import HttpSource

        return HttpSource(uri, home)
    if parts.scheme == "oci":
        from onnxmodel_runtime.sources.oci import OciSource

        return OciSource(uri, home)
    if parts.scheme == "hf":
        from onnxmodel_runtime.sources.hf import HfSource

        return HfSource(uri)
    if parts.scheme == "pvc":
        mount = Path(os.environ.get("ONNXMODEL_CLAIM_MOUNT", CLAIM_MOUNT))
        if local and not mount.is_dir():
            raise StageError(
                "SourceUnsupported",
                f"{shown(uri)!r}: a PersistentVolumeClaim is mounted in a cluster only",
                "Copy the model to this machine, and use its path.",
                FIELD,
            )
        return FolderSource(uri, mount, below(mount, unquote(parts.path), uri), uri.endswith("/"))
    if local and parts.scheme in ("", "file"):
        path = Path(unquote(parts.path) if parts.scheme else uri).absolute()
        return FolderSource(uri, path if path.is_dir() else path.parent, path, path.is_dir())
    raise StageError(
        "SourceUnsupported",
        f"{shown(uri)!r} has {f'the scheme {parts.scheme!r}, which is not supported' if parts.scheme else 'no scheme'}",
        f"Use {SOURCE_FORMS}.",
        FIELD,
    )
