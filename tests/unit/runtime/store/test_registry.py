"""Push, pull and sweep against a real registry: whole or not at all, verified, and none but the model's own tags."""

import hashlib
import io
import json
import os
import signal
import tarfile
import threading
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import pytest

from onnxmodel_runtime.contract.fetch import SECRET_PREFIX
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.store import DOCKER_CONFIG, PullRequest, PushRequest, Repository, SweepRequest, Wanted
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.stages.pull import pull
from onnxmodel_runtime.stages.push import push
from onnxmodel_runtime.stages.sweep import sweep
from onnxmodel_runtime.store.distribution import Distribution, take_docker_config
from onnxmodel_runtime.store.kinds import take_store_credentials
from onnxmodel_runtime.store.patience import Patience, away
from tests.unit.runtime.registry_support import MANIFEST, PASSWORD, USER, Tokens, registry
from tests.unit.runtime.source_support import Handler, serving

OURS, OTHER = "a" * 16, "b" * 16
FOLDER = f"optimize/{OURS}"
UID, NEWER = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
MODEL, WEIGHTS = b"model" * 1000, os.urandom(3 << 20)
TITLE = "org.opencontainers.image.title"
SECRET = f"{SECRET_PREFIX}{DOCKER_CONFIG}"
GIVEN: dict[str, str] = {}
"""The Secret of every container of a test: each takes it from its own environment."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry") / "basic", basic=True, delete=True) as running:
        yield running


def secret(host, user=USER, password=PASSWORD):
    return json.dumps({"auths": {"other.example.com": {}, host: {"username": user, "password": password}}})


@pytest.fixture(autouse=True)
def _credentials(monkeypatch, store):
    for name in ("OCI_USERNAME", "OCI_PASSWORD", "OCI_AUTH_HOST", DOCKER_CONFIG, "CA_CERTIFICATES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(SECRET, "")
    GIVEN[SECRET] = secret(store.host)


@pytest.fixture
def place(store, request):
    """The place of a model that has nothing yet."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return Repository(f"{store.host}/artifacts/{name}/team-a/magika", UID)


def left(root, name=OURS, stage="optimize"):
    """What an optimize stage leaves, and what is of no concern."""
    folder = root / stage / name
    (folder / "fp32").mkdir(parents=True)
    (folder / "fp32" / "model.onnx").write_bytes(MODEL)
    (folder / "fp32" / "weights ü.data").write_bytes(WEIGHTS)
    (folder / "probe.npz").write_bytes(b"probe")
    (folder / "report.json.tmp-pod-1").write_bytes(b"half")
    (root / stage / f"{name}.accepted").write_bytes(b"")
    return root


def pushed(place, root, *some, **more):
    os.environ |= GIVEN
    return push(PushRequest(None, some or (FOLDER,), str(root), registry=place, **more))


def pulled(place, root, *wanted):
    os.environ |= GIVEN
    pull(PullRequest(None, wanted or (Wanted(FOLDER),), str(root), registry=place), pause=lambda _: None)


def refused(place, tmp_path, *wanted):
    """The failure of a pull, which leaves no file that could be taken for the right one."""
    with pytest.raises(StageError) as caught:
        pulled(place, tmp_path / "refused", *wanted)
    assert not [name for name in files(tmp_path / "refused") if "model.onnx" in name]
    return caught.value.failure


def digest(content):
    return hashlib.sha256(content).hexdigest()


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def repository(place, seconds=0.0, pause=print):
    """The store's client, with the credentials of a container."""
    os.environ |= GIVEN
    take_store_credentials()
    take_docker_config(place)
    return Distribution(place, path_of(place), seconds, pause)


def path_of(place):
    return place.repository.partition("/")[2]


def folders(store, place):
    """The tags of folders and marks, without those of images for servers."""
    return [tag for tag in store.tags(path_of(place)) if "-image" not in tag]


def manifest(store, place, tag=f"{UID}-optimize-{OURS}"):
    headers = {"Accept": MANIFEST, "Authorization": store.authorization}
    url = f"{store.base}/v2/{path_of(place)}/manifests/{tag}"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        urllib.request.Request(url, headers=headers), timeout=10
    ) as answer:
        return json.load(answer)


def test_what_was_pushed_is_pulled_with_what_stands_beside_it(store, place, tmp_path):
    pushed(place, left(tmp_path / "there"))
    assert folders(store, place) == [f"{UID}-optimize-{OURS}"]
    pulled(place, tmp_path / "here")
    assert files(tmp_path / "here") == {
        f"{FOLDER}/fp32/model.onnx": MODEL,
        f"{FOLDER}/fp32/weights ü.data": WEIGHTS,
        f"{FOLDER}/probe.npz": b"probe",
        f"{FOLDER}.accepted": b"",
    }


def test_it_is_an_image_that_container_runtimes_read(store, place, tmp_path):
    """Each layer is an uncompressed tar that belongs to nobody and has no time; the configuration names them in order."""
    pushed(place, left(tmp_path / "there"))
    image, found, diffs = manifest(store, place), {}, []
    client = Distribution(place, path_of(place), 0, lambda _: None)

    def blob(described):
        buffer = io.BytesIO()
        client.download(described["digest"], lambda: buffer.write, 1 << 30)
        assert (len(buffer.getvalue()), f"sha256:{digest(buffer.getvalue())}") == (
            described["size"],
            described["digest"],
        )
        return buffer.getvalue()

    for layer in image["layers"]:
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
        content = blob(layer)
        diffs.append(f"sha256:{digest(content)}")
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            (entry,) = tar.getmembers()
            assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.mode) == (0, 0, 0, "", 0o644)
            found[entry.name] = tar.extractfile(entry).read()
    assert found == {
        "fp32/model.onnx": MODEL,
        "fp32/weights ü.data": WEIGHTS,
        "probe.npz": b"probe",
        "beside/accepted": b"",
    }
    config = json.loads(blob(image["config"]))
    assert config["rootfs"] == {"type": "layers", "diff_ids": diffs}
    assert config["os"] == "linux"


def test_a_variant_and_the_probe_are_an_image_that_a_server_mounts(store, place, tmp_path):
    """By its digest, which is the same wherever it is made. The fetched model is one without the data beside it."""
    root = left(tmp_path / "there")
    source = root / "source" / OTHER
    (source / ".golden").mkdir(parents=True)
    (source / "model.onnx").write_bytes(MODEL)
    (source / "w.bin").write_bytes(b"w")
    (source / ".golden" / "x.npy").write_bytes(b"golden")
    (root / "source" / f"{OTHER}.accepted").write_bytes(b"")
    result = pushed(place, root, FOLDER, f"source/{OTHER}")
    found = {}
    for name, given in result.images.items():
        content = Distribution(place, path_of(place), 0, lambda _: None).manifest(given)
        assert f"sha256:{digest(content)}" == given
        found[name] = sorted(layer["annotations"][TITLE] for layer in json.loads(content)["layers"])
    assert found == {
        FOLDER: [f"{OURS}/probe.npz"],
        f"{FOLDER}/fp32": [f"{OURS}/fp32/model.onnx", f"{OURS}/fp32/weights ü.data", f"{OURS}/probe.npz"],
        f"source/{OTHER}": [f"{OTHER}/model.onnx", f"{OTHER}/w.bin"],
    }
    assert pushed(place, left(tmp_path / "again")).images == {
        name: given for name, given in result.images.items() if name.startswith(FOLDER)
    }
    assert pushed(place, root, FOLDER, keep=(FOLDER,))
    assert not [tag for tag in store.tags(path_of(place)) if "source" in tag], "images go with their folder"


def test_names_that_no_image_can_have_are_pulled(store, place, tmp_path):
    """A model's author chooses names of data, and a stage that a model took over any others."""
    root = left(tmp_path / "there")
    for variant, name in (("fused", ".wh.model.onnx"), ("Fp16", "x"), ("int8", "x")):
        (root / FOLDER / variant).mkdir()
        (root / FOLDER / variant / name).write_bytes(b"x")
    for number in range(101):
        (root / FOLDER / "int8" / str(number)).write_bytes(b"x")
    assert set(pushed(place, root).images) == {FOLDER, f"{FOLDER}/fp32"}
    pulled(place, tmp_path / "here")
    assert len(files(tmp_path / "here")) == 4 + 104


def test_a_server_gets_its_variant_alone_and_no_credential_of_another_kind_stays(store, place, tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXMODEL_SECRET_PYTHONPATH", "/evil")
    pushed(place, left(tmp_path / "there"))
    pulled(place, tmp_path / "here", Wanted(FOLDER, ("fp32/", "probe.npz"), {"fp32/model.onnx": digest(MODEL)}))
    assert sorted(files(tmp_path / "here" / FOLDER)) == ["fp32/model.onnx", "fp32/weights ü.data", "probe.npz"]
    assert not [name for name in os.environ if name.startswith(SECRET_PREFIX)]
    assert DOCKER_CONFIG not in os.environ
    assert os.environ.get("PYTHONPATH") != "/evil"


def test_what_the_registry_has_is_not_sent_again_and_the_image_is_the_same(store, place, tmp_path, capfd):
    pushed(place, left(tmp_path / "there"))
    first = manifest(store, place)
    assert "3.0 MiB sent" in capfd.readouterr().err
    pushed(place, left(tmp_path / "again"))
    assert "0 B sent" in capfd.readouterr().err
    assert manifest(store, place) == first
    pushed(place, left(tmp_path / "other", OTHER), f"optimize/{OTHER}")
    assert "0 B sent" in capfd.readouterr().err, "layers say nothing of their folder"


def test_a_push_that_is_cut_short_is_not_seen(store, place, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Distribution, "put_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            pushed(place, left(tmp_path / "there"))
    assert store.tags(path_of(place)) == []
    assert refused(place, tmp_path).reason == "StoreIncomplete"
    pulled(place, tmp_path / "here", Wanted(FOLDER, optional=True))
    assert not (tmp_path / "here").exists()


def changed(store, place, change):
    """Somebody who may write to the registry puts another manifest there."""
    image = manifest(store, place)
    change(image)
    store.manifest(path_of(place), f"{UID}-optimize-{OURS}", image)


def model_layer(image):
    return next(layer for layer in image["layers"] if layer["annotations"][TITLE].endswith("model.onnx"))


def test_other_bytes_than_the_manifest_says_are_never_used(store, place, tmp_path):
    pushed(place, left(tmp_path / "there"))

    def other(image):
        layer = model_layer(image)
        evil = b"x" * layer["size"]
        layer["digest"] = store.blob(path_of(place), evil)

    changed(store, place, other)
    assert refused(place, tmp_path).reason == "StoreDamaged"


def test_a_manifest_that_names_another_model_than_the_proven_one_is_refused(store, place, tmp_path):
    pushed(place, left(tmp_path / "there"))
    proven = Wanted(FOLDER, ("fp32/",), {"fp32/model.onnx": "0" * 64})
    assert refused(place, tmp_path, proven).reason == "StoreDamaged"
    assert refused(place, tmp_path, Wanted(FOLDER, ("fp16/",))).reason == "StoreIncomplete"


def note(name, value):
    return lambda image: model_layer(image)["annotations"].update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        note(TITLE, f"{OURS}/../../../etc/passwd"),
        note(TITLE, "/etc/passwd"),
        note(TITLE, f"{OTHER}/fp32/model.onnx"),
        note("dev.onnx-operator.sha256", "../../secret"),
        note("dev.onnx-operator.bytes", "-1"),
        note("dev.onnx-operator.bytes", "1"),
        note("dev.onnx-operator.bytes", "many"),
        lambda image: model_layer(image).pop("annotations"),
        lambda image: image["annotations"].update({"dev.onnx-operator.tag": "another"}),
        lambda image: image.pop("annotations"),
    ],
)
def test_a_manifest_that_somebody_made_up_is_refused(store, place, tmp_path, change):
    pushed(place, left(tmp_path / "there"))
    changed(store, place, change)
    assert refused(place, tmp_path).reason == "StoreDamaged"


def test_a_link_to_a_credential_is_not_followed(store, place, tmp_path):
    root = left(tmp_path / "there")
    (tmp_path / "token").write_text("key")
    (root / FOLDER / "model.onnx").symlink_to(tmp_path / "token")
    with pytest.raises(StageError, match="ArtifactsRefused"):
        pushed(place, root)
    assert store.tags(path_of(place)) == []


def test_what_no_spec_can_return_to_goes_and_only_of_this_model(store, place, tmp_path):
    root = left(left(left(tmp_path / "there"), OTHER), OTHER, "source")
    newer = replace(place, uid=NEWER)
    for one in (place, newer):
        pushed(one, root, FOLDER, f"optimize/{OTHER}", f"source/{OTHER}", retain=True)
    pushed(place, root, keep=(f"source/{OTHER}", f"benchmark/{OURS}"))
    names = [f"optimize-{OURS}", f"optimize-{OTHER}", "retain", f"source-{OTHER}"]
    assert folders(store, place) == [
        *(f"{UID}-{name}" for name in names if name != f"optimize-{OTHER}"),
        *(f"{NEWER}-{name}" for name in names),
    ]
    pulled(newer, tmp_path / "here", Wanted(f"optimize/{OTHER}"))


def test_a_registry_that_removes_nothing_fails_no_stage(tmp_path_factory, tmp_path, monkeypatch, capfd):
    with registry(tmp_path_factory.mktemp("kept") / "open") as running:
        place = Repository(f"{running.host}/artifacts/team-a/magika", UID)
        root = left(left(tmp_path / "there"), OTHER)
        pushed(place, root, f"optimize/{OTHER}")
        pushed(place, root, keep=(FOLDER,))
        assert len(folders(running, place)) == 2
        assert "removes nothing: 405 UNSUPPORTED" in capfd.readouterr().err


def test_the_sweep_removes_what_it_saw_without_its_model_for_long_enough(store, place, tmp_path, monkeypatch):
    uids = {name: f"{number}{UID[1:]}" for number, name in enumerate(("there", "gone", "kept", "given up"))}
    root = left(tmp_path / "there")

    def again(models, seconds=0.0):
        os.environ |= GIVEN
        told = [{"uid": uids[name], "retain": retain} for name, retain in models.items()]
        (tmp_path / "models.json").write_text(json.dumps({"models": told}))
        base = replace(place, repository=place.repository.removesuffix("/team-a/magika"), uid="")
        sweep(SweepRequest(None, str(tmp_path / "models.json"), seconds, registry=base))
        found = store.tags(path_of(place))
        return {name for name, uid in uids.items() if f"{uid}-optimize-{OURS}" in found}

    for name, uid in uids.items():
        pushed(replace(place, uid=uid), root, retain=name == "given up")
    everyone = {"there": False, "gone": False, "kept": True, "given up": False}
    assert again(everyone) == set(uids)
    assert again({"there": False}) == set(uids), "seen without their models for the first time"
    assert again({"there": False}, 3600) == set(uids)
    assert again(everyone | {"kept": True}) == set(uids), "the inventory was too old: all are there, marks go"
    assert again({"there": False}) == set(uids)
    assert again({"there": False}) == {"there", "kept"}
    assert folders(store, place) == [
        f"{uids['there']}-optimize-{OURS}",
        f"{uids['kept']}-optimize-{OURS}",
        f"{uids['kept']}-retain",
    ]


@pytest.mark.parametrize("note", [{}, {"since": "yesterday"}, {"since": "2099-01-01T00:00:00+00:00"}])
def test_a_mark_that_says_no_time_is_made_again(store, place, tmp_path, note):
    """What it marks would stay for ever."""
    pushed(place, left(tmp_path / "there"))
    image = manifest(store, place)
    image["annotations"] = {f"dev.onnx-operator.{name}": value for name, value in note.items()}
    store.manifest(path_of(place), f"{UID}-gone", image)
    (tmp_path / "models.json").write_text('{"models": []}')
    base = replace(place, repository=place.repository.removesuffix("/team-a/magika"), uid="")
    for rest in ([f"{UID}-gone", f"{UID}-optimize-{OURS}"], []):
        os.environ |= GIVEN
        sweep(SweepRequest(None, str(tmp_path / "models.json"), 0.0, registry=base))
        assert folders(store, place) == rest


def test_the_largest_manifest_that_is_written_can_be_read(store, place, tmp_path):
    pushed(place, left(tmp_path / "there"))
    client, image = repository(place), manifest(store, place)
    image["annotations"]["padding"] = ""
    most = 4 << 20
    image["annotations"]["padding"] = "x" * (most - len(json.dumps(image)))
    client.put_manifest("largest", json.dumps(image).encode())
    assert len(client.manifest("largest")) == most
    image["annotations"]["padding"] += "x"
    with pytest.raises(StageError, match="registries take 4194304") as caught:
        client.put_manifest("larger", json.dumps(image).encode())
    assert (caught.value.failure.reason, caught.value.retry) == ("ArtifactsRefused", False)


def test_a_repository_that_refuses_keeps_no_other_from_the_sweep(store, place, tmp_path, monkeypatch):
    base, asked = place.repository.removesuffix("/team-a/magika"), []
    for name in ("first", "second"):
        pushed(replace(place, repository=f"{base}/team-a/{name}"), left(tmp_path / name))

    def refuses(repository, *_):
        asked.append(repository.uri)
        raise StageError("StoreForbidden", "refused", "Allow it.", "settings.artifacts.oci")

    monkeypatch.setattr("onnxmodel_runtime.store.registry._sweep", refuses)
    (tmp_path / "models.json").write_text('{"models": []}')
    os.environ |= GIVEN
    with pytest.raises(StageError, match="refused"):
        sweep(SweepRequest(None, str(tmp_path / "models.json"), 0.0, registry=replace(place, repository=base, uid="")))
    assert len(asked) >= 2


def test_a_listing_that_leads_to_itself_is_no_listing(place, monkeypatch):
    """A part of it would hide the mark that keeps a model's images."""
    headers = {"Link": '</v2/team-a/tags/list?n=1000>; rel="next"'}
    page = SimpleNamespace(response=SimpleNamespace(headers=headers)), b'{"tags": ["one"]}'
    monkeypatch.setattr(Distribution, "_page", lambda *_: page)
    with pytest.raises(StageError, match="leads to one that was read before"):
        Distribution(place, "team-a", 0.0, print).tags()


@pytest.mark.parametrize(("password", "said"), [("wrong", "refuses: 401"), ("", "refuses: 401")])
def test_a_password_that_the_registry_refuses_is_the_platforms_to_mend(
    store, place, tmp_path, monkeypatch, password, said
):
    GIVEN[SECRET] = secret(store.host, USER if password else "", password)
    monkeypatch.setattr("onnxmodel_runtime.stages.pull._SECONDS", 0.5)
    with pytest.raises(StageError) as caught:
        pulled(place, tmp_path)
    assert (caught.value.failure.reason, caught.value.retry) == ("StoreForbidden", True)
    assert said in caught.value.failure.message
    assert store.host in caught.value.failure.hint


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"auths": {"%s": {"auth": "?"}}}'])
def test_a_secret_that_is_none_of_a_registry_is_said(store, place, tmp_path, content):
    GIVEN[SECRET] = content.replace("%s", store.host)
    with pytest.raises(StageError) as caught:
        pulled(place, tmp_path)
    assert (caught.value.failure.reason, caught.value.retry) == ("StoreForbidden", True)
    assert "docker-registry" in caught.value.failure.hint


def test_the_entry_of_a_secret_that_says_most_of_the_repository_counts(store, place, tmp_path, monkeypatch):
    auths = {
        store.host: {"username": "nobody", "password": "x"},
        f"https://{store.host}/artifacts": {"username": USER, "password": PASSWORD},
        f"{store.host}/art": {"username": "nobody", "password": "x"},
    }
    GIVEN[SECRET] = json.dumps({"auths": auths})
    pushed(place, left(tmp_path / "there"))


def test_tokens_of_a_registry_are_for_what_is_asked(tmp_path_factory, tmp_path, monkeypatch):
    """It asks for a token with the right to push when something is pushed, and gets one for each repository."""
    tokens, scopes = Tokens(), []

    def issue(handler: Handler) -> None:
        scope = dict(part.split("=", 1) for part in handler.path.partition("?")[2].split("&"))["scope"]
        kind, name, actions = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").split(":")
        scopes.append(f"{kind}:{actions}")
        body = json.dumps({"token": tokens.make(name, *actions.split(","))}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with serving() as site:
        site.routes["/token"] = issue
        tokens.realm = site.url("/token")
        with registry(tmp_path_factory.mktemp("tokens") / "token", token=tokens) as running:
            place = Repository(f"{running.host}/artifacts/team-a/magika", UID)
            pushed(place, left(tmp_path / "there"))
            assert any("push" in scope for scope in scopes)
            pulled(place, tmp_path / "here")
            assert files(tmp_path / "here")[f"{FOLDER}/probe.npz"] == b"probe"


def test_a_token_place_elsewhere_is_said_in_the_words_of_the_store(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.setattr("onnxmodel_runtime.stages.pull._SECONDS", 0.5)
    tokens = Tokens()
    tokens.realm = "https://elsewhere.example.com/token"
    with registry(tmp_path_factory.mktemp("elsewhere") / "token", token=tokens) as running:
        GIVEN[SECRET] = secret(running.host)
        failure = refused(Repository(f"{running.host}/artifacts/team-a/magika", UID), tmp_path)
    assert failure.reason == "StoreForbidden"
    assert "elsewhere.example.com, which would get the password" in failure.message
    assert "as OCI_AUTH_HOST in the Secret that settings.artifacts.oci.secretRef names" in failure.hint


def test_an_upload_goes_on_where_the_registry_pauses(store, place, monkeypatch):
    """Sending has a time of its own, which is longer than that to connect."""
    monkeypatch.setattr("onnxmodel_runtime.sources.web._CONNECT_SECONDS", 0.2)
    began, chunk, count = [], bytes(1 << 20), 64  # more than sockets hold
    whole = f"sha256:{digest(chunk * count)}"

    def content():
        began.append(1)
        for number in range(count):
            if number == count // 8:
                store.process.send_signal(signal.SIGSTOP)
                threading.Timer(0.6, store.process.send_signal, (signal.SIGCONT,)).start()
            yield chunk

    client = repository(place)
    client.upload(whole, count << 20, content)
    assert began == [1]
    assert client.has(whole)


def test_a_push_is_patient_since_it_went_on_last(store, place, monkeypatch):
    """A large file takes longer than a registry may be away."""
    clock, began = [0.0], []
    monkeypatch.setattr("onnxmodel_runtime.store.patience.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def content():
        began.append(1)
        yield WEIGHTS
        clock[0] += 1000
        yield WEIGHTS
        if len(began) == 1:
            store.stop()
        yield WEIGHTS * 8  # more than sockets hold

    def back(_):
        if store.process.poll() is not None:
            store.start()

    client = repository(place, 900.0, back)
    whole = f"sha256:{digest(WEIGHTS * 10)}"
    client.upload(whole, 10 * len(WEIGHTS), content)
    assert len(began) == 2
    assert client.has(whole)


def test_a_push_that_comes_no_farther_ends(monkeypatch):
    """What takes the same bytes each time and then breaks would be asked for ever."""
    patience, clock = Patience(10.0, print), []

    def ask():
        clock.append(1)
        patience.moved(100)
        raise away("it broke", "settings.artifacts.oci")

    now = SimpleNamespace(monotonic=lambda: 5.0 * len(clock))
    monkeypatch.setattr("onnxmodel_runtime.store.patience.time", now)
    with pytest.raises(StageError, match="it broke"):
        patience.ask(ask)
    assert len(clock) == 3


def test_a_push_waits_for_a_registry_that_comes_back(store, place, tmp_path):
    """The stage would run again otherwise."""
    pauses = []
    os.environ |= GIVEN
    store.stop()

    def back(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            store.start()

    push(PushRequest(None, (FOLDER,), str(left(tmp_path / "there")), registry=place), pause=back)
    assert pauses[:2] == [1.0, 2.0]
    assert folders(store, place) == [f"{UID}-optimize-{OURS}"]


def test_a_registry_that_stays_away_is_said_and_tried_again(store, place, tmp_path, monkeypatch):
    monkeypatch.setattr("onnxmodel_runtime.stages.pull._SECONDS", 0.5)
    store.stop()
    try:
        with pytest.raises(StageError) as caught:
            pulled(place, tmp_path)
    finally:
        store.start()
    assert (caught.value.failure.reason, caught.value.exit_code) == ("StoreUnavailable", ExitCode.RETRY)
    assert store.host in caught.value.failure.message


def test_a_request_without_a_store_is_refused(tmp_path):
    with pytest.raises(StageError, match="RequestInvalid"):
        pull(PullRequest(None, (Wanted(FOLDER),), str(tmp_path)))
