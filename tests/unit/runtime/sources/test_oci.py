"""oci:// against a real registry: what ORAS, KitOps and ModelPack push, tags and digests, and who gets the password."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from onnxmodel_runtime.contract.fetch import SourcePolicy
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources.oci_login import Login
from tests.unit.runtime import registry_support as support
from tests.unit.runtime.registry_support import Registry, Tokens, registry
from tests.unit.runtime.source_support import (
    BODY,
    DIGEST,
    HERE,
    Handler,
    Route,
    Site,
    get,
    ranged,
    redirects,
    refused,
    rejected,
    sends,
    serving,
    tar,
)

pytestmark = pytest.mark.usefixtures("plain_environment")
ONNX = "application/vnd.onnx"
TITLE = "org.opencontainers.image.title"
FILEPATH = "org.cncf.model.filepath"
ELSEWHERE = "SourceLoginElsewhere"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry") / "open") as running:
        yield running


# ---- what is pushed --------------------------------------------------------------------------------------------------


def test_a_tag_is_resolved_to_its_digest(real: Registry, tmp_path: Path) -> None:
    digest = real.push("team/model", "v1", (ONNX, BODY, {TITLE: "model.onnx"}))
    record = get(f"oci://{real.host}/team/model:v1", tmp_path / "model", sha256=DIGEST)
    assert record["uri"] == f"oci://{real.host}/team/model:v1"
    assert record["resolved"] == f"oci://{real.host}/team/model@{digest}"
    real.push("team/model", "v1", (ONNX, b"another", {TITLE: "model.onnx"}))
    assert get(record["resolved"], tmp_path / "same")["sha256"] == DIGEST
    assert get(f"oci://{real.host}/team/model:v1", tmp_path / "other")["sha256"] != DIGEST


def test_a_tag_and_a_digest(real: Registry, tmp_path: Path) -> None:
    digest = real.push("team/both", "latest", (ONNX, BODY, {TITLE: "model.onnx"}))
    for number, reference in enumerate(("", ":latest", f":gone@{digest}")):
        record = get(f"oci://{real.host}/team/both{reference}", tmp_path / str(number))
        assert record["resolved"] == f"oci://{real.host}/team/both@{digest}"


GZIP = tar({"m/resnet.onnx": BODY, "m/data/w.bin": b"www"})
PLAIN = tar({"./resnet.onnx": BODY, "./data/w.bin": b"www"}, "w")
LAYOUTS = {
    "oras files": [(ONNX, BODY, {TITLE: "resnet.onnx"}), ("x/bin", b"www", {TITLE: "data/w.bin"})],
    "oras folder": [
        ("application/vnd.oci.image.layer.v1.tar+gzip", GZIP, {TITLE: "m", "io.deis.oras.content.unpack": "true"})
    ],
    "modelpack raw": [
        ("application/vnd.cncf.model.weight.v1.raw", BODY, {FILEPATH: "resnet.onnx"}),
        ("application/vnd.cncf.model.weight.v1.raw", b"www", {FILEPATH: "data/w.bin"}),
        ("application/vnd.cncf.model.doc.v1.raw", b"read me", {FILEPATH: "README.onnx"}),
    ],
    "modelpack tar": [("application/vnd.cncf.model.weight.v1.tar", PLAIN, {})],
    "modelpack tar+gzip": [("application/vnd.cncf.model.weight.v1.tar+gzip", GZIP, {FILEPATH: "m"})],
    "kitops": [
        ("application/vnd.kitops.modelkit.model.v1.tar+gzip", GZIP, {}),
        ("application/vnd.kitops.modelkit.dataset.v1.tar+gzip", b"no tar, and not looked at", {}),
    ],
    "kitops parts": [
        ("application/vnd.kitops.modelkit.model.v1.tar", tar({"resnet.onnx": BODY}, "w"), {}),
        ("application/vnd.kitops.modelkit.modelpart.v1.tar+gzip", tar({"data/w.bin": b"www"}), {}),
    ],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_model_with_external_data(real: Registry, tmp_path: Path, name: str) -> None:
    repository = f"layouts/{name.replace(' ', '-').replace('+', '-')}"
    real.push(repository, "v1", *LAYOUTS[name])
    record = get(f"oci://{real.host}/{repository}:v1", tmp_path / "model", sha256=DIGEST)
    assert sorted(record["files"]) == ["data/w.bin", "model.onnx"]
    assert (tmp_path / "model" / "data" / "w.bin").read_bytes() == b"www"


def test_a_single_layer_needs_no_name(real: Registry, tmp_path: Path) -> None:
    real.push("team/raw", "v1", ("application/vnd.cncf.model.weight.v1.raw", BODY, {}))
    assert get(f"oci://{real.host}/team/raw:v1", tmp_path / "model")["sha256"] == DIGEST


def test_an_index_of_one(real: Registry, tmp_path: Path) -> None:
    digest = real.push("team/index", "inner", (ONNX, BODY, {TITLE: "model.onnx"}))
    inner = {"mediaType": support.MANIFEST, "digest": digest, "size": 1}
    media = "application/vnd.oci.image.index.v1+json"
    outer = real.manifest("team/index", "one", {"schemaVersion": 2, "mediaType": media, "manifests": [inner]})
    assert get(f"oci://{real.host}/team/index:one", tmp_path / "model")["resolved"].endswith(outer)
    real.manifest("team/index", "two", {"schemaVersion": 2, "mediaType": media, "manifests": [inner, inner]})
    error = refused(f"oci://{real.host}/team/index:two", tmp_path / "other")
    assert (error.failure.reason, "2 artifacts" in error.failure.message) == ("SourceInvalid", True)


def test_what_holds_no_model(real: Registry, tmp_path: Path) -> None:
    real.push("team/image", "v1", ("application/vnd.oci.image.layer.v1.tar+gzip", GZIP, {}))
    real.push("team/text", "v1", ("text/plain", b"x", {TITLE: "README"}))
    real.push("team/evil", "v1", (ONNX, BODY, {TITLE: "model.onnx"}), ("x/y", b"x", {TITLE: "../x"}))
    real.push("team/sign", "v1", (ONNX, BODY, {TITLE: "model.onnx"}), ("x/y", b"x", {TITLE: ".signature"}))
    real.push("team/twice", "v1", (ONNX, BODY, {TITLE: "model.onnx"}), (ONNX, b"x", {TITLE: "./model.onnx"}))
    real.push("team/zstd", "v1", ("application/vnd.cncf.model.weight.v1.tar+zstd", b"x", {}))
    expected = {
        "image": "NotFound",
        "text": "NotFound",
        "evil": "Invalid",
        "sign": "Invalid",
        "twice": "Invalid",
        "zstd": "Invalid",
    }
    for name, reason in expected.items():
        assert refused(f"oci://{real.host}/team/{name}:v1", tmp_path / "model").failure.reason == f"Source{reason}"


def test_what_is_not_there(real: Registry, tmp_path: Path) -> None:
    for reference in ("team/none:v1", "team/model:none", f"team/model@sha256:{'0' * 64}"):
        assert refused(f"oci://{real.host}/{reference}", tmp_path / "model").failure.reason == "SourceNotFound"


def test_the_bound_holds_for_the_sum(real: Registry, tmp_path: Path) -> None:
    real.push("team/large", "v1", (ONNX, BODY, {TITLE: "model.onnx"}), ("x/y", BODY, {TITLE: "w.bin"}))
    error = refused(f"oci://{real.host}/team/large:v1", tmp_path / "model", max_bytes=len(BODY) + 1)
    assert error.failure.reason == "SourceTooLarge"


def test_a_damaged_blob(tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as damaged:
        damaged.push("team/model", "v1", (ONNX, BODY, {TITLE: "model.onnx"}))
        (data,) = (tmp_path / "registry" / "data").rglob(f"blobs/sha256/*/{DIGEST}/data")
        data.write_bytes(bytes(len(BODY)))
        error = refused(f"oci://{damaged.host}/team/model:v1", tmp_path / "model")
    assert (error.failure.reason, error.retry) == ("DigestMismatch", False)
    assert DIGEST in error.failure.message


@pytest.mark.parametrize(
    "uri",
    [
        "oci://host",
        "oci:///repo",
        "oci://u:p@host/repo:v1",
        "oci://host/Repo",
        "oci://host/repo@sha256:12",
        "oci://h/r?x",
    ],
)
def test_uris_that_name_nothing(tmp_path: Path, uri: str) -> None:
    assert refused(uri, tmp_path / "model").failure.reason == "SourceInvalid"


# ---- who is let in ---------------------------------------------------------------------------------------------------


def give_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_USERNAME", support.USER)
    monkeypatch.setenv("OCI_PASSWORD", support.PASSWORD)


def test_a_password_and_a_private_certificate_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By https, as "plain" registries are by name alone: the loopback name is replaced by one that is not plain."""
    authority = trustme.CA()
    with registry(tmp_path / "registry", basic=True, tls=authority) as secure:
        secure.push("team/model", "v1", (ONNX, BODY, {TITLE: "model.onnx"}))
        monkeypatch.setattr("onnxmodel_runtime.sources.oci.loopback", lambda _host: False)
        uri = f"oci://{secure.host}/team/model:v1"
        assert refused(uri, tmp_path / "model").failure.reason == "SourceUntrusted"
        monkeypatch.setenv("CA_CERTIFICATES", authority.cert_pem.bytes().decode())
        assert refused(uri, tmp_path / "model").failure.reason == "SourceForbidden"
        give_password(monkeypatch)
        assert get(uri, tmp_path / "model")["sha256"] == DIGEST
        monkeypatch.setenv("OCI_PASSWORD", "wrong")
        error = refused(uri, tmp_path / "other")
        assert (error.failure.reason, error.failure.field) == ("SourceForbidden", "spec.source.secretRef")


@pytest.fixture
def place() -> Iterator[Site]:
    """Where tokens are made: another host than the registry, as Docker Hub's is."""
    with serving() as site:
        yield site


@pytest.fixture
def guarded_registry(tmp_path: Path, place: Site) -> Iterator[Registry]:
    tokens = Tokens()
    tokens.realm = place.url("/token")
    place.routes["/token"] = lambda handler: sends(
        json.dumps({"token": tokens.make("team/model", "pull") if authorized(handler) else "no.token.x"}).encode()
    )(handler)
    with registry(tmp_path / "registry", token=tokens) as running:
        running.authorization = f"Bearer {tokens.make('team/model', 'pull', 'push')}"
        running.push("team/model", "v1", (ONNX, BODY, {TITLE: "model.onnx"}))
        yield running


def authorized(handler: Handler) -> bool:
    return handler.headers.get("Authorization") == support.basic_header()


def test_a_token(guarded_registry: Registry, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_password(monkeypatch)
    uri = f"oci://{guarded_registry.host}/team/model:v1"
    # Another port is another host: nobody said that it may have the password.
    error = rejected(uri, tmp_path / "model", "OCI_AUTH_HOST", "127.0.0.1", reason=ELSEWHERE)
    assert place.seen == []
    monkeypatch.setenv("OCI_AUTH_HOST", "127.0.0.1")
    assert get(uri, tmp_path / "model")["sha256"] == DIGEST
    assert [value for _, value in place.seen] == [support.basic_header()]  # one token for the manifest and for the blob
    assert "scope=repository%3Ateam%2Fmodel%3Apull" in place.seen[0][0]
    assert support.PASSWORD not in str(error)


def test_a_token_place_on_the_platforms_list(
    guarded_registry: Registry, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_password(monkeypatch)
    policy = SourcePolicy(hosts=("127.0.0.1",), networks=HERE.networks)
    assert get(f"oci://{guarded_registry.host}/team/model:v1", tmp_path / "model", policy=policy)["sha256"] == DIGEST


def test_a_token_for_nobody(guarded_registry: Registry, place: Site, tmp_path: Path) -> None:
    error = refused(f"oci://{guarded_registry.host}/team/model:v1", tmp_path / "model")
    assert error.failure.reason == "SourceForbidden"
    assert [value for _, value in place.seen] == [None]


# ---- registries that try something -----------------------------------------------------------------------------------


def wants(realm: str) -> Route:
    return sends(b"", 401, WWW_Authenticate=f'Bearer realm="{realm}",service="registry"')


@pytest.fixture
def evil(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    give_password(monkeypatch)
    return site


def test_the_password_does_not_go_where_a_registry_says(evil: Site, tmp_path: Path, place: Site) -> None:
    for realm, reason in (
        (place.url("/token"), ELSEWHERE),
        ("https://evil.example.com/token", ELSEWHERE),
        ("http://evil.example.com/token", "SourceRejected"),
        ("http://169.254.169.254/token", "SourceRejected"),
        ("file:///etc/passwd", "SourceRejected"),
        ("//127.0.0.1/token", ELSEWHERE),
        ("", "SourceRejected"),
    ):
        evil.routes["/v2/m/manifests/v1"] = wants(realm)
        rejected(f"oci://127.0.0.1:{evil.port}/m:v1", tmp_path / "model", reason=reason)
    assert place.seen == []
    assert {value for _, value in evil.seen} == {None}


def test_a_token_place_that_the_policy_refuses(site: Site, tmp_path: Path) -> None:
    """Without a password too: it is a request as any other."""
    site.routes["/v2/m/manifests/v1"] = wants("https://auth.example.com/token")
    policy = SourcePolicy(hosts=("127.0.0.1",), networks=HERE.networks)
    rejected(f"oci://127.0.0.1:{site.port}/m:v1", tmp_path / "model", "auth.example.com", policy=policy)
    site.routes["/v2/m/manifests/v1"] = wants("https://169.254.169.254/token")
    rejected(f"oci://127.0.0.1:{site.port}/m:v1", tmp_path / "model", "metadata")


def test_the_token_place_does_not_redirect(evil: Site, tmp_path: Path, place: Site) -> None:
    evil.routes |= {"/v2/m/manifests/v1": wants(evil.url("/token")), "/token": redirects(place.url("/token"))}
    rejected(f"oci://127.0.0.1:{evil.port}/m:v1", tmp_path / "model")
    assert place.seen == []


def test_the_password_is_for_the_models_registry(
    site: Site, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_password(monkeypatch)
    site.routes["/m.onnx"] = sends()
    model = f"oci://127.0.0.1:{place.port}/m:v1"
    manifest = {
        "layers": [
            {"mediaType": ONNX, "digest": f"sha256:{DIGEST}", "size": len(BODY), "annotations": {TITLE: "m.onnx"}}
        ]
    }
    place.routes |= {
        "/v2/m/manifests/v1": sends(json.dumps(manifest).encode()),
        f"/v2/m/blobs/sha256:{DIGEST}": sends(),
    }
    site.routes["/v2/g/manifests/v1"] = sends(b"", 401, WWW_Authenticate='Basic realm="x"')
    refused(model, tmp_path / "model", golden=f"oci://127.0.0.1:{site.port}/g:v1")
    assert [value for _, value in site.seen] == [None]


def test_a_blob_of_another_host_gets_no_authorization(evil: Site, tmp_path: Path, place: Site) -> None:
    layer = {"mediaType": ONNX, "digest": f"sha256:{DIGEST}", "size": len(BODY), "annotations": {TITLE: "model.onnx"}}
    content = json.dumps({"layers": [layer]}).encode()
    answers: list[Any] = [wants(evil.url("/token")), sends(content)]
    evil.routes |= {
        "/v2/m/manifests/v1": lambda handler: answers.pop(0)(handler),
        "/token": sends(b'{"access_token": "t0ken"}'),
        f"/v2/m/blobs/sha256:{DIGEST}": redirects(place.url("/cdn?X-Amz-Signature=s"), 307),
    }
    place.routes["/cdn"] = ranged(BODY, breaks_after=[1000])
    record = get(f"oci://127.0.0.1:{evil.port}/m:v1", tmp_path / "model")
    assert record["resolved"].endswith(f"@sha256:{hashlib.sha256(content).hexdigest()}")
    assert [value for _, value in evil.seen[:3]] == [None, support.basic_header(), "Bearer t0ken"]
    assert {value for _, value in place.seen} == {None}
    assert place.headers[1]["range"] == "bytes=1000-"


def test_a_tag_that_is_not_what_the_registry_says(site: Site, tmp_path: Path) -> None:
    site.routes["/v2/m/manifests/v1"] = sends(b"{}", Docker_Content_Digest=f"sha256:{'0' * 64}")
    rejected(f"oci://127.0.0.1:{site.port}/m:v1", tmp_path / "model", "digest")


def test_a_digest_that_is_not_what_was_asked_for(site: Site, tmp_path: Path) -> None:
    reference = f"sha256:{'0' * 64}"
    site.routes[f"/v2/m/manifests/{reference}"] = sends(b"{}")
    rejected(f"oci://127.0.0.1:{site.port}/m@{reference}", tmp_path / "model", "digest")


@pytest.mark.parametrize(
    "content", [b"<html>", b"[]", b'{"layers": 7}', b'{"layers": [7, {"digest": "md5:1"}]}', b"[" * 100_000]
)
def test_what_is_no_manifest(site: Site, tmp_path: Path, content: bytes) -> None:
    site.routes["/v2/m/manifests/v1"] = sends(content)
    assert refused(f"oci://127.0.0.1:{site.port}/m:v1", tmp_path / "model").failure.reason in (
        "SourceRejected",
        "SourceNotFound",
        "SourceInvalid",
    )


def test_a_manifest_without_end(site: Site, tmp_path: Path) -> None:
    site.routes["/v2/m/manifests/v1"] = sends(b" " * (5 << 20))
    rejected(f"oci://127.0.0.1:{site.port}/m:v1", tmp_path / "model")


def test_http_is_for_registries_that_the_secret_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxmodel_runtime.sources.oci import OciSource

    assert OciSource("oci://registry.example/m:v1")._base.startswith("https://")
    monkeypatch.setenv("OCI_PLAIN_HTTP_HOSTS", "other.example, registry.example:5000")
    assert OciSource("oci://registry.example/m:v1")._base.startswith("https://")
    assert OciSource("oci://registry.example:5000/m:v1")._base.startswith("http://")
    assert OciSource("oci://docker.io/library/m:v1")._base == "https://registry-1.docker.io/v2/library/m"


def test_the_password_never_travels_without_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_password(monkeypatch)
    login = Login("oci://reg.corp:5000/m:v1", "http://reg.corp:5000/v2/m", "m", with_password=True)
    for challenge in ('Bearer realm="http://reg.corp:5000/token"', "Basic"):
        with pytest.raises(StageError) as caught:
            login.answer(challenge)
        assert caught.value.failure.reason == "SourceForbidden"


def test_every_host_is_no_host_that_is_named(
    guarded_registry: Registry, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_password(monkeypatch)
    policy = SourcePolicy(hosts=("*",), networks=HERE.networks)
    uri = f"oci://{guarded_registry.host}/team/model:v1"
    rejected(uri, tmp_path / "model", "OCI_AUTH_HOST", policy=policy, reason=ELSEWHERE)
    assert place.seen == []


@pytest.mark.parametrize("uri", ["oci://registry:99999/m:v1", "oci://127.0.0.1:99999/m:v1"])
def test_a_port_that_is_none(tmp_path: Path, uri: str) -> None:
    assert refused(uri, tmp_path / "model").failure.reason == "SourceInvalid"
