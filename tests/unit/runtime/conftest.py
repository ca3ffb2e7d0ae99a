"""What tests of several packages share."""

import os
from collections.abc import Iterator

import pytest

from tests.unit.runtime.source_support import Site, serving

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CA_CERTIFICATES")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pod has just started."""
    monkeypatch.setattr("onnxmodel_runtime.stages.loadtest._WARM_UP_SECONDS", 0.01)


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy nor a credential of whoever runs the tests."""
    for name in list(os.environ):
        if (
            name.lower().endswith("_proxy")
            or name.startswith(("AWS_", "AZURE_", "GOOGLE_", "HF_", "OCI_", "STORAGE_"))
            or name in _AUTHORITIES
        ):
            monkeypatch.delenv(name)
    for name in ("AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)  # fetch sets them: so they are put back
    monkeypatch.setenv("no_proxy", "*")
