"""s3:// with boto3: going on where it broke off, and what a Secret may not make it do."""

import io
import os
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from onnxmodel_runtime.contract.fetch import SourcePolicy
from tests.unit.runtime.source_support import (
    BODY,
    DIGEST,
    HERE,
    Handler,
    Site,
    get,
    in_turn,
    ranged,
    refused,
    rejected,
    sends,
    serving,
    tar,
)

pytestmark = pytest.mark.usefixtures("plain_environment")


@pytest.fixture
def store(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AWS_ENDPOINT_URL", site.url(""))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return site


def test_it_goes_on_where_it_broke_off(store: Site, tmp_path: Path) -> None:
    # The first answer is to the question what there is.
    store.routes["/models/m.onnx"] = in_turn(ranged(BODY), ranged(BODY, breaks_after=[1000, 500]))
    assert get("s3://models/m.onnx", tmp_path / "model")["sha256"] == DIGEST
    assert [headers.get("range") for headers in store.headers][-2:] == ["bytes=1000-", "bytes=1500-"]
    assert store.headers[-1]["if-match"] == '"1"'


def test_an_object_that_changed_meanwhile_comes_from_its_beginning(store: Site, tmp_path: Path) -> None:
    first, changed = ranged(bytes(len(BODY)), breaks_after=[len(BODY), 1000]), sends(b"", 412)
    store.routes["/models/m.onnx"] = in_turn(first, first, changed, ranged(BODY, etag='"2"'))
    assert get("s3://models/m.onnx", tmp_path / "model")["sha256"] == DIGEST


def test_an_archive(store: Site, tmp_path: Path) -> None:
    store.routes["/models/m.tgz"] = sends(tar({"model.onnx": BODY}))
    assert get("s3://models/m.tgz", tmp_path / "model")["sha256"] == DIGEST


def test_neither_an_archive_nor_a_model_is_held_in_memory(store: Site, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 32
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model.onnx", content)
    (tmp_path / "m.zip").write_bytes(packed.getvalue())
    del packed

    def from_disk(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str((tmp_path / "m.zip").stat().st_size))
        handler.end_headers()
        with (tmp_path / "m.zip").open("rb") as file:
            while chunk := file.read(1 << 16):
                try:
                    handler.wfile.write(chunk)
                except OSError:
                    return

    store.routes["/models/m.zip"] = from_disk
    tracemalloc.start()
    try:
        get("s3://models/m.zip", tmp_path / "model", max_bytes=1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "model" / "model.onnx").read_bytes() == content


def test_a_secret_starts_no_program(store: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = touch {tmp_path}/started\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "config"))
    refused("s3://models/m.onnx", tmp_path / "model")
    assert not (tmp_path / "started").exists()
    assert {value for _, value in store.seen} == {None}


# ---- proxies, of every client ----------------------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("no_proxy")
    with serving() as site:
        site.default = sends(b"", 404)
        monkeypatch.setenv("http_proxy", site.url(""))
        yield site


@pytest.mark.filterwarnings("ignore::ImportWarning")
@pytest.mark.parametrize(
    ("uri", "variable"),
    [
        ("s3://models/m.onnx", "AWS_ENDPOINT_URL"),
        ("gs://models/m.onnx", "STORAGE_EMULATOR_HOST"),
        ("az://account/models/m.onnx", "AZURE_STORAGE_ENDPOINT"),
        ("hf://org/name/m.onnx", "HF_ENDPOINT"),
    ],
)
def test_a_proxy_asks_hosts_of_the_list_alone(
    proxy: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, variable: str
) -> None:
    """The proxy resolves the name, so the guard under the client never sees it: each client is asked to show it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    policy = SourcePolicy(hosts=("127.0.0.1", "good.example.com"), networks=HERE.networks)
    for host in ("evil.example.com", "169.254.169.254", "0xa9fea9fe"):
        monkeypatch.setenv(variable, f"http://{host}")
        rejected(uri, tmp_path / "model", policy=policy)
    assert proxy.seen == []
    monkeypatch.setenv(variable, "http://good.example.com")
    assert refused(uri, tmp_path / "model", policy=policy).failure.reason == "SourceNotFound"
    assert proxy.seen[0][0].startswith("http://good.example.com/")


def web_identity(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, *, used: str) -> list[str]:
    """The environment that a webhook makes, and a token service that answers. Returns the tokens that it was given."""
    (folder / "token").write_text("the-token")
    monkeypatch.setenv("AWS_ENDPOINT_URL", site.url(""))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/reader")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))
    monkeypatch.setenv("ONNXMODEL_IDENTITY", used)
    given: list[str] = []

    def assume(handler: Handler) -> None:
        asked = parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
        given.extend(asked["WebIdentityToken"])
        assert asked["Action"] == ["AssumeRoleWithWebIdentity"]
        sends(ASSUMED, content_type="text/xml")(handler)

    site.routes["/"] = assume
    return given


ASSUMED = b"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


def test_the_role_of_the_pods_account_is_used_if_the_operator_says_so(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = web_identity(site, tmp_path, monkeypatch, used="used")
    site.routes["/models/m.onnx"] = ranged(BODY)
    assert get("s3://models/m.onnx", tmp_path / "model")["sha256"] == DIGEST
    assert given == ["the-token"]
    asked = [headers for (path, _), headers in zip(site.seen, site.headers, strict=True) if path == "/models/m.onnx"]
    assert all("Credential=ROLEKEY/" in headers["authorization"] for headers in asked)
    assert {headers["x-amz-security-token"] for headers in asked} == {"session"}


def test_the_role_of_a_namespaces_default_account_is_not_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = web_identity(site, tmp_path, monkeypatch, used="")
    site.routes["/models/m.onnx"] = ranged(BODY)
    assert get("s3://models/m.onnx", tmp_path / "model")["sha256"] == DIGEST
    assert given == []
    assert {who for _, who in site.seen} == {None}


def test_a_role_that_the_token_service_refuses(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web_identity(site, tmp_path, monkeypatch, used="used")
    error = b"<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>"
    site.routes["/"] = sends(error, 400, content_type="text/xml")
    assert refused("s3://models/m.onnx", tmp_path / "model").failure.reason == "SourceForbidden"


def test_the_token_service_is_a_host_like_any_other(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = web_identity(site, tmp_path, monkeypatch, used="used")
    with serving(address="127.0.0.2") as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", site.url(""))
        monkeypatch.setenv("AWS_ENDPOINT_URL", service.url("", "127.0.0.2"))
        policy = SourcePolicy(networks=("127.0.0.1/32",))
        rejected("s3://models/m.onnx", tmp_path / "model", "127.0.0.2", policy=policy)
        assert service.seen == []
    assert given == []
