"""Classical models: operators of ai.onnx.ml, which ONNX's own inference cannot follow, of old opsets."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.contract.model import Tensor
from tests import models
from tests.unit.runtime.validate_support import FLOAT, X, judged, refused, relu, severities


def test_trees_of_an_old_opset_with_a_label_declared_as_one_element(tmp_path: Path) -> None:
    result = judged(models.trees(), tmp_path, max_batch_size=8)
    assert severities(result.findings) == dict.fromkeys(("ONNX-OPSET-LOW", "ONNX-TYPES", "ONNX-OUTPUT-SHAPE"), "info")
    opset, types, shape = result.findings
    assert "opset 9 of ai.onnx" in opset.message
    assert "TreeEnsembleClassifier of ai.onnx.ml" in types.message
    assert "nodes after them (1)" in types.message
    assert "'label' is declared with shape [1]" in shape.message
    assert result.model.outputs == (Tensor("label", "INT64", (-1,)), Tensor("probabilities", "FP32", (-1, 3)))


def test_a_column_pipeline(tmp_path: Path) -> None:
    result = judged(models.columns(), tmp_path)
    assert severities(result.findings) == {"ONNX-OPSET-LOW": "info", "ONNX-TYPES": "info"}
    assert "Imputer of ai.onnx.ml" in result.findings[1].message


@pytest.mark.parametrize("declared", [(1,), (-1,)])
def test_a_contract_may_name_a_shape_as_declared_or_as_served(tmp_path: Path, declared: tuple[int, ...]) -> None:
    outputs = (Tensor("label", "INT64", declared), Tensor("probabilities", "FP32", (-1, 3)))
    assert "ONNX-CONTRACT-OUTPUT" not in severities(judged(models.trees(), tmp_path, outputs=outputs).findings)


def test_zipmap_comes_before_what_is_smaller(tmp_path: Path) -> None:
    failure = refused(models.trees(zipmap=True), tmp_path).failure
    assert (failure.reason, "more: " in failure.message) == ("UnsupportedDatatype", False)
    assert "zipmap" in failure.hint


def test_who_asks_for_more_than_the_usual_opset_means_all_models(tmp_path: Path) -> None:
    failure = refused(models.trees(), tmp_path, opset_min=15).failure
    assert (failure.reason, failure.field) == ("OpsetTooLow", "spec.validation.opset.min")


def test_a_network_is_no_classical_model_and_the_hint_names_the_field(tmp_path: Path) -> None:
    nodes = [helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
             helper.make_node("InstanceNormalization", ["s", "w", "w"], ["y"])]  # fmt: skip
    wide = [("x", FLOAT, ["n", 4, 2])], [("y", FLOAT, ["n", 4, 2])]
    made = models.model(nodes, *wide, {"w": np.ones(4, np.float32)}, opset=9)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    failure = refused(made, tmp_path).failure
    assert failure.reason == "OpsetTooLow"
    assert "validation.opset.min: 9" in failure.hint


@pytest.mark.parametrize("layers", [1, 2])
def test_dense_layers_behind_a_label_encoder_are_a_network(layers: int, tmp_path: Path) -> None:
    nodes, last = [], "x"
    for index in range(layers):
        nodes += [helper.make_node("MatMul", [last, "w"], [f"m{index}"]), relu(f"m{index}", f"r{index}")]
        last = f"r{index}"
    nodes += [helper.make_node("ArgMax", [last], ["best"], axis=1, keepdims=0),
              helper.make_node("LabelEncoder", ["best"], ["y"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2, 3],
                               values_int64s=[4, 5, 6, 7])]  # fmt: skip
    made = models.model(nodes, X, [("y", TensorProto.INT64, ["n"])], {"w": np.eye(4, dtype=np.float32)}, opset=9, ir=6)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    if layers == 1:
        assert severities(judged(made, tmp_path).findings)["ONNX-OPSET-LOW"] == "info"
    else:
        assert refused(made, tmp_path).failure.reason == "OpsetTooLow"


def test_a_fault_behind_what_onnx_cannot_infer_is_a_fault(tmp_path: Path) -> None:
    nodes = [helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
             helper.make_node("Concat", ["s", "s"], ["c"], axis=1),
             helper.make_node("MatMul", ["x", "w"], ["y"], "wrong")]  # fmt: skip
    made = models.model(nodes, X, [("y", FLOAT, ["n", 2])], {"w": np.zeros((5, 2), np.float32)})
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    failure = refused(made, tmp_path).failure
    assert failure.reason == "ShapeInferenceFailed"
    assert "node name: wrong" in failure.message
    assert "Concat" not in failure.message


def test_a_fault_is_not_excused_by_another_node_without_a_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
             helper.make_node("MatMul", ["s", "good"], ["t"]),
             helper.make_node("MatMul", ["x", "bad"], ["u"]),
             helper.make_node("Add", ["t", "u"], ["y"])]  # fmt: skip
    weights = {"good": np.zeros((4, 2), np.float32), "bad": np.zeros((5, 2), np.float32)}
    made = models.model(nodes, X, [("y", FLOAT, ["n", 2])], weights)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    failure = refused(made, tmp_path).failure
    assert failure.reason == "ShapeInferenceFailed"
    assert "node name: u" in failure.message


@pytest.mark.parametrize(("columns", "fault"), [(4, ""), (5, "wrong")])
def test_a_fault_in_onnx_s_own_definition_excuses_no_other(columns: int, fault: str, tmp_path: Path) -> None:
    """Its inference cannot follow the function that it defines MeanVarianceNormalization by."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["wide"]),
        helper.make_node("MeanVarianceNormalization", ["wide"], ["even"], "normalize"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "wrong"),
    ]
    weights = {"w": np.zeros((columns, 4), np.float32), "axes": np.array([2, 3])}
    made = models.model(nodes, X, [("y", FLOAT, ["n", 4]), ("even", FLOAT, ["n", 4, 1, 1])], weights)
    if fault:
        failure = refused(made, tmp_path).failure
        assert (failure.reason, f"node name: {fault}" in failure.message) == ("ShapeInferenceFailed", True)
    else:
        (found,) = (each for each in judged(made, tmp_path).findings if each.id == "ONNX-TYPES")
        assert (found.severity, found.target) == ("info", "normalize")


def test_a_fault_that_onnx_cannot_see_is_seen_by_onnx_runtime(tmp_path: Path) -> None:
    nodes = [helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0]),
             helper.make_node("MatMul", ["s", "w"], ["y"], "wrong")]  # fmt: skip
    made = models.model(nodes, X, [("y", FLOAT, ["n", 2])], {"w": np.zeros((5, 2), np.float32)})
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    assert refused(made, tmp_path).failure.reason in ("SessionFailed", "InferenceFailed")
