"""The inventory of models, which says what the sweep of the bucket leaves."""

import json
import sys

import pytest

from onnxmodel_operator import inventory
from onnxmodel_operator.cluster.errors import ApiError
from tests.builders import body


def test_every_model_is_in_it_however_odd_its_spec_is():
    """One that is not in it loses its artifacts."""
    odd = {**body("odd"), "spec": {"retain": "yes"}}
    found = json.loads(inventory.inventory([body("a", retain=True), body("b"), odd]))
    assert found == {
        "models": [
            {"uid": "uid-a", "retain": True},
            {"uid": "uid-b", "retain": False},
            {"uid": "uid-odd", "retain": False},
        ]
    }


def test_no_file_is_written_where_the_models_cannot_be_listed(tmp_path, monkeypatch, capsys):
    async def fails():
        raise ApiError(403, "onnxmodels is forbidden")

    monkeypatch.setattr(inventory, "_listed", fails)
    monkeypatch.setattr(sys, "argv", ["inventory", str(tmp_path / "models.json")])
    assert inventory.main() == 1
    assert not (tmp_path / "models.json").exists()
    assert "onnxmodels is forbidden" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 3])
def test_the_file_is_what_the_api_server_lists(tmp_path, monkeypatch, count):
    async def listed():
        return [body(f"m{number}") for number in range(count)]

    monkeypatch.setattr(inventory, "_listed", listed)
    monkeypatch.setattr(sys, "argv", ["inventory", str(tmp_path / "models.json")])
    assert inventory.main() == 0
    assert len(json.loads((tmp_path / "models.json").read_text())["models"]) == count
