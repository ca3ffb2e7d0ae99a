"""A real S3 gateway, and the environment of the containers that use it."""

import pytest

from tests.unit.runtime.store_support import SECRET, gateway


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def no_keys(monkeypatch):
    """Nothing of the machine's own AWS counts."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def secret_keys(no_keys, monkeypatch):
    """The Secret of the store."""
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
