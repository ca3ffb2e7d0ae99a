"""gs:// with Google's own client against an emulator of the store, and against a store that looks at credentials."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.unit.runtime.source_support import BODY, DIGEST, Site, get, ranged, refused, rejected, sends, serving, tar

# The client warns at its import of what it could do with yet another package.
pytestmark = [pytest.mark.usefixtures("plain_environment"), pytest.mark.filterwarnings("ignore::ImportWarning")]


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    from gcp_storage_emulator.server import Server

    server = Server("127.0.0.1", 0, in_memory=True, default_bucket="models")
    server.start()
    try:
        yield f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
    finally:
        server.stop()


@pytest.fixture
def store(emulator: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    return emulator


def upload(store: str, name: str, content: bytes) -> None:
    url = f"{store}/upload/storage/v1/b/models/o?uploadType=media&name={quote(name, safe='')}"
    request = urllib.request.Request(url, content, {"Content-Type": "application/octet-stream"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        assert answer.status == 200


def test_an_object(store: str, tmp_path: Path) -> None:
    upload(store, "a b/m#1.onnx", BODY)
    record = get("gs://models/a b/m#1.onnx", tmp_path / "model", sha256=DIGEST)
    assert record["resolved"] == "gs://models/a b/m#1.onnx"


def test_a_prefix(store: str, tmp_path: Path) -> None:
    for name, content in {"f/": b"", "f/model.onnx": BODY, "f/data/w.bin": b"www", "fg/other": b"x"}.items():
        upload(store, name, content) if content else None
    record = get("gs://models/f/", tmp_path / "model")
    assert sorted(record["files"]) == ["data/w.bin", "model.onnx"]


def test_an_archive(store: str, tmp_path: Path) -> None:
    upload(store, "m.tar.gz", tar({"model.onnx": BODY}))
    assert get("gs://models/m.tar.gz", tmp_path / "model")["sha256"] == DIGEST


def test_what_is_not_there(store: str, tmp_path: Path) -> None:
    for uri in ("gs://models/none.onnx", "gs://nobucket/m.onnx", "gs://models/none/"):
        assert refused(uri, tmp_path / "model").failure.reason == "SourceNotFound"


@pytest.mark.parametrize("uri", ["gs://models", "gs:///m.onnx", "gs://models/"])
def test_uris_that_name_nothing(store: str, tmp_path: Path, uri: str) -> None:
    assert refused(uri, tmp_path / "model").failure.reason == "SourceInvalid"


# ---- a store of our own ----------------------------------------------------------------------------------------------

OBJECT = "/storage/v1/b/models/o/m.onnx"
DOWNLOAD = "/download/storage/v1/b/models/o/m.onnx"


def describe(content: bytes = BODY) -> bytes:
    return json.dumps({"name": "m.onnx", "bucket": "models", "size": str(len(content)), "generation": "7"}).encode()


def test_it_goes_on_where_it_broke_off(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", site.url(""))
    site.routes |= {OBJECT: sends(describe()), DOWNLOAD: ranged(BODY, breaks_after=[1000])}
    assert get("gs://models/m.onnx", tmp_path / "model")["sha256"] == DIGEST
    assert site.headers[2]["range"] == "bytes=1000-"
    assert all("generation=7" in path for path, _ in site.seen[1:])


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [
        (403, "SourceForbidden", False),
        (401, "SourceForbidden", False),
        (503, "SourceUnreachable", True),
        (429, "SourceUnreachable", True),
        (400, "SourceRejected", False),
    ],
)
def test_status_decides(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, reason: str, retry: bool
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", site.url(""))
    site.routes[OBJECT] = sends(b"{}", status)
    error = refused("gs://models/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == (reason, retry)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("CA_CERTIFICATES", authority.cert_pem.bytes().decode())
    with serving(context) as site:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", site.url(""))
        site.routes |= {OBJECT: sends(describe()), DOWNLOAD: sends()}
        site.routes["/token"] = sends(b'{"access_token": "t0ken", "expires_in": 3600}', Content_Type="application/json")
        yield site


def account(**changes: Any) -> str:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = {"type": "service_account", "client_email": "m@p.iam", "private_key": key.decode(), "private_key_id": "1"}
    return json.dumps(info | changes)


def test_a_service_account(secure: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", account(token_uri=secure.url("/token")))
    assert get("gs://models/m.onnx", tmp_path / "model")["sha256"] == DIGEST
    assert [path.partition("?")[0] for path, _ in secure.seen] == ["/token", OBJECT, DOWNLOAD]
    assert [value for _, value in secure.seen] == [None, "Bearer t0ken", "Bearer t0ken"]


def test_a_certificate_that_nobody_trusts(secure: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CA_CERTIFICATES")
    assert refused("gs://models/m.onnx", tmp_path / "model").failure.reason == "SourceUntrusted"


def test_a_token_of_the_node_or_of_another_host(secure: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", account(token_uri="https://169.254.169.254/token"))
    rejected("gs://models/m.onnx", tmp_path / "model", "metadata")
    assert secure.seen == []


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        '{"type": "external_account", "credential_source": {"url": "http://169.254.169.254"}}',
        '{"type": "service_account", "token_uri": "https://x"}',
        account(token_uri="http://oauth2.example.com/token"),
    ],
)
def test_what_is_no_service_account(secure: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", text)
    error = refused("gs://models/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.failure.field) == ("SourceInvalid", "spec.source.secretRef")
    assert "PRIVATE" not in error.failure.message
    assert secure.seen == []


def test_nobody_asks_the_node_for_its_rights(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library would look at: a file, the metadata service. The Secret may not point it there either."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", site.url(""))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent")
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{site.port}")
    site.routes |= {OBJECT: sends(describe()), DOWNLOAD: sends()}
    get("gs://models/m.onnx", tmp_path / "model")
    assert [(path.partition("?")[0], value) for path, value in site.seen] == [(OBJECT, None), (DOWNLOAD, None)]
