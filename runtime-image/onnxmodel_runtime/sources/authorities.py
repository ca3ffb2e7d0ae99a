"""Certificate authorities of one's own, in the environment: a Secret holds text, and TLS libraries read files."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxmodel_runtime.sources.source import secret_invalid

VARIABLE = "CA_CERTIFICATES"


@contextmanager
def trusted() -> Iterator[None]:
    """Trust the PEM certificates of CA_CERTIFICATES besides the usual ones, in every client library."""
    pem = os.environ.get(VARIABLE, "").strip()
    if not pem:
        yield
        return
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise secret_invalid(
            f"{VARIABLE} contains no certificates: {error}", "Use PEM: -----BEGIN CERTIFICATE----- …"
        ) from error
    from requests.utils import DEFAULT_CA_BUNDLE_PATH  # a heavy import that others need not pay for

    usual = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or DEFAULT_CA_BUNDLE_PATH)
    before = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "AWS_CA_BUNDLE")}
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as bundle:
        bundle.write(f"{usual.read_text()}\n{pem}\n")
        bundle.flush()
        os.environ |= dict.fromkeys(before, bundle.name)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
