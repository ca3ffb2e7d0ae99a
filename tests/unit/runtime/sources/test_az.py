"""az:// with Azure's own client against a store that is as small as it can be, and checks each signature."""

import base64
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.unit.runtime.source_support import (
    BODY,
    DIGEST,
    Handler,
    Route,
    Site,
    get,
    in_turn,
    packed_zip,
    ranged,
    redirects,
    refused,
    rejected,
    sends,
    serving,
)

pytestmark = pytest.mark.usefixtures("plain_environment")
KEY = base64.b64encode(b"an account's key").decode()
BLOB = "/account/models/m.onnx"


@pytest.fixture
def store(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", site.url("/account"))
    return site


def blob(content: bytes = BODY, *, etag: str = '"0x1"', breaks_after: list[int] | None = None) -> Route:
    """A blob, as the service answers: HEAD for its properties, GET with a range."""
    breaks = list(breaks_after or ())

    def answer(handler: Handler) -> None:
        if handler.headers.get("If-Match", etag) != etag:
            sends(b"", 412, x_ms_error_code="ConditionNotMet")(handler)
            return
        asked = handler.headers.get("x-ms-range") or handler.headers.get("Range") or f"bytes=0-{len(content)}"
        first, last = (int(number or len(content)) for number in asked.removeprefix("bytes=").split("-"))
        last = min(last, len(content) - 1)
        head = handler.command == "HEAD"
        part = content if head else content[first : last + 1]
        handler.send_response(200 if head else 206)
        handler.send_header("Content-Length", str(len(part)))
        handler.send_header("ETag", etag)
        handler.send_header("x-ms-blob-type", "BlockBlob")
        handler.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        if not head:
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        handler.end_headers()
        if not head:
            handler.wfile.write(part[: breaks.pop(0)] if breaks else part)

    return answer


def signed(handler: Handler, account: str = "account") -> bool:
    """The service's own computation, of what it gets."""
    parts = urlsplit(handler.path)
    names = ["Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date"]
    names += ["If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"]
    values = [handler.headers.get(name, "") for name in names]
    extra = sorted((n.lower(), v.strip()) for n, v in handler.headers.items() if n.lower().startswith("x-ms-"))
    query = sorted(pair.split("=", 1) for pair in parts.query.split("&") if pair)
    text = "\n".join([handler.command, *values, *(f"{name}:{value}" for name, value in extra)])
    text += f"\n/{account}{parts.path}" + "".join(f"\n{name.lower()}:{unquote(value)}" for name, value in query)
    digest = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    return handler.headers.get("Authorization") == f"SharedKey {account}:{digest}"


def listing(*blobs: tuple[str, int, str], marker: str = "") -> Route:
    items = "".join(
        f"<Blob><Name>{name}</Name><Properties><Content-Length>{size}</Content-Length><Etag>0x1</Etag>"
        f"<BlobType>BlockBlob</BlobType></Properties><Metadata>{metadata}</Metadata></Blob>"
        for name, size, metadata in blobs
    )
    text = f'<?xml version="1.0"?><EnumerationResults ContainerName="models"><Blobs>{items}</Blobs>'
    return sends(
        f"{text}<NextMarker>{marker}</NextMarker></EnumerationResults>".encode(), Content_Type="application/xml"
    )


def test_a_blob_with_a_key(store: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY + "\n")
    seen: list[bool] = []

    def checked(handler: Handler) -> None:
        seen.append(signed(handler))
        blob()(handler)

    store.routes[BLOB] = checked
    record = get("az://account/models/m.onnx", tmp_path / "model", sha256=DIGEST)
    assert record["resolved"] == "az://account/models/m.onnx"
    assert seen == [True, True]


def test_a_shared_access_signature(store: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=2024-01-01&sig=secret%3D")
    store.routes[BLOB] = blob()
    get("az://account/models/m.onnx", tmp_path / "model")
    assert all("sig=secret" in path and value is None for path, value in store.seen)
    assert "secret" not in (tmp_path / "model" / "source.json").read_text()


def test_a_connection_string(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"AccountName=account;AccountKey={KEY};BlobEndpoint={site.url('/account')}"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    site.routes[BLOB] = blob()
    get("az://account/models/m.onnx", tmp_path / "model")
    assert site.seen[0][1].startswith("SharedKey account:")  # type: ignore[union-attr]
    error = refused("az://another/models/m.onnx", tmp_path / "other")
    assert (error.failure.reason, error.failure.field) == ("SourceInvalid", "spec.source.secretRef")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "nonsense")
    assert refused("az://account/models/m.onnx", tmp_path / "other").failure.reason == "SourceInvalid"


def test_nobody(store: Site, tmp_path: Path) -> None:
    store.routes[BLOB] = blob()
    get("az://account/models/m.onnx", tmp_path / "model")
    assert {value for _, value in store.seen} == {None}


def test_a_prefix_page_by_page(store: Site, tmp_path: Path) -> None:
    folder = "<hdi_isfolder>true</hdi_isfolder>"
    store.routes |= {
        "/account/models": in_turn(
            listing(("f/model.onnx", len(BODY), ""), ("f/data", 0, folder), marker="next"),
            listing(("f/data/w.bin", 3, "")),
        ),
        "/account/models/f/model.onnx": blob(etag="0x1"),
        "/account/models/f/data/w.bin": blob(b"www", etag="0x1"),
    }
    record = get("az://account/models/f/", tmp_path / "model")
    assert sorted(record["files"]) == ["data/w.bin", "model.onnx"]


def test_an_archive_and_an_empty_file(store: Site, tmp_path: Path) -> None:
    store.routes["/account/models/m.zip"] = blob(packed_zip({"model.onnx": BODY, "empty": b""}))
    assert get("az://account/models/m.zip", tmp_path / "model")["sha256"] == DIGEST


def test_it_goes_on_where_it_broke_off(store: Site, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # more than one part
    store.routes[BLOB] = blob(content, breaks_after=[4 << 20, 1000])
    record = get("az://account/models/m.onnx", tmp_path / "model", max_bytes=1 << 30)
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    ranges = [headers["x-ms-range"] for headers in store.headers if "x-ms-range" in headers]
    assert not any(asked.startswith("bytes=0-") for asked in ranges[1:])


def test_a_blob_that_changes_meanwhile(store: Site, tmp_path: Path) -> None:
    store.routes[BLOB] = in_turn(blob(), blob(bytes(len(BODY)), etag='"0x2"'))
    rejected("az://account/models/m.onnx", tmp_path / "model", "replaced")


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [
        (404, "SourceNotFound", False),
        (403, "SourceForbidden", False),
        (401, "SourceForbidden", False),
        (503, "SourceUnreachable", True),
        (400, "SourceRejected", False),
    ],
)
def test_status_decides(store: Site, tmp_path: Path, status: int, reason: str, retry: bool) -> None:
    store.routes[BLOB] = sends(b"", status)
    error = refused("az://account/models/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == (reason, retry)


def test_an_empty_prefix(store: Site, tmp_path: Path) -> None:
    store.routes["/account/models"] = listing()
    assert refused("az://account/models/none/", tmp_path / "model").failure.reason == "SourceNotFound"


@pytest.mark.parametrize(
    "uri", ["az://account", "az://account/models", "az://a.evil/models/m", "az://u:p@account/models/m"]
)
def test_uris_that_name_nothing(tmp_path: Path, uri: str) -> None:
    assert refused(uri, tmp_path / "model").failure.reason == "SourceInvalid"


def test_credentials_are_for_one_account(store: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=secret")
    store.routes |= {BLOB: blob(), "/account/golden/g.npz": blob(b"golden")}
    get("az://account/models/m.onnx", tmp_path / "model", golden="az://another/golden/g.npz")
    assert ["secret" in path for path, _ in store.seen if "golden" in path] == [False] * 3


@pytest.fixture
def other() -> Iterator[Site]:
    with serving() as site:
        yield site


def test_a_redirect_takes_no_signature_along(
    store: Site, other: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    store.routes[BLOB] = redirects(other.url("/blob"), 307)
    other.routes["/blob"] = ranged(BODY)
    rejected("az://account/models/m.onnx", tmp_path / "model", "redirects")
    assert other.seen == []


def test_a_signature_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=secret")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/account")
    error = refused("az://account/models/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("SourceUnreachable", True)
    assert "secret" not in f"{error.failure.message}{capfd.readouterr().err}"
