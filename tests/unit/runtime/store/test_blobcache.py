"""A node's cache of blobs: nothing comes twice, and nothing that is damaged is used."""

import hashlib
import os

import pytest

from onnxmodel_runtime.contract.store import PullRequest, PushRequest, Wanted
from onnxmodel_runtime.stages.pull import pull
from onnxmodel_runtime.stages.push import push
from onnxmodel_runtime.store.blobcache import BlobCache
from onnxmodel_runtime.store.index import StoredFile

FOLDER = "optimize/" + "a" * 16
MODEL = b"model" * 1000
DIGEST = hashlib.sha256(MODEL).hexdigest()


pytestmark = pytest.mark.usefixtures("secret_keys")


@pytest.fixture
def bucket(store, tmp_path):
    """A model of one file in the bucket."""
    folder = tmp_path / "made" / FOLDER
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(MODEL)
    made = store.model()
    push(PushRequest(made, (FOLDER,), str(tmp_path / "made")))
    return made


def pulled(bucket, tmp_path, pod, most=1 << 20):
    """The model as a pod on this node gets it."""
    cache = tmp_path / "node"
    if not cache.exists():
        cache.mkdir()
    pull(PullRequest(bucket, (Wanted(FOLDER),), str(tmp_path / pod), str(cache), most))
    return (tmp_path / pod / FOLDER / "model.onnx").read_bytes()


def lost(store, bucket):
    """From now on only the node has it."""
    store.client.delete_object(Bucket="artifacts", Key=f"{bucket.prefix}/blobs/sha256/{DIGEST}")


def test_a_second_pod_of_the_node_fetches_nothing(store, bucket, tmp_path, capfd):
    assert pulled(bucket, tmp_path, "first") == MODEL
    assert "0 files from the node's cache" in capfd.readouterr().err
    lost(store, bucket)
    assert pulled(bucket, tmp_path, "second") == MODEL
    assert "1 files from the node's cache" in capfd.readouterr().err


@pytest.mark.parametrize("damage", ["changed", "cut", "link", "folder"])
def test_a_damaged_copy_is_replaced(bucket, tmp_path, damage):
    pulled(bucket, tmp_path, "first")
    copy = tmp_path / "node" / DIGEST
    copy.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(MODEL)
        copy.symlink_to(tmp_path / "elsewhere")
    elif damage == "folder":
        copy.mkdir()
    else:
        copy.write_bytes(b"x" * len(MODEL) if damage == "changed" else MODEL[:-1])
    assert pulled(bucket, tmp_path, "second") == MODEL
    assert damage == "folder" or (not copy.is_symlink() and copy.read_bytes() == MODEL)


def test_a_node_without_a_folder_that_can_be_used_is_as_one_without_a_cache(bucket, tmp_path, capfd):
    (tmp_path / "node").write_text("no folder")
    assert pulled(bucket, tmp_path, "pod") == MODEL
    assert "must belong to user 10001" in capfd.readouterr().err


def test_the_least_recently_used_go_and_others_files_stay(tmp_path):
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "somebody's").write_bytes(bytes(1000))
    killed = tmp_path / "node" / ("f" * 64 + ".tmp-pod-1")
    killed.write_bytes(bytes(50))
    os.utime(killed, (0, 0))
    cache, files = BlobCache(str(tmp_path / "node"), 100), []
    for number in range(3):
        content = bytes([number]) * 40
        (tmp_path / "file").write_bytes(content)
        files.append(StoredFile(hashlib.sha256(content).hexdigest(), 40))
        cache.give(files[-1], tmp_path / "file")
        os.utime(tmp_path / "node" / files[-1].sha256, (number + 1, number + 1))
        if number == 1:
            assert cache.take(files[0], tmp_path / "taken"), "so that the second is the oldest"
    left = {path.name for path in (tmp_path / "node").iterdir()}
    assert left == {"somebody's", files[0].sha256, files[2].sha256}
    (tmp_path / "file").write_bytes(bytes(101))
    cache.give(StoredFile("0" * 64, 101), tmp_path / "file")
    assert {path.name for path in (tmp_path / "node").iterdir()} == left
