"""What ONNX Runtime serves well is not refused, and is reported as what it is (docs/what-is-served.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import ranks
from onnxmodel_runtime.reporting import tables
from onnxmodel_runtime.stages.repository import repository as lay_out
from onnxmodel_runtime.stages.validate import validate
from tests import models
from tests.unit.runtime import server_support as support
from tests.unit.runtime.validate_support import FLOAT, X, Y, severities


def without_a_rank() -> Any:
    """y = x * 2, of whatever shape."""
    made = models.model([helper.make_node("Add", ["x", "x"], ["y"])], X, Y)
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.ClearField("shape")
    return made


def asked(port: int, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The answer's outputs over HTTP; of a refusal, the error."""
    given = [
        {"name": key, "datatype": "FP32", "shape": list(value.shape), "data": value.ravel().tolist()}
        for key, value in inputs.items()
    ]
    _, body = support.call(port, "POST", f"/v2/models/{name}/infer", json.dumps({"inputs": given}))
    answer = json.loads(body)
    if "error" in answer:
        return dict(answer)
    return {out["name"]: np.array(out["data"]).reshape(out["shape"]) for out in answer["outputs"]}


def test_an_input_of_any_rank(tmp_path: Path) -> None:
    path = models.save(without_a_rank(), tmp_path)
    result = validate(ValidateRequest(str(tmp_path), inputs=(Tensor("x", "FP32", (-1, 4)),)))
    assert severities(result.findings) == {"ONNX-INPUT-SHAPE": "info"}
    assert "x  FP32  any shape" in tables.text(result)
    assert result.unbatched == "input 'x' declares no shape"
    assert ranks.unranked(path) == {"x", "y"}
    with support.in_thread(support.request(path, max_batch_size=8)) as server:
        for shape in ((2, 4), (1, 1), (1,), (), (1, 2, 3)):
            given = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
            answer = asked(server.ports[0], path.stem, {"x": given})
            np.testing.assert_array_equal(answer["y"], given * 2)


def test_triton_says_that_it_needs_the_rank(tmp_path: Path) -> None:
    path = models.save(without_a_rank(), tmp_path / "model")
    with pytest.raises(StageError, match="input 'x' declares no shape, but Triton needs its number") as caught:
        lay_out(RepositoryRequest(support.request(path), str(tmp_path / "repository")))
    assert caught.value.failure.reason == "UnsupportedShape"


def test_scalars_are_no_inputs_of_any_rank(tmp_path: Path) -> None:
    made = models.model([helper.make_node("Add", ["x", "x"], ["y"])], [("x", FLOAT, [])], [("y", FLOAT, [])])
    path = models.save(made, tmp_path)
    assert ranks.unranked(path) == frozenset()
    with support.in_thread(support.request(path)) as server:
        assert "Expected []" in asked(server.ports[0], path.stem, {"x": np.zeros((2, 2), np.float32)})["error"]


def test_labels_that_are_declared_as_one_element_are_served_for_each_row(tmp_path: Path) -> None:
    path = models.save(models.trees(), tmp_path)
    rows = np.array([[-1, 0, 0, 0], [1, 0, 0, 0], [-2, 0, 0, 0]], np.float32)
    with support.in_thread(support.request(path, max_batch_size=8, batch="First")) as server:
        _, body = support.call(server.ports[0], "GET", f"/v2/models/{path.stem}")
        assert [out["shape"] for out in json.loads(body)["outputs"]] == [[-1], [-1, 3]]
        answer = asked(server.ports[0], path.stem, {"X": rows})
    assert answer["label"].tolist() == [0, 2, 0]
    assert answer["probabilities"].shape == (3, 3)
