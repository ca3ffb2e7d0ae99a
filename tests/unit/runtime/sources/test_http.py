"""http(s)://: going on where it broke off, private certificate authorities, and whom a credential goes to."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from onnxmodel_runtime.contract.fetch import SourcePolicy
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.records import accept
from tests.unit.runtime.source_support import (
    BODY,
    DIGEST,
    HERE,
    Site,
    get,
    in_turn,
    ranged,
    redirects,
    refused,
    rejected,
    sends,
    serving,
    tar,
)

pytestmark = pytest.mark.usefixtures("plain_environment")


def asked(site: Site) -> list[str | None]:
    return [headers.get("range") for headers in site.headers]


# ---- resuming --------------------------------------------------------------------------------------------------------


def test_it_goes_on_where_it_broke_off(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    site.routes["/m.onnx"] = ranged(BODY, breaks_after=[1000, 500])
    assert get(site.url("/m.onnx"), tmp_path / "model")["sha256"] == DIGEST
    assert asked(site) == [None, "bytes=1000-", "bytes=1500-"]
    assert [headers.get("if-range") for headers in site.headers] == [None, '"1"', '"1"']
    assert "resuming after" in capfd.readouterr().err


def test_a_file_that_changed_meanwhile_comes_from_its_beginning(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = in_turn(ranged(bytes(5000), breaks_after=[1000]), ranged(BODY, etag='"2"'))
    assert get(site.url("/m.onnx"), tmp_path / "model")["sha256"] == DIGEST


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_a_server_that_does_not_say_which_file_it_is(site: Site, tmp_path: Path, etag: str) -> None:
    tags = {"ETag": etag} if etag else {}
    site.routes["/m.onnx"] = in_turn(sends(BODY[:100], length=len(BODY), **tags), sends(**tags))
    assert get(site.url("/m.onnx"), tmp_path / "model")["sha256"] == DIGEST
    assert asked(site) == [None, None]


def test_a_server_without_ranges(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = in_turn(sends(BODY[:100], length=len(BODY), ETag='"1"'), sends(ETag='"1"'))
    assert get(site.url("/m.onnx"), tmp_path / "model")["sha256"] == DIGEST
    assert asked(site) == [None, "bytes=100-"]


@pytest.mark.parametrize(
    "wrong",
    [
        sends(b"", 416),
        sends(BODY[7:], 206, Content_Range=f"bytes 7-{len(BODY) - 1}/{len(BODY)}"),
        sends(BODY[100:], 206),
        sends(BODY[100:], 206, Content_Range="nonsense"),
    ],
)
def test_a_part_that_does_not_fit(site: Site, tmp_path: Path, wrong: object) -> None:
    first = sends(BODY[:100], length=len(BODY), ETag='"1"')
    site.routes["/m.onnx"] = in_turn(first, wrong, sends())  # type: ignore[arg-type]
    assert get(site.url("/m.onnx"), tmp_path / "model")["sha256"] == DIGEST
    assert asked(site) == [None, "bytes=100-", None]


def test_a_part_of_a_longer_file_is_bounded_too(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = ranged(bytes(1 << 20), breaks_after=[1000])
    assert refused(site.url("/m.onnx"), tmp_path / "model", max_bytes=5000).failure.reason == "SourceTooLarge"


def test_the_announced_size_is_enough_to_refuse(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends(b"x", length=1 << 30)
    assert refused(site.url("/m.onnx"), tmp_path / "model").failure.reason == "SourceTooLarge"
    assert len(site.seen) == 1


def test_a_long_download_says_how_far_it_is(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxmodel_runtime.sources.download._PROGRESS_SECONDS", 0)
    site.routes["/m.onnx"] = sends()
    get(site.url("/m.onnx"), tmp_path / "model")
    assert "100 %" in capfd.readouterr().err


# ---- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with serving(context) as site:
        yield site


def test_a_private_certificate_authority(
    secure: Site, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.routes["/m.onnx"] = sends()
    error = refused(secure.url("/m.onnx"), tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("SourceUntrusted", False)
    assert "CA_CERTIFICATES" in error.failure.hint
    monkeypatch.setenv("CA_CERTIFICATES", authority.cert_pem.bytes().decode())
    assert get(secure.url("/m.onnx"), tmp_path / "model")["sha256"] == DIGEST


def test_certificates_that_are_none(secure: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CA_CERTIFICATES", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----")
    error = refused(secure.url("/m.onnx"), tmp_path / "model")
    assert (error.failure.reason, error.failure.field) == ("SourceInvalid", "spec.source.secretRef")
    monkeypatch.setenv("CA_CERTIFICATES", "Zertifikät")
    assert refused(secure.url("/m.onnx"), tmp_path / "model").failure.reason == "SourceInvalid"


def test_a_redirect_never_leaves_https(
    secure: Site, site: Site, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CA_CERTIFICATES", authority.cert_pem.bytes().decode())
    monkeypatch.setenv("HTTP_AUTHORIZATION", "Bearer secret")
    secure.routes["/m.onnx"] = redirects(site.url("/m.onnx"))
    rejected(secure.url("/m.onnx"), tmp_path / "model", "https")
    assert site.seen == []


def test_another_scheme_is_another_origin(
    secure: Site, site: Site, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CA_CERTIFICATES", authority.cert_pem.bytes().decode())
    monkeypatch.setenv("HTTP_AUTHORIZATION", "Bearer secret")
    site.routes["/m.onnx"] = redirects(secure.url("/m.onnx"))
    secure.routes["/m.onnx"] = sends()
    get(site.url("/m.onnx"), tmp_path / "model")
    assert (site.seen[0][1], secure.seen[0][1]) == ("Bearer secret", None)


# ---- what else is fetched --------------------------------------------------------------------------------------------


def test_signature_and_golden_data_lie_beside_the_model(site: Site, tmp_path: Path) -> None:
    site.routes |= {"/m.onnx": sends(), "/m.sig": sends(b"signed"), "/g.npz": sends(b"golden")}
    uris = {"signature": site.url("/m.sig"), "golden": site.url("/g.npz")}
    record = get(site.url("/m.onnx"), tmp_path / "model", **uris)
    assert sorted(record["files"]) == [".golden.npz", ".signature", "model.onnx"]
    assert (record["signature_uri"], record["golden_uri"]) == (uris["signature"], uris["golden"])
    assert (tmp_path / "model" / ".signature").read_bytes() == b"signed"
    assert (tmp_path / "model" / ".golden.npz").read_bytes() == b"golden"


def test_golden_data_of_a_folder_and_of_an_archive(site: Site, tmp_path: Path) -> None:

    data = {"test_data_set_0/input_0.pb": b"i", "test_data_set_0/output_0.pb": b"o"}
    for name, content in data.items():
        (tmp_path / "golden" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "golden" / name).write_bytes(content)
    site.routes |= {"/m.onnx": sends(), "/g.tar.gz": sends(tar(data))}
    for number, golden in enumerate((f"{tmp_path}/golden/", site.url("/g.tar.gz"))):
        record = get(site.url("/m.onnx"), tmp_path / f"model{number}", golden=golden, local=True)
        assert sorted(record["files"]) == [*(f".golden/{name}" for name in sorted(data)), "model.onnx"]
        assert (tmp_path / f"model{number}" / ".golden" / "test_data_set_0" / "input_0.pb").read_bytes() == b"i"


def test_all_of_it_counts(site: Site, tmp_path: Path) -> None:
    site.routes |= {"/m.onnx": sends(), "/m.sig": sends(b"s" * 100)}
    options = {"signature": site.url("/m.sig"), "max_bytes": len(BODY) + 99}
    error = refused(site.url("/m.onnx"), tmp_path / "model", **options)
    assert (error.failure.reason, error.failure.field) == ("SourceTooLarge", "spec.source.signature.uri")


def test_what_is_missing_is_named_by_its_field(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    error = refused(site.url("/m.onnx"), tmp_path / "model", golden=site.url("/none.npz"))
    assert (error.failure.reason, error.failure.field) == ("SourceNotFound", "spec.validation.golden.uri")


def test_other_golden_data_are_another_fetch(site: Site, tmp_path: Path) -> None:
    site.routes |= {"/m.onnx": sends(), "/g.npz": sends(b"golden")}
    get(site.url("/m.onnx"), tmp_path / "model", golden=site.url("/g.npz"))
    accept(tmp_path / "model")
    get(site.url("/m.onnx"), tmp_path / "model", golden=site.url("/g.npz"))
    assert len(site.seen) == 2
    with pytest.raises(StageError, match="DestinationInUse"):
        get(site.url("/m.onnx"), tmp_path / "model")


def test_the_credential_is_the_models(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_AUTHORIZATION", "Bearer secret")
    with serving() as other:
        site.routes |= {"/m.onnx": sends(), "/m.sig": sends(b"s")}
        other.routes["/g.npz"] = sends(b"golden")
        get(site.url("/m.onnx"), tmp_path / "model", signature=site.url("/m.sig"), golden=other.url("/g.npz"))
        assert [value for _, value in site.seen] == ["Bearer secret"] * 2
        assert other.seen == [("/g.npz", None)]


def test_the_policy_holds_for_them_too(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    policy = SourcePolicy(schemes=("http",), networks=HERE.networks)
    error = rejected(site.url("/m.onnx"), tmp_path / "model", "s3", golden="s3://bucket/g.npz", policy=policy)
    assert error.failure.field == "spec.validation.golden.uri"
    rejected(site.url("/m.onnx"), tmp_path / "model", "metadata", signature="http://169.254.169.254/x", policy=policy)


# ---- what is written down --------------------------------------------------------------------------------------------


def test_a_signed_uri_is_not_repeated(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    site.routes |= {"/m.onnx": sends(), "/n.onnx": sends(b"", 403)}
    query = "?version=3&X-Amz-Signature=topsecret&sig=topsecret"
    record = get(site.url("/m.onnx" + query), tmp_path / "model")
    assert record["resolved"] == site.url("/m.onnx?version=3")
    error = refused(site.url("/n.onnx" + query), tmp_path / "other")
    assert "topsecret" not in f"{error.failure}{capfd.readouterr().err}"


@pytest.mark.parametrize("location", ["http://[bad", "http://127.0.0.1:99999/m.onnx"])
def test_a_redirect_to_what_is_no_url(site: Site, tmp_path: Path, location: str) -> None:
    site.routes["/m.onnx"] = redirects(location)
    assert refused(site.url("/m.onnx"), tmp_path / "model").failure.reason in ("SourceRejected", "SourceInvalid")


def test_credentials_are_for_the_models_own_kind_of_source(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is on a volume; its signature is elsewhere, where whoever wrote the URI may listen."""
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim" / "m.onnx").write_bytes(BODY)
    monkeypatch.setenv("ONNXMODEL_CLAIM_MOUNT", str(tmp_path / "claim"))
    monkeypatch.setenv("HTTP_AUTHORIZATION", "Bearer secret")
    site.routes["/m.sig"] = sends(b"{}")
    get("pvc://claim/m.onnx", tmp_path / "model", signature=site.url("/m.sig"))
    assert site.seen == [("/m.sig", None)]
