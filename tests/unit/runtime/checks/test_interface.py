"""Inputs and outputs, held against the declared contract and the batch axis."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from onnxmodel_runtime.checks import CHECKS
from onnxmodel_runtime.contract.model import Tensor
from tests import models
from tests.unit.runtime.validate_support import FLOAT, X, Y, judged, refused


def test_a_weight_that_callers_may_override_is_neither_refused_nor_required(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "bias"], ["y"])]
    made = models.model(nodes, [*X, ("bias", FLOAT, [4])], Y, {"bias": np.ones(4, np.float32)})
    result = judged(made, tmp_path)
    assert (result.findings, [value.name for value in result.model.inputs]) == ((), ["x"])
    both = (Tensor("x", "FP32", (-1, 4)), Tensor("bias", "FP32", (4,)))
    for declared in (both, both[:1]):
        assert judged(made, tmp_path, inputs=declared).findings == ()
    wrong = (both[0], Tensor("bias", "FP32", (5,)))
    assert refused(made, tmp_path, inputs=wrong).failure.reason == "ContractMismatch"


def test_a_batch_axis_is_a_choice(tmp_path: Path) -> None:
    assert judged(models.fixed_batch(), tmp_path, dynamic_batch="Allowed").findings == ()


INPUT = Tensor("x", "FP32", (-1, 4))
SCORES = Tensor("scores", "FP32", (-1, 3))


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        (
            (replace(INPUT, name="y"),),
            (),
            ["input 'y' is declared; the model has x", "the model has input 'x', which is not declared"],
        ),
        ((replace(INPUT, datatype="FP16"),), (), ["declared as FP16; in the model it is FP32"]),
        ((replace(INPUT, shape=(-1, 5)),), (), ["declared with shape [-1, 5]; in the model [-1, 4]"]),
        ((replace(INPUT, shape=(1, 4)),), (), ["declared with shape [1, 4]; in the model [-1, 4]"]),
        ((replace(INPUT, shape=(-1,)),), (), ["declared with shape [-1]"]),
        ((), (replace(SCORES, name="logits"),), ["output 'logits'", "the model has output 'scores'"]),
        ((INPUT,), (SCORES,), []),
    ],
)
def test_every_difference_from_the_contract(
    tmp_path: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], says: list[str]
) -> None:
    result = judged(models.mlp(), tmp_path, inputs=inputs, outputs=outputs, mode="Warn")
    assert len(result.findings) == len(says)
    for finding, text in zip(result.findings, says, strict=True):
        assert text in finding.message
        assert CHECKS[finding.id].reason == "ContractMismatch"
