"""Push and pull against a real S3 gateway: whole or not at all, verified, shared, collected."""

import hashlib
import json
import os
from datetime import timedelta

import pytest

from onnxmodel_runtime.__main__ import main
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.outcome import ExitCode, decode
from onnxmodel_runtime.contract.store import Bucket, PullRequest, PushRequest, Wanted
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.stages.pull import pull
from onnxmodel_runtime.stages.push import push
from onnxmodel_runtime.store import bucket as bucketing
from onnxmodel_runtime.store.bucket import BucketStore
from tests.unit.runtime.store_support import KEYS, SECRET

OURS, OTHER = "a" * 16, "b" * 16
MODEL, WEIGHTS = b"model" * 1000, os.urandom(9 << 20)  # in two parts, with the sizes that boto3 has


pytestmark = pytest.mark.usefixtures("secret_keys")


def left(root, name=OURS, place="optimize"):
    """What an optimize stage leaves, and what is of no concern."""
    folder = root / place / name
    (folder / "fp32").mkdir(parents=True)
    (folder / "fp32" / "model.onnx").write_bytes(MODEL)
    (folder / "fp32" / "model.onnx.data").write_bytes(WEIGHTS)
    (folder / "twin.onnx").write_bytes(MODEL)
    (folder / "probe.npz").write_bytes(b"probe")
    (folder / "report.json.tmp-pod-1").write_bytes(b"half")
    (root / place / f"{name}.accepted").write_bytes(b"")
    (root / place / ("c" * 16)).mkdir()
    (root / place / ("c" * 16) / "other").write_bytes(b"another stage's")
    return root


def digest(content):
    return hashlib.sha256(content).hexdigest()


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_was_pushed_is_pulled_with_what_stands_beside_it(store, tmp_path):
    bucket = store.model()
    push(PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there"))))
    assert store.keys(bucket) == [
        *sorted(f"blobs/sha256/{digest(content)}" for content in (MODEL, WEIGHTS, b"probe", b"")),
        f"folders/optimize/{OURS}.json",
    ]
    pull(PullRequest(bucket, (Wanted(f"optimize/{OURS}"),), str(tmp_path / "here")))
    assert files(tmp_path / "here") == {
        f"optimize/{OURS}/fp32/model.onnx": MODEL,
        f"optimize/{OURS}/fp32/model.onnx.data": WEIGHTS,
        f"optimize/{OURS}/twin.onnx": MODEL,
        f"optimize/{OURS}/probe.npz": b"probe",
        f"optimize/{OURS}.accepted": b"",
    }


def test_a_server_gets_its_variant_alone_and_no_credential_of_another_kind_stays(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXMODEL_SECRET_PYTHONPATH", "/evil")
    bucket = store.model()
    push(PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there"))))
    proven = {"fp32/model.onnx": digest(MODEL)}
    wanted = Wanted(f"optimize/{OURS}", ("fp32/", "probe.npz"), proven)
    pull(PullRequest(bucket, (wanted,), str(tmp_path / "here")))
    assert set(files(tmp_path / "here" / "optimize" / OURS)) == {
        "fp32/model.onnx",
        "fp32/model.onnx.data",
        "probe.npz",
    }
    assert not [name for name in os.environ if name.startswith("ONNXMODEL_SECRET_")]
    assert os.environ.get("PYTHONPATH") != "/evil"


def test_what_the_store_has_is_not_sent_again(store, tmp_path, capfd):
    bucket = store.model()
    request = PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there")))
    push(request)
    first = {item["Key"]: item["LastModified"] for item in _listed(store, bucket)}
    assert "9.0 MiB sent" in capfd.readouterr().err
    push(request)
    assert "0 B sent" in capfd.readouterr().err
    blobs = {key: time for key, time in first.items() if "/blobs/" in key}
    assert {item["Key"]: item["LastModified"] for item in _listed(store, bucket) if "/blobs/" in item["Key"]} == blobs


def _listed(store, bucket):
    return store.client.list_objects_v2(Bucket=bucket.bucket, Prefix=f"{bucket.prefix}/")["Contents"]


def test_a_push_that_is_cut_short_is_not_seen(store, tmp_path, monkeypatch):
    """Every blob is there, the index is not: a reader finds nothing rather than half."""
    bucket = store.model()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(BucketStore, "_write_index", killed)
    with pytest.raises(KeyboardInterrupt):
        push(PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there"))))
    assert f"blobs/sha256/{digest(WEIGHTS)}" in store.keys(bucket)
    assert refused(bucket, tmp_path).reason == "StoreIncomplete"
    pull(PullRequest(bucket, (Wanted(f"optimize/{OURS}", optional=True),), str(tmp_path / "here")))
    assert not (tmp_path / "here").exists()


def refused(bucket, tmp_path, *paths, proven=None):
    """The failure of a pull, which leaves no file that could be taken for the right one."""
    wanted = Wanted(f"optimize/{OURS}", paths, proven or {})
    with pytest.raises(StageError) as caught:
        pull(PullRequest(bucket, (wanted,), str(tmp_path / "refused")), pause=lambda _: None)
    assert not [name for name in files(tmp_path / "refused") if "model.onnx" in name]
    return caught.value.failure


@pytest.mark.parametrize("content", [b"x" * len(MODEL), MODEL[:-1], MODEL + b"x", b""])
def test_a_blob_that_was_changed_is_never_used(store, tmp_path, content):
    bucket = store.model()
    push(PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there"))))
    store.client.put_object(Bucket="artifacts", Key=f"{bucket.prefix}/blobs/sha256/{digest(MODEL)}", Body=content)
    failure = refused(bucket, tmp_path, "twin.onnx")
    assert failure.reason == "StoreDamaged"
    assert digest(MODEL) in failure.message


def test_a_blob_that_was_deleted_is_named(store, tmp_path):
    bucket = store.model()
    push(PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there"))))
    store.client.delete_object(Bucket="artifacts", Key=f"{bucket.prefix}/blobs/sha256/{digest(MODEL)}")
    failure = refused(bucket, tmp_path, "twin.onnx")
    assert (failure.reason, digest(MODEL) in failure.message) == ("StoreIncomplete", True)


def test_an_index_that_names_another_model_than_the_proven_one_is_refused(store, tmp_path):
    bucket = store.model()
    push(PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there"))))
    assert refused(bucket, tmp_path, "fp32/", proven={"fp32/model.onnx": "0" * 64}).reason == "StoreDamaged"
    assert refused(bucket, tmp_path, "fp32/", proven={"fp32/other.onnx": "0" * 64}).reason == "StoreIncomplete"
    assert refused(bucket, tmp_path, "fp16/").reason == "StoreIncomplete"


@pytest.mark.parametrize(
    "files_told",
    [
        {f"{OURS}/../../../etc/passwd": {"sha256": digest(b""), "bytes": 0}},
        {"/etc/passwd": {"sha256": digest(b""), "bytes": 0}},
        {f"{OTHER}/model.onnx": {"sha256": digest(b""), "bytes": 0}},
        {f"{OURS}/model.onnx": {"sha256": "../../secret", "bytes": 0}},
        {f"{OURS}/model.onnx": {"sha256": digest(b""), "bytes": -1}},
        {f"{OURS}/model.onnx": {"sha256": digest(b""), "bytes": True}},
        {f"{OURS}/model.onnx": []},
        [],
    ],
)
def test_an_index_that_somebody_made_up_is_refused(store, tmp_path, files_told):
    bucket = store.model()
    told = json.dumps({"schema": 1, "files": files_told})
    store.client.put_object(Bucket="artifacts", Key=f"{bucket.prefix}/folders/optimize/{OURS}.json", Body=told)
    assert refused(bucket, tmp_path).reason == "StoreDamaged"


@pytest.mark.parametrize("what", ["file", "folder", "place", "fifo"])
def test_a_link_to_a_credential_is_not_followed(store, tmp_path, what):
    """A stage that a model took over can lay one; the container that uploads has the store's keys."""
    bucket, root = store.model(), left(tmp_path / "there")
    secret = tmp_path / "secret"
    (secret / OURS).mkdir(parents=True)
    (secret / "token").write_text("key")
    (secret / OURS / "token").write_text("key")
    if what == "file":
        (root / "optimize" / OURS / "model.onnx").symlink_to(secret / "token")
    elif what == "folder":
        (root / "optimize" / OURS / "more").symlink_to(secret)
    elif what == "fifo":
        os.mkfifo(root / "optimize" / OURS / "model.onnx")
    else:
        (root / "optimize").rename(root / "old")
        (root / "optimize").symlink_to(secret)
    with pytest.raises(StageError, match="ArtifactsRefused"):
        push(PushRequest(bucket, (f"optimize/{OURS}",), str(root)))
    assert store.keys(bucket) == []


def test_what_no_spec_can_return_to_goes_with_its_blobs(store, tmp_path, monkeypatch):
    bucket = store.model()
    root = left(left(tmp_path / "there"), OTHER, "source")
    (root / "source" / OTHER / "old.onnx").write_bytes(b"old")
    push(PushRequest(bucket, (f"optimize/{OURS}", f"source/{OTHER}"), str(root)))
    again = PushRequest(bucket, (f"optimize/{OURS}",), str(root), keep=(f"benchmark/{OURS}",))
    push(again)
    there = store.keys(bucket)
    assert f"folders/source/{OTHER}.json" not in there
    assert f"blobs/sha256/{digest(b'old')}" in there, "another Job may be about to name what is as young as this"
    monkeypatch.setattr(bucketing, "_YOUNG", timedelta(seconds=-60))
    push(again)
    there = store.keys(bucket)
    assert f"blobs/sha256/{digest(b'old')}" not in there
    assert f"blobs/sha256/{digest(MODEL)}" in there, "shared with a folder that stays"
    pull(PullRequest(bucket, (Wanted(f"optimize/{OURS}"),), str(tmp_path / "here")))


def test_one_model_collects_nothing_of_another(store, tmp_path, monkeypatch):
    monkeypatch.setattr(bucketing, "_YOUNG", timedelta(seconds=-60))
    root, first, second = left(tmp_path / "there"), store.model(), store.model()
    for bucket in (first, second):
        push(PushRequest(bucket, (f"optimize/{OURS}",), str(root)))
    before = store.keys(first)
    push(PushRequest(second, (f"optimize/{'c' * 16}",), str(root), keep=("optimize/none",)))
    assert store.keys(first) == before
    assert f"folders/optimize/{OURS}.json" not in store.keys(second)


def test_an_index_that_cannot_be_read_costs_no_blob(store, tmp_path, monkeypatch):
    monkeypatch.setattr(bucketing, "_YOUNG", timedelta(seconds=-60))
    root, bucket = left(tmp_path / "there"), store.model()
    push(PushRequest(bucket, (f"optimize/{OURS}",), str(root)))
    store.client.put_object(Bucket="artifacts", Key=f"{bucket.prefix}/folders/source/{OTHER}.json", Body=b"odd")
    before = store.keys(bucket)
    push(PushRequest(bucket, (f"optimize/{OURS}",), str(root), keep=(f"source/{OTHER}",)))
    assert store.keys(bucket) == before


def test_as_containers_run_them(store, tmp_path, monkeypatch):
    """The exit code and the termination message, with the option that the operator gives."""
    monkeypatch.setenv("ONNXMODEL_TERMINATION_LOG", str(tmp_path / "end"))
    bucket, root = store.model(), left(tmp_path / "there")
    folder = f"optimize/{OURS}"
    assert (
        main(["push", "--request", dumps(PushRequest(bucket, (folder,), str(root))), "--keep", folder]) == ExitCode.OK
    )
    assert decode((tmp_path / "end").read_text()).command == "push"
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
    pulled = PullRequest(bucket, (Wanted(folder),), str(tmp_path / "here"))
    assert main(["pull", "--request", dumps(pulled)]) == ExitCode.OK
    assert files(tmp_path / "here")[f"{folder}/probe.npz"] == b"probe"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "there are no credentials"),
        ({**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses"),
    ],
)
def test_keys_that_the_store_refuses_are_the_platforms_to_mend(store, tmp_path, monkeypatch, keys, said):
    for name in SECRET:
        monkeypatch.delenv(name)
    for name, value in keys.items():
        monkeypatch.setenv(f"ONNXMODEL_SECRET_{name}", value)
    with pytest.raises(StageError) as caught:
        pull(PullRequest(store.model(), (Wanted(f"optimize/{OURS}"),), str(tmp_path)), pause=lambda _: None)
    assert (caught.value.failure.reason, caught.value.retry) == ("StoreForbidden", True)
    assert said in caught.value.failure.message


def test_a_bucket_that_does_not_exist_is_said(store, tmp_path):
    bucket = Bucket("nothing-here", "m", store.endpoint)
    with pytest.raises(StageError) as caught:
        pull(PullRequest(bucket, (Wanted(f"optimize/{OURS}"),), str(tmp_path)), pause=lambda _: None)
    assert (caught.value.failure.reason, caught.value.retry) == ("StoreForbidden", True)


def test_a_push_waits_for_a_store_that_comes_back(store, tmp_path):
    """The stage would run again otherwise."""
    bucket, pauses = store.model(), []
    store.stop()

    def back(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            store.start()

    push(PushRequest(bucket, (f"optimize/{OURS}",), str(left(tmp_path / "there"))), pause=back)
    assert pauses[:2] == [1.0, 2.0]
    assert f"folders/optimize/{OURS}.json" in store.keys(bucket)


def test_a_store_that_stays_away_is_said_and_tried_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr("onnxmodel_runtime.stages.pull._SECONDS", 0.5)
    bucket = store.model()
    store.stop()
    try:
        with pytest.raises(StageError) as caught:
            pull(PullRequest(bucket, (Wanted(f"optimize/{OURS}"),), str(tmp_path)), pause=lambda _: None)
    finally:
        store.start()
    assert (caught.value.failure.reason, caught.value.exit_code) == ("StoreUnavailable", ExitCode.RETRY)
    assert store.endpoint in caught.value.failure.message
