"""fetch against real HTTP servers on loopback, a mounted claim, and an S3 endpoint that is as small as it can be."""

import hashlib
import http.server
import json
import os
import socket
from pathlib import Path

import pytest

from dev.ports import reserved
from onnxmodel_runtime.contract.volume import SOURCE_FILE
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.records import accept
from onnxmodel_runtime.sources.http import HttpSource
from tests.unit.runtime.source_support import BODY, DIGEST, Site, get, redirects, refused, sends, serving

pytestmark = pytest.mark.usefixtures("plain_environment")


# ---- HTTP ------------------------------------------------------------------------------------------------------------


def test_http_file_is_streamed_hashed_and_recorded(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    record = get(site.url("/m.onnx"), tmp_path / "model", sha256=DIGEST.upper())
    assert (tmp_path / "model" / "model.onnx").read_bytes() == BODY
    assert record == json.loads((tmp_path / "model" / SOURCE_FILE).read_text())
    assert record == {
        "uri": site.url("/m.onnx"),
        "resolved": site.url("/m.onnx"),
        "sha256": DIGEST,
        "files": {"model.onnx": {"sha256": DIGEST, "bytes": len(BODY)}},
    }


@pytest.mark.parametrize(
    ("kind", "reason", "field"),
    [
        ("signature", "SignatureMissing", "spec.source.signature.uri"),
        ("golden", "SourceNotFound", "spec.validation.golden.uri"),
    ],
)
def test_what_comes_with_a_model_and_is_not_there(
    site: Site, tmp_path: Path, kind: str, reason: str, field: str
) -> None:
    site.routes["/m.onnx"] = sends()
    error = refused(site.url("/m.onnx"), tmp_path / "model", **{kind: site.url("/none")})
    assert (error.failure.reason, error.failure.field) == (reason, field)


def test_data_to_calibrate_with_are_a_fetch_of_their_own(site: Site, tmp_path: Path) -> None:
    site.routes["/c.npz"] = sends()
    folder = tmp_path / "calibration"
    record = get(site.url("/c.npz"), folder, kind="calibration")
    assert (folder / ".calibration.npz").read_bytes() == BODY
    assert record["files"] == {".calibration.npz": {"sha256": DIGEST, "bytes": len(BODY)}}
    site.routes["/c.npz"] = sends(b"others")  # variants may be made with what is there just now: it stays
    assert get(site.url("/c.npz"), folder, kind="calibration") == record
    assert (folder / ".calibration.npz").read_bytes() == BODY
    error = refused(site.url("/none"), tmp_path / "none", kind="calibration")
    assert (error.failure.reason, error.failure.field) == ("SourceNotFound", "spec.optimization.calibration.uri")


def test_a_folder_to_calibrate_with(claim: Path, tmp_path: Path) -> None:
    get("pvc://models/models/data/", tmp_path / "calibration", kind="calibration")
    assert (tmp_path / "calibration" / ".calibration" / "weights.bin").is_file()


def test_what_was_refused_is_fetched_again(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends(b"<html>")
    get(site.url("/m.onnx"), tmp_path / "model")
    (tmp_path / "model.validate.json").write_text('{"result": null, "failure": {"reason": "NotOnnx"}}')
    site.routes["/m.onnx"] = sends()
    get(site.url("/m.onnx"), tmp_path / "model")
    assert (tmp_path / "model" / "model.onnx").read_bytes() == BODY


def test_what_no_validation_accepted_is_fetched_again_even_when_damaged(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    get(site.url("/m.onnx"), tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(b"half")
    get(site.url("/m.onnx"), tmp_path / "model")
    assert (tmp_path / "model" / "model.onnx").read_bytes() == BODY


def test_what_was_found_good_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    first = get(site.url("/m.onnx"), tmp_path / "model")
    accept(tmp_path / "model")
    # Another validation, with other rules, refused it.
    (tmp_path / "model.validate.json").write_text('{"result": null, "failure": {"reason": "OpsetTooLow"}}')
    assert get(site.url("/m.onnx"), tmp_path / "model", sha256=DIGEST) == first
    assert len(site.seen) == 1


def test_what_was_found_good_and_changed_is_refused_and_left(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    get(site.url("/m.onnx"), tmp_path / "model")
    accept(tmp_path / "model")
    evil = bytes(len(BODY))
    path = tmp_path / "model" / "model.onnx"
    path.write_bytes(evil)
    with pytest.raises(StageError, match="DigestMismatch") as caught:
        get(site.url("/m.onnx"), tmp_path / "model", sha256=DIGEST)
    assert not caught.value.retry
    for text in (DIGEST, hashlib.sha256(evil).hexdigest()):
        assert text in caught.value.failure.message
    assert "delete them (in a cluster, the PersistentVolumeClaim" in caught.value.failure.hint
    assert (path.read_bytes(), len(site.seen)) == (evil, 1)


def test_a_planted_record_does_not_vouch_for_its_file(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    record = get(site.url("/m.onnx"), tmp_path / "model")
    accept(tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(b"evil")
    record["files"] = {"model.onnx": {"sha256": hashlib.sha256(b"evil").hexdigest(), "bytes": 4}}
    (tmp_path / "model" / SOURCE_FILE).write_text(json.dumps(record))
    with pytest.raises(StageError, match="DigestMismatch"):
        get(site.url("/m.onnx"), tmp_path / "model", sha256=DIGEST)


def test_another_model_is_never_overwritten(site: Site, tmp_path: Path) -> None:
    site.routes |= {"/a.onnx": sends(), "/b.onnx": sends(b"other")}
    get(site.url("/a.onnx"), tmp_path / "model")
    with pytest.raises(StageError, match="DestinationInUse"):
        get(site.url("/b.onnx"), tmp_path / "model")
    assert (tmp_path / "model" / "model.onnx").read_bytes() == BODY
    assert not list(tmp_path.glob("*.tmp-*"))


def test_a_leftover_of_a_killed_fetch_is_removed(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    own = tmp_path / f"model.tmp-{socket.gethostname()}-{os.getpid()}"
    old = tmp_path / "model.tmp-otherpod-1"
    fresh = tmp_path / "model.tmp-thirdpod-1"
    for leftover in (own, old, fresh):
        leftover.mkdir()
        (leftover / "model.onnx").write_bytes(b"half")
    for path in (old, old / "model.onnx"):
        os.utime(path, (1, 1))
    get(site.url("/m.onnx"), tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", fresh.name]


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [
        (404, "SourceNotFound", False),
        (410, "SourceNotFound", False),
        (401, "SourceForbidden", False),
        (403, "SourceForbidden", False),
        (400, "SourceRejected", False),
        (500, "SourceUnreachable", True),
        (503, "SourceUnreachable", True),
        (429, "SourceUnreachable", True),
    ],
)
def test_http_status_decides(site: Site, tmp_path: Path, status: int, reason: str, retry: bool) -> None:
    site.routes["/m.onnx"] = sends(b"no", status)
    error = refused(site.url("/m.onnx"), tmp_path / "model")
    assert (error.failure.reason, error.retry) == (reason, retry)
    assert str(status) in error.failure.message
    assert len(site.seen) == (4 if retry else 1)


def test_a_hiccup_is_survived(site: Site, tmp_path: Path) -> None:
    answers = iter([sends(b"", 503), sends(BODY, length=len(BODY) + 10), sends()])
    site.routes["/m.onnx"] = lambda handler: next(answers)(handler)
    assert get(site.url("/m.onnx"), tmp_path / "model")["sha256"] == DIGEST


def test_a_body_that_is_cut_short_is_no_model(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends(BODY, length=len(BODY) + 10)
    error = refused(site.url("/m.onnx"), tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("SourceUnreachable", True)


def test_nobody_listens(tmp_path: Path) -> None:
    with reserved(1) as ports:
        error = refused(f"http://127.0.0.1:{ports[0]}/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("SourceUnreachable", True)


def test_a_host_without_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = refused("http://models.example/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("SourceUnreachable", True)
    assert "models.example" in error.failure.message


def test_the_wrong_digest_names_both(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = sends()
    error = refused(site.url("/m.onnx"), tmp_path / "model", sha256="0" * 64)
    assert (error.failure.reason, error.retry, error.failure.field) == ("DigestMismatch", False, "spec.source.sha256")
    assert DIGEST in error.failure.message
    assert "0" * 64 in error.failure.message


def test_the_bound_holds_while_streaming(site: Site, tmp_path: Path) -> None:
    def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)  # no length: the end of the connection is the end of the file
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"\0" * 65536)
        except OSError:
            pass

    site.routes["/m.onnx"] = endless
    error = refused(site.url("/m.onnx"), tmp_path / "model", max_bytes=1 << 20)
    assert (error.failure.reason, error.retry) == ("SourceTooLarge", False)
    assert "1.0 MiB" in error.failure.message


def test_the_credential_stays_with_its_host(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_AUTHORIZATION", "Bearer secret")
    with serving() as other:
        other.routes["/m.onnx"] = redirects(site.url("/back"))
        site.routes |= {
            "/start": redirects("/same"),
            "/same": redirects(other.url("/m.onnx")),
            "/back": sends(),
        }
        get(site.url("/start"), tmp_path / "model")
    assert site.seen == [("/start", "Bearer secret"), ("/same", "Bearer secret"), ("/back", "Bearer secret")]
    assert other.seen == [("/m.onnx", None)]


def test_another_port_is_another_host(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_AUTHORIZATION", "Bearer secret")
    site.routes |= {"/m.onnx": redirects(site.url("/n.onnx", host="localhost")), "/n.onnx": sends()}
    get(site.url("/m.onnx"), tmp_path / "model")
    assert site.seen == [("/m.onnx", "Bearer secret"), ("/n.onnx", None)]


def test_redirects_end(site: Site, tmp_path: Path) -> None:
    site.routes["/m.onnx"] = redirects("/m.onnx")
    assert refused(site.url("/m.onnx"), tmp_path / "model").failure.reason == "SourceRejected"
    assert len(site.seen) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/m.onnx", "http://169.254.169.254/latest"])
def test_redirects_stay_on_the_web(site: Site, tmp_path: Path, target: str) -> None:
    site.routes["/m.onnx"] = redirects(target)
    error = refused(site.url("/m.onnx"), tmp_path / "model")
    assert error.failure.reason in ("SourceInvalid", "SourceRejected")
    assert not error.retry


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "100.100.100.200", "[fd00:ec2::254]"])
def test_metadata_services_are_no_source(tmp_path: Path, host: str) -> None:
    assert refused(f"http://{host}/latest/meta-data", tmp_path / "model").failure.reason == "SourceRejected"


def test_a_folder_cannot_be_listed_over_http(tmp_path: Path) -> None:
    assert "folder" in refused("https://models.example/m/", tmp_path / "model").failure.message


def test_credentials_in_the_uri_are_refused_and_not_repeated_in_requests(tmp_path: Path) -> None:
    assert refused("https://me:pass@models.example/m.onnx", tmp_path / "model").failure.reason == "SourceInvalid"


def test_a_source_knows_its_size_only_when_it_comes() -> None:
    assert [(remote.path, remote.length) for remote in HttpSource("https://models.example/m").list()] == [
        ("model.onnx", -1)
    ]


# ---- claims and local files ------------------------------------------------------------------------------------------


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mount = tmp_path / "source"
    (mount / "models" / "data").mkdir(parents=True)
    (mount / "models" / "model.onnx").write_bytes(BODY)
    (mount / "models" / "data" / "weights.bin").write_bytes(b"weights")
    monkeypatch.setenv("ONNXMODEL_CLAIM_MOUNT", str(mount))
    return mount


def test_a_file_of_a_claim(claim: Path, tmp_path: Path) -> None:
    get("pvc://models/models/model.onnx", tmp_path / "model", sha256=DIGEST)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.onnx", SOURCE_FILE]


def test_a_folder_of_a_claim(claim: Path, tmp_path: Path) -> None:
    record = get("pvc://models/models/", tmp_path / "model")
    assert record["sha256"] == DIGEST
    assert (tmp_path / "model" / "data" / "weights.bin").read_bytes() == b"weights"


def test_links_within_a_claim_become_files(claim: Path, tmp_path: Path) -> None:
    (claim / "latest.onnx").symlink_to("models/model.onnx")
    get("pvc://models/latest.onnx", tmp_path / "model")
    assert not (tmp_path / "model" / "model.onnx").is_symlink()


@pytest.mark.parametrize("path", ["../x", "models/../../x", "%2e%2e/x", ""])
def test_a_path_never_climbs_out_of_a_claim(claim: Path, tmp_path: Path, path: str) -> None:
    assert refused(f"pvc://models/{path}", tmp_path / "model").failure.reason == "SourceInvalid"


def test_a_link_never_leaves_a_claim(claim: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (claim / "models" / "link").symlink_to(tmp_path / "secret")
    for uri in ("pvc://models/models/link", "pvc://models/models/"):
        error = refused(uri, tmp_path / "model")
        assert error.failure.reason == "SourceInvalid"
        assert "points outside of the model's folder or volume" in error.failure.message


def test_only_regular_files(claim: Path, tmp_path: Path) -> None:
    os.mkfifo(claim / "models" / "pipe")
    assert "regular file" in refused("pvc://models/models/pipe", tmp_path / "model").failure.message


def test_a_folder_needs_a_model(claim: Path, tmp_path: Path) -> None:
    error = refused("pvc://models/models/data/", tmp_path / "model")
    assert error.failure.reason == "SourceNotFound"
    assert "weights.bin" in error.failure.message


def test_missing_in_a_claim(claim: Path, tmp_path: Path) -> None:
    assert refused("pvc://models/none.onnx", tmp_path / "model").failure.reason == "SourceNotFound"


def test_the_sum_of_a_folder_is_bounded(claim: Path, tmp_path: Path) -> None:
    error = refused("pvc://models/models/", tmp_path / "model", max_bytes=len(BODY) + 1)
    assert error.failure.reason == "SourceTooLarge"


def test_local_files_are_for_people(claim: Path, tmp_path: Path) -> None:
    path = claim / "models" / "model.onnx"
    for uri in (str(path), path.as_uri()):
        assert refused(uri, tmp_path / "refused").failure.reason == "SourceUnsupported"
    get(str(path), tmp_path / "a", local=True)
    get(path.as_uri(), tmp_path / "b", local=True)
    get(str(claim / "models"), tmp_path / "c", local=True)
    assert (tmp_path / "c" / "data" / "weights.bin").is_file()


def test_a_full_volume_is_refused_before_it_is_filled(
    claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr("onnxmodel_runtime.stages.fetch.shutil.disk_usage", lambda _: Usage)
    error = refused("pvc://models/models/model.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("StorageFull", False)
    assert "100 B free" in error.failure.message


@pytest.mark.parametrize("uri", ["ftp://host/m", "", "http://[::1", "s3://bucket", "http:///m"])
def test_uris_that_name_nothing(tmp_path: Path, uri: str) -> None:
    assert refused(uri, tmp_path / "model").failure.reason in ("SourceUnsupported", "SourceInvalid")


# ---- S3 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AWS_ENDPOINT_URL", site.url(""))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return site


def test_an_object(s3: Site, tmp_path: Path) -> None:
    s3.routes["/models/a%3F/m.onnx"] = sends()  # path-style: the bucket is in the path
    get("s3://models/a?/m.onnx", tmp_path / "model", sha256=DIGEST)
    assert all("AWS4-HMAC-SHA256" in str(authorization) for _, authorization in s3.seen)


def test_a_prefix(s3: Site, tmp_path: Path) -> None:
    listing = "".join(
        f"<Contents><Key>{key}</Key><Size>{count}</Size></Contents>"
        for key, count in (("m/", 0), ("m/model.onnx", len(BODY)), ("m/data/w.bin", 2))
    )
    s3.routes |= {
        "/models": sends(f"<ListBucketResult><IsTruncated>false</IsTruncated>{listing}</ListBucketResult>".encode()),
        "/models/m/model.onnx": sends(),
        "/models/m/data/w.bin": sends(b"ww"),
    }
    record = get("s3://models/m/", tmp_path / "model")
    assert sorted(record["files"]) == ["data/w.bin", "model.onnx"]


def test_a_key_cannot_climb_out(s3: Site, tmp_path: Path) -> None:
    listing = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in ("m/model.onnx", "m/../../etc/passwd")
    )
    s3.routes["/models"] = sends(
        f"<ListBucketResult><IsTruncated>false</IsTruncated>{listing}</ListBucketResult>".encode()
    )
    assert refused("s3://models/m/", tmp_path / "model").failure.reason == "SourceInvalid"


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [(404, "SourceNotFound", False), (403, "SourceForbidden", False), (501, "SourceUnreachable", True)],
)
def test_s3_status_decides(s3: Site, tmp_path: Path, status: int, reason: str, retry: bool) -> None:
    s3.routes["/models/m.onnx"] = sends(b"", status)
    error = refused("s3://models/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == (reason, retry)


def test_s3_without_credentials_is_a_public_bucket(s3: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3.routes["/models/public.onnx"] = sends()
    assert get("s3://models/public.onnx", tmp_path / "public")["sha256"] == DIGEST
    assert {value for _, value in s3.seen} == {None}
    s3.default = sends(b"", 403)
    error = refused("s3://models/m.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("SourceForbidden", False)
    assert error.failure.field == "spec.source.secretRef"


def test_the_nodes_role_is_not_the_models(s3: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata service would hand out credentials of the node."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")  # not even when the author's Secret asks for it
    role = {"Code": "Success", "AccessKeyId": "NODE", "SecretAccessKey": "s", "Token": "t"}
    path = "/latest/meta-data/iam/security-credentials/"
    with serving() as node:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", node.url("/"))
        node.routes |= {
            path: sends(b"noderole"),
            f"{path}noderole": sends(json.dumps(role | {"Expiration": "2099-01-01T00:00:00Z"}).encode()),
        }
        error = refused("s3://models/m.onnx", tmp_path / "model")
    assert error.failure.reason == "SourceNotFound"
    assert node.seen == []
    assert {value for _, value in s3.seen} == {None}
