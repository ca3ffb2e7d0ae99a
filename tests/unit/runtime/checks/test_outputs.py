"""Outputs are what runs showed, whatever the file declares."""

from pathlib import Path

import pytest

from onnxmodel_runtime.contract.model import Tensor
from tests import models
from tests.unit.runtime.validate_support import FLOAT, X, Y, judged, relu


@pytest.mark.parametrize("part", ["type", "shape"])
def test_an_output_without_a_declaration_gets_what_is_computed(tmp_path: Path, part: str) -> None:
    made = models.model([relu()], X, Y)
    (made.graph.output[0] if part == "type" else made.graph.output[0].type.tensor_type).ClearField(part)
    result = judged(made, tmp_path)
    assert all(found.severity == "info" for found in result.findings)
    assert result.model.outputs == (Tensor("y", "FP32", (-1, 4)),)


def test_an_output_without_a_type_behind_what_onnx_cannot_infer(tmp_path: Path) -> None:
    made = models.trees()
    made.graph.output[1].ClearField("type")
    result = judged(made, tmp_path)
    assert result.model.outputs[1] == Tensor("probabilities", "FP32", (-1, -1))
    assert all(found.severity == "info" for found in result.findings)


def test_an_output_of_another_rank_than_declared(tmp_path: Path) -> None:
    result = judged(models.model([relu()], X, [("y", FLOAT, [1])]), tmp_path)
    assert [(found.id, found.severity) for found in result.findings] == [("ONNX-OUTPUT-SHAPE", "warning")]
    assert result.model.outputs == (Tensor("y", "FP32", (-1, 4)),)
