"""The stage: a model's facts, the order of its findings, its modes, and the pins and rules that hold in each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from dev import magika
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages.validate import validate
from tests import models
from tests.unit.runtime.validate_support import ids, judged, refused


def test_facts_of_a_good_model(tmp_path: Path) -> None:
    result = judged(models.mlp(), tmp_path)
    assert result.findings == ()
    facts = result.model
    assert facts.inputs == (Tensor("x", "FP32", (-1, 4)),)
    assert facts.outputs == (Tensor("scores", "FP32", (-1, 3)),)
    assert (facts.opset, facts.ir_version, facts.nodes, facts.parameters) == (17, 8, 7, 4 * 8 + 8 + 8 * 3 + 3)
    assert (facts.producer, facts.bytes) == ("tests", (tmp_path / "model.onnx").stat().st_size)
    assert len(facts.sha256) == 64


def test_facts_of_the_real_model() -> None:
    path = magika.model()
    facts = validate(ValidateRequest(str(path.parent))).model
    assert (facts.opset, facts.nodes, facts.parameters) == (15, 95, 784_519)
    assert facts.inputs == (Tensor("bytes", "INT32", (-1, 2048)),)
    assert facts.outputs == (Tensor("target_label", "FP32", (-1, 214)),)


@pytest.mark.parametrize("good", [models.embedding, models.strings, models.with_function, lambda: models.mlp(opset=13)])
def test_good_models(tmp_path: Path, good: Callable[[], Any]) -> None:
    assert judged(good(), tmp_path).findings == ()


def test_external_data_counts(tmp_path: Path) -> None:
    path = models.save_external(tmp_path)
    result = validate(ValidateRequest(str(tmp_path)))
    assert result.findings == ()
    assert result.model.bytes == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="there is no file"):
        validate(ValidateRequest(str(tmp_path)))


def test_further_findings_are_counted(tmp_path: Path) -> None:
    failure = refused(models.mlp(batch=1, opset=12), tmp_path).failure
    assert failure.reason == "NoDynamicBatch"
    assert "(2 more: ONNX-BATCH, ONNX-OPSET-LOW)" in failure.message


def test_warn_reports_and_lets_pass(tmp_path: Path) -> None:
    result = judged(models.mlp(batch=1, opset=12), tmp_path, mode="Warn")
    assert ids(result) == ["ONNX-BATCH", "ONNX-BATCH", "ONNX-OPSET-LOW"]
    assert {finding.severity for finding in result.findings} == {"error"}


def test_warn_never_loads_what_kills(tmp_path: Path) -> None:
    """This very process would die if it did."""
    assert "ONNX-SHAPES" in ids(judged(models.divides_by_zero(), tmp_path, mode="Warn"))


def test_the_bounds_of_the_opset_are_the_authors(tmp_path: Path) -> None:
    assert judged(models.mlp(opset=12), tmp_path, opset_min=12).findings == ()
    assert refused(models.mlp(opset=17), tmp_path, opset_max=16).failure.reason == "OpsetTooHigh"


def test_a_model_without_standard_operators_has_no_opset(tmp_path: Path) -> None:
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    made = models.model([node], [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])])
    del made.opset_import[:]
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    result = judged(made, tmp_path)
    assert (result.findings, result.model.opset) == ((), 0)


def test_the_uri_is_what_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text('{"uri": "s3://models/m.onnx"}')
    assert judged(models.mlp(), tmp_path).uri == "s3://models/m.onnx"


def test_findings_are_bounded(tmp_path: Path) -> None:
    made = models.mlp()
    made.graph.input[0].name = "n" * 100_000
    made.graph.node[0].input[0] = "n" * 100_000
    result = judged(made, tmp_path, inputs=(Tensor("x", "FP32", (-1, 4)),), mode="Warn")
    assert all(len(finding.message) <= 800 and len(finding.target) <= 200 for finding in result.findings)
    assert isinstance(result.findings[0], Finding)


@pytest.mark.parametrize(("pin", "fits"), [("", True), ("0" * 64, False), (None, True)])
@pytest.mark.parametrize("mode", ["Enforce", "Warn"])
def test_the_pin_is_compared_with_what_is_judged(tmp_path: Path, pin: str | None, fits: bool, mode: str) -> None:
    actual = digest(models.save(models.mlp(), tmp_path))
    if fits:
        wanted = actual.upper() if pin is None else pin
        assert judged(models.mlp(), tmp_path, sha256=wanted, mode=mode).model.sha256 == actual
        return
    failure = refused(models.mlp(), tmp_path, sha256=pin, mode=mode).failure
    assert (failure.reason, failure.field) == ("DigestMismatch", "spec.source.sha256")
    assert actual in failure.message
    assert "0" * 64 in failure.message


def test_numbers_that_no_int64_holds(tmp_path: Path) -> None:
    """Kubernetes refuses a status with them, again and again."""
    made = models.mlp()
    made.graph.initializer[0].dims[:] = [2**40, 2**40]
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -(2**63)
    made.ir_version = -1 & 0x7FFFFFFFFFFFFFFF
    facts = judged(made, tmp_path, mode="Warn").model
    assert (facts.parameters, facts.ir_version) == (2**63 - 1, 2**63 - 1)
    assert facts.inputs[0].shape == (-1, -1)


@pytest.mark.parametrize(
    ("made", "options", "reason"),
    [
        (models.old_opset, {"opset_floor": 13}, "OpsetTooLow"),
        (models.custom_operator, {}, "UnsupportedOperator"),
    ],
)
def test_the_platforms_rules_hold_in_any_mode(
    tmp_path: Path, made: Callable[[], Any], options: dict[str, Any], reason: str
) -> None:
    assert refused(made(), tmp_path, mode="Warn", **options).failure.reason == reason
