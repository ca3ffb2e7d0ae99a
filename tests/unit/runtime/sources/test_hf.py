"""hf:// against a Hub that is as small as it can be: revisions, folders, and a token that stays at home."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runtime.source_support import (
    BODY,
    DIGEST,
    Site,
    get,
    in_turn,
    ranged,
    redirects,
    refused,
    rejected,
    sends,
    serving,
)

pytestmark = pytest.mark.usefixtures("plain_environment")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def listed(*entries: tuple[str, int], **headers: str) -> object:
    files = [{"type": "file", "path": path, "size": size, "oid": "0" * 40} for path, size in entries]
    return sends(json.dumps([{"type": "directory", "path": "onnx", "size": 0}, *files]).encode(), **headers)


@pytest.fixture
def hub(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("HF_ENDPOINT", site.url(""))
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    for revision in ("main", "v1", "refs%2Fpr%2F1", COMMIT):
        site.routes[f"/api/models/org/name/revision/{revision}"] = sends(json.dumps({"sha": COMMIT}).encode())
    site.routes[f"/org/name/resolve/{COMMIT}/onnx/model.onnx"] = sends()
    return site


@pytest.fixture
def cdn() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.mark.parametrize(
    ("revision", "asked"), [("", "main"), ("@v1", "v1"), (f"@{COMMIT}", COMMIT), ("@refs%2Fpr%2F1", "refs%2Fpr%2F1")]
)
def test_a_revision_is_resolved_to_its_commit(hub: Site, tmp_path: Path, revision: str, asked: str) -> None:
    uri = f"hf://org/name{revision}/onnx/model.onnx"
    record = get(uri, tmp_path / "model", sha256=DIGEST)
    assert (record["uri"], record["resolved"]) == (uri, f"hf://org/name@{COMMIT}/onnx/model.onnx")
    assert hub.seen[0] == (f"/api/models/org/name/revision/{asked}", "Bearer hf_secret")


def test_a_folder_comes_page_by_page(hub: Site, tmp_path: Path) -> None:
    following = f'<{hub.url("/page2")}>; rel="next"'
    hub.routes |= {
        f"/api/models/org/name/tree/{COMMIT}/onnx": listed(("onnx/model.onnx", len(BODY)), Link=following),
        "/page2": listed(("onnx/w/weights.bin", 3)),
        f"/org/name/resolve/{COMMIT}/onnx/w/weights.bin": sends(b"www"),
    }
    record = get("hf://org/name/onnx/", tmp_path / "model")
    assert sorted(record["files"]) == ["model.onnx", "w/weights.bin"]
    assert record["resolved"] == f"hf://org/name@{COMMIT}/onnx/"


def test_a_whole_repository(hub: Site, tmp_path: Path) -> None:
    hub.routes |= {
        f"/api/models/org/name/tree/{COMMIT}": listed(("model.onnx", len(BODY))),
        f"/org/name/resolve/{COMMIT}/model.onnx": sends(),
    }
    assert get("hf://org/name/", tmp_path / "model")["sha256"] == DIGEST


def test_the_token_stays_with_the_hub(hub: Site, cdn: Site, tmp_path: Path) -> None:
    hub.routes[f"/org/name/resolve/{COMMIT}/onnx/model.onnx"] = redirects(cdn.url("/blob?X-Amz-Signature=s"))
    cdn.routes["/blob"] = ranged(BODY, breaks_after=[1000])
    assert get("hf://org/name/onnx/model.onnx", tmp_path / "model")["sha256"] == DIGEST
    assert {value for _, value in hub.seen} == {"Bearer hf_secret"}
    assert {value for _, value in cdn.seen} == {None}
    assert cdn.headers[1]["range"] == "bytes=1000-"


def test_the_next_page_of_another_host_gets_no_token(hub: Site, cdn: Site, tmp_path: Path) -> None:
    link = f'<{cdn.url("/page2")}>; rel="next"'
    hub.routes[f"/api/models/org/name/tree/{COMMIT}/onnx"] = listed(("onnx/model.onnx", 1), Link=link)  # type: ignore[assignment]
    cdn.routes["/page2"] = sends(b"[]")
    refused("hf://org/name/onnx/", tmp_path / "model")
    assert cdn.seen == [("/page2", None)]


def test_the_hub_vouches_for_large_files(hub: Site, cdn: Site, tmp_path: Path) -> None:
    def vouches(digest: str) -> object:
        def answer(handler: object) -> None:
            handler.send_response(302)  # type: ignore[attr-defined]
            handler.send_header("Location", cdn.url("/blob"))  # type: ignore[attr-defined]
            handler.send_header("X-Linked-ETag", f'"{digest}"')  # type: ignore[attr-defined]
            handler.send_header("Content-Length", "0")  # type: ignore[attr-defined]
            handler.end_headers()  # type: ignore[attr-defined]

        return answer

    cdn.routes["/blob"] = sends()
    path = f"/org/name/resolve/{COMMIT}/onnx/model.onnx"
    hub.routes[path] = vouches(DIGEST)  # type: ignore[assignment]
    get("hf://org/name/onnx/model.onnx", tmp_path / "model")
    hub.routes[path] = vouches(hashlib.sha256(b"other").hexdigest())  # type: ignore[assignment]
    error = refused("hf://org/name/onnx/model.onnx", tmp_path / "other")
    assert (error.failure.reason, error.retry, error.failure.field) == ("DigestMismatch", False, "spec.source.uri")


@pytest.mark.parametrize(
    ("status", "reason", "retry"),
    [(404, "SourceNotFound", False), (401, "SourceForbidden", False), (429, "SourceUnreachable", True)],
)
def test_status_decides(hub: Site, tmp_path: Path, status: int, reason: str, retry: bool) -> None:
    hub.routes["/api/models/org/name/revision/main"] = sends(b"", status)
    error = refused("hf://org/name/onnx/model.onnx", tmp_path / "model")
    assert (error.failure.reason, error.retry) == (reason, retry)
    assert "hf_secret" not in str(error)


def test_a_hiccup_is_survived(hub: Site, tmp_path: Path) -> None:
    path = f"/org/name/resolve/{COMMIT}/onnx/model.onnx"
    hub.routes[path] = in_turn(sends(b"", 503), sends())
    assert get("hf://org/name/onnx/model.onnx", tmp_path / "model")["sha256"] == DIGEST


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"sha": "../../x"}', b'{"sha": 7}', b"[" * 100_000])
def test_what_is_no_hub(hub: Site, tmp_path: Path, answer: bytes) -> None:
    hub.routes["/api/models/org/name/revision/main"] = sends(answer)
    rejected("hf://org/name/onnx/model.onnx", tmp_path / "model", "HF_ENDPOINT")


@pytest.mark.parametrize(
    "uri", ["hf://org", "hf://org/name", "hf:///name/x", "hf://o r/name/x", "hf://org/name/../x", "hf://"]
)
def test_uris_that_name_nothing(hub: Site, tmp_path: Path, uri: str) -> None:
    assert refused(uri, tmp_path / "model").failure.reason == "SourceInvalid"


def test_a_token_is_never_sent_unencrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.com")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    error = refused("hf://org/name/model.onnx", tmp_path / "model")
    assert (error.failure.reason, error.failure.field) == ("SourceInvalid", "spec.source.secretRef")


@pytest.mark.parametrize(
    "entry",
    [{"type": "file", "path": "onnx/m.onnx", "size": "x"}, {"type": "file", "size": 1}, {"type": "file", "path": 3}],
)
def test_a_list_of_files_that_is_none(hub: Site, tmp_path: Path, entry: dict[str, object]) -> None:
    hub.routes[f"/api/models/org/name/tree/{COMMIT}/onnx"] = sends(json.dumps([entry]).encode())
    assert refused("hf://org/name/onnx/", tmp_path / "model").failure.reason == "SourceRejected"
