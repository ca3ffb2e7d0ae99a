"""Each check, on a model that has the defect."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.checks.file import file_kind
from onnxmodel_runtime.stages.validate import supported
from tests import models
from tests.unit.runtime.validate_support import X, Y, ids, judged, refused, relu


def test_other_negative_dimensions_than_minus_one_are_nothing(tmp_path: Path) -> None:
    made = models.model([relu()], X, Y)
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -7
    failure = refused(made, tmp_path).failure
    assert failure.reason == "GraphInvalid"
    assert "tensor 'x' is declared with shape [-7, 4]: -7 is not a valid size" in failure.message


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "empty"),
        ("html", "HTML page"),
        ("git_lfs_pointer", "Git LFS pointer"),
        ("zip", "zip archive"),
        ("random", "not an ONNX model"),
        ("text", "not an ONNX model"),
    ],
)
@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
def test_what_is_no_model(tmp_path: Path, kind: str, says: str, mode: str) -> None:
    failure = refused(models.NOT_MODELS[kind](), tmp_path, mode=mode).failure
    assert failure.reason == "NotOnnx"
    assert says in failure.message


@pytest.mark.parametrize(
    ("made", "reason", "says"),
    [
        (models.truncated, "ModelCorrupt", "truncated"),
        (models.old_opset, "OpsetTooLow", "opset 9 of ai.onnx, but at least 13"),
        (
            lambda: models.mlp(opset=supported()[0] + 1),
            "OpsetTooHigh",
            f"newest supported one is {supported()[0]}",
        ),
        (lambda: models.mlp(ir=supported()[1] + 1), "IrVersionTooHigh", f"at most {supported()[1]}"),
        (models.duplicate_output, "GraphInvalid", "tensor 'y' is written by node 'y' (Abs) and by node 'y' (Relu)"),
        (
            models.mismatched_shapes,
            "ShapeInferenceFailed",
            "shapes are inconsistent: (op_type:MatMul, node name: wrong",
        ),
        (models.mismatched_types, "ShapeInferenceFailed", "datatypes are inconsistent: (op_type:Relu, node name: relu"),
        (models.divides_by_zero, "ShapeInferenceFailed", "node name: overflow"),
        (models.sequence_output, "UnsupportedDatatype", "'y' is SEQUENCE"),
        (models.complex_numbers, "UnsupportedDatatype", "'x' is COMPLEX64"),
        (models.fixed_batch, "NoDynamicBatch", "input 'x' has the shape [1, 4]: its first axis is fixed to 1"),
        (models.baked_batch, "NoDynamicBatch", "fails with 3"),
        (models.hidden_batch, "NoDynamicBatch", "fails with 3"),
        (models.custom_operator, "UnsupportedOperator", "Sparkle of domain com.example; nodes: shiny"),
        (models.external_data, "ExternalDataInvalid", "'weights.bin' is missing"),
    ],
)
def test_defects_are_named(tmp_path: Path, made: Callable[[], Any], reason: str, says: str) -> None:
    failure = refused(made(), tmp_path).failure
    assert failure.reason == reason
    assert says in failure.message
    assert "zipmap" not in failure.hint, "no ZipMap is here"


def test_a_model_that_fails_at_its_own_batch_size_is_not_called_dynamic(tmp_path: Path) -> None:
    made = models.hidden_batch()
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    failure = refused(made, tmp_path, dynamic_batch="Allowed").failure
    assert failure.reason == "InferenceFailed"
    assert "Reshape" in failure.message


def test_random_operators_are_mentioned(tmp_path: Path) -> None:
    (finding,) = judged(models.random_noise(), tmp_path).findings
    assert (finding.id, finding.severity, finding.target) == ("ONNX-RANDOM", "warning", "noise")


def test_an_element_type_that_onnx_does_not_know(tmp_path: Path) -> None:
    made = models.mlp()
    made.graph.input[0].type.tensor_type.elem_type = 99
    assert refused(made, tmp_path).failure.reason in ("CheckerFailed", "ShapeInferenceFailed", "UnsupportedDatatype")
    result = judged(made, tmp_path, mode="Warn")
    assert result.model.inputs[0].datatype == "UNKNOWN"
    assert "ONNX-DATATYPE" in ids(result)


def test_a_rank_that_nothing_has_costs_no_time(tmp_path: Path) -> None:
    made = models.mlp()
    for dims in ([2**62] * 18, [3] * 80_000):
        tensor = made.graph.initializer.add(name=f"unused{len(dims)}", data_type=1)
        tensor.dims.extend(dims)
    assert refused(made, tmp_path).failure.reason == "TensorInvalid"


def test_a_type_that_native_code_stumbles_over(tmp_path: Path) -> None:
    made = models.mlp()
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["i"])], "g", [], [helper.make_tensor_value_info("i", -1, [1])]
    )
    made.graph.initializer.append(helper.make_tensor("cond", TensorProto.BOOL, [], [True]))
    made.graph.node.append(helper.make_node("If", ["cond"], ["unused"], then_branch=body, else_branch=body))
    assert refused(made, tmp_path).failure.reason in ("CheckerFailed", "ShapeInferenceFailed")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: path.symlink_to("/dev/null"), "a symbolic link"),
        (os.mkfifo, "a named pipe"),
        (Path.mkdir, "a folder"),
    ],
)
def test_what_is_no_regular_file_is_named_by_its_kind(
    make: Callable[[Path], object], kind: str, tmp_path: Path
) -> None:
    make(tmp_path / "model.onnx")
    (finding,) = file_kind(tmp_path / "model.onnx")
    assert finding.message == f"model.onnx is {kind}, not a regular file"
