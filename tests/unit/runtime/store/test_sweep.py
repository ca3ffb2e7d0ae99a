"""The sweep of what deleted models left, against a real S3 gateway."""

import json
from dataclasses import replace

import pytest

from onnxmodel_runtime.contract.store import PushRequest, SweepRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.stages.push import push
from onnxmodel_runtime.stages.sweep import sweep

FOLDER = "optimize/" + "a" * 16


pytestmark = pytest.mark.usefixtures("secret_keys")


@pytest.fixture
def root(store):
    return store.model()


def pushed(root, tmp_path, uid, *, retain=False):
    """A model that has left something. Returns its part of the bucket."""
    folder = tmp_path / uid / FOLDER
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text(uid)
    own = replace(root, prefix=f"{root.prefix}/team-a/m/{uid}")
    push(PushRequest(own, (FOLDER,), str(tmp_path / uid), retain=retain))
    return own


def swept(root, tmp_path, models, seconds=-60.0):
    (tmp_path / "models.json").write_text(
        json.dumps({"models": [{"uid": uid, "retain": retain} for uid, retain in models.items()]})
    )
    sweep(SweepRequest(root, str(tmp_path / "models.json"), seconds))


def test_what_a_deleted_model_left_goes_and_nothing_else(store, root, tmp_path):
    there, gone = pushed(root, tmp_path, "there"), pushed(root, tmp_path, "gone")
    neighbour = replace(root, prefix=f"{root.prefix}-b")  # its keys begin like ours
    other = pushed(neighbour, tmp_path, "other")
    store.client.put_object(Bucket="artifacts", Key=f"{root.prefix}/readme.txt", Body=b"somebody's")
    before = store.keys(there), store.keys(other)
    swept(root, tmp_path, {"there": False})
    assert store.keys(gone) == []
    assert (store.keys(there), store.keys(other)) == before
    assert "readme.txt" in store.keys(root)


def test_what_is_new_stays_for_its_model_may_be_newer_than_the_inventory(store, root, tmp_path):
    gone = pushed(root, tmp_path, "gone")
    before = store.keys(gone)
    swept(root, tmp_path, {}, seconds=3600)
    assert store.keys(gone) == before


def test_what_is_retained_stays_although_the_model_is_gone(store, root, tmp_path):
    """Whether it was so from the beginning, or somebody set it later: the sweep remembers it while the model is there."""
    first, later, revoked = (
        pushed(root, tmp_path, uid, retain=uid != "later") for uid in ("first", "later", "revoked")
    )
    swept(root, tmp_path, {"first": True, "later": True, "revoked": False})
    swept(root, tmp_path, {})
    assert "retain" in store.keys(first)
    assert f"folders/{FOLDER}.json" in store.keys(later)
    assert store.keys(revoked) == []


@pytest.mark.parametrize("content", ["", "[]", '{"models": [{"name": "m"}]}', '{"models": null}'])
def test_without_an_inventory_nothing_goes(store, root, tmp_path, content):
    gone = pushed(root, tmp_path, "gone")
    before = store.keys(gone)
    (tmp_path / "models.json").write_text(content)
    with pytest.raises(StageError, match="RequestInvalid"):
        sweep(SweepRequest(root, str(tmp_path / "models.json"), -60))
    assert store.keys(gone) == before
