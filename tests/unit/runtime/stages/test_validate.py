"""Every check, on a model that has the defect and on one that has not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from dev import magika
from onnxmodel_runtime.checks import CHECKS, allocation
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.validate import Finding, ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.reporting import tables
from onnxmodel_runtime.stages.validate import supported, validate
from tests import models


def judged(made: Any, directory: Path, **options: Any) -> ValidateResult:
    models.save(made, directory)
    return validate(ValidateRequest(str(directory), **options))


def refused(made: Any, directory: Path, **options: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        judged(made, directory, **options)
    assert caught.value.failure.hint
    assert not caught.value.retry
    return caught.value


def ids(result: ValidateResult) -> list[str]:
    return [finding.id for finding in result.findings]


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
        (models.mismatched_shapes, "ShapeInferenceFailed", "node name: wrong"),
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


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="there is no file"):
        validate(ValidateRequest(str(tmp_path)))


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "C:\\weights.bin", ""])
def test_external_data_never_escapes(tmp_path: Path, location: str) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\0" * 4096)
    failure = refused(models.external_data(location), tmp_path / "model").failure
    assert failure.reason == "ExternalDataInvalid"
    assert "outside" in failure.message


def test_external_data_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "secret")
    assert refused(models.external_data(), tmp_path / "model").failure.reason == "ExternalDataInvalid"


def test_external_data_is_whole(tmp_path: Path) -> None:
    models.save_external(tmp_path)
    failure = refused(models.external_data(length=10**12), tmp_path).failure
    assert failure.reason == "ExternalDataInvalid"
    assert "1000000000000" in failure.message


def test_external_data_hidden_in_a_subgraph_is_seen(tmp_path: Path) -> None:
    tensor = models.external_data("../x").graph.initializer[0]
    then = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "then",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [4, 8])],
    )
    made = models.mlp()
    made.graph.node.append(helper.make_node("If", ["scores"], ["unused"], then_branch=then, else_branch=then))
    assert refused(made, tmp_path).failure.reason == "ExternalDataInvalid"


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


def test_a_batch_axis_is_a_choice(tmp_path: Path) -> None:
    assert judged(models.fixed_batch(), tmp_path, dynamic_batch="Allowed").findings == ()


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


X = Tensor("x", "FP32", (-1, 4))
SCORES = Tensor("scores", "FP32", (-1, 3))


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        (
            (replace(X, name="y"),),
            (),
            ["input 'y' is declared; the model has x", "the model has input 'x', which is not declared"],
        ),
        ((replace(X, datatype="FP16"),), (), ["declared as FP16; in the model it is FP32"]),
        ((replace(X, shape=(-1, 5)),), (), ["declared with shape [-1, 5]; in the model [-1, 4]"]),
        ((replace(X, shape=(1, 4)),), (), ["declared with shape [1, 4]; in the model [-1, 4]"]),
        ((replace(X, shape=(-1,)),), (), ["declared with shape [-1]"]),
        ((), (replace(SCORES, name="logits"),), ["output 'logits'", "the model has output 'scores'"]),
        ((X,), (SCORES,), []),
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


def test_the_uri_is_what_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text('{"uri": "s3://models/m.onnx"}')
    assert judged(models.mlp(), tmp_path).uri == "s3://models/m.onnx"


def test_findings_are_bounded(tmp_path: Path) -> None:
    made = models.mlp()
    made.graph.input[0].name = "n" * 100_000
    made.graph.node[0].input[0] = "n" * 100_000
    result = judged(made, tmp_path, inputs=(X,), mode="Warn")
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


def test_an_element_type_that_onnx_does_not_know(tmp_path: Path) -> None:
    made = models.mlp()
    made.graph.input[0].type.tensor_type.elem_type = 99
    assert refused(made, tmp_path).failure.reason in ("CheckerFailed", "ShapeInferenceFailed", "UnsupportedDatatype")
    result = judged(made, tmp_path, mode="Warn")
    assert result.model.inputs[0].datatype == "UNKNOWN"
    assert "ONNX-DATATYPE" in ids(result)


def pinned(directory: Path, **options: Any) -> ValidateRequest:
    path = models.save_external(directory)
    return ValidateRequest(str(directory), sha256=digest(path), **options)


def test_weights_beside_a_pinned_model_are_pinned_or_said_not_to_be(tmp_path: Path) -> None:
    request = pinned(tmp_path)
    assert [f.severity for f in validate(request).findings if f.id == "ONNX-PIN"] == ["warning"]
    with pytest.raises(StageError) as caught:
        validate(replace(request, pin_all=True, mode="Warn"))
    assert caught.value.failure.reason == "NotPinned"
    files = {"weights.bin": digest(tmp_path / "weights.bin")}
    assert "ONNX-PIN" not in ids(validate(replace(request, pin_all=True, files=files)))
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(StageError) as caught:
        validate(replace(request, files=files))
    assert (caught.value.failure.reason, caught.value.failure.field) == ("DigestMismatch", "spec.source.files")


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


# ---- what is told of a model that is not refused for it --------------------------------------------------------------


def passed_on(*outputs: tuple[str, str, list[Any]], batch: str = "batch") -> Any:
    """A row for each row, and outputs by other operators: name, operator, declared shape."""
    nodes = [helper.make_node("Relu", ["x"], ["rows"])]
    for name, operator, _ in outputs:
        given = ["three"] if operator == "Identity" else ["x"]
        attributes = {"keepdims": 0} if operator == "ReduceSum" else {}
        nodes.append(helper.make_node(operator, given, [name], **attributes))
    kinds = {"NonZero": TensorProto.INT64}
    values = [(name, kinds.get(operator, TensorProto.FLOAT), shape) for name, operator, shape in outputs]
    rows = ("rows", TensorProto.FLOAT, [batch, 4])
    constant = {"three": np.ones(3, np.float32)} if any(kind == "Identity" for _, kind, _ in outputs) else {}
    return models.model(nodes, [("x", TensorProto.FLOAT, [batch, 4])], [*values, rows], constant)


@pytest.mark.parametrize(
    ("operator", "shape"),
    [("NonZero", [2, "n"]), ("NonZero", [1, "n"]), ("Identity", [3]), ("Identity", [1]), ("ReduceSum", [])],
)
def test_an_output_has_one_finding_about_its_rows(operator: str, shape: list[Any], tmp_path: Path) -> None:
    found = refused(passed_on(("y", operator, shape)), tmp_path).findings
    (error,) = [finding for finding in found if finding.id == "ONNX-BATCH"]
    assert (error.target, "for 1 row of input" in error.message) == ("y", True)
    assert not [finding for finding in found if "one row for each row" in finding.message]


def with_labels(text: str) -> Any:
    made = models.mlp()
    made.metadata_props.add(key="labels", value=text)
    return made


def sized_by_values(*, most: int = 0) -> Any:
    """Zeros in a shape that a request gives."""
    bound = [helper.make_node("Min", ["shape", "most"], ["sizes"])] if most else []
    nodes = [*bound, helper.make_node("ConstantOfShape", ["sizes" if most else "shape"], ["y"])]
    weights = {"most": np.array([most], np.int64)} if most else {}
    given, gives = [("shape", TensorProto.INT64, [2])], [("y", TensorProto.FLOAT, ["a", "b"])]
    return models.model(nodes, given, gives, weights)


def as_many_rows_as_asked() -> Any:
    """A Loop without a state, which scans a constant; its trip count is a request's."""
    weights = {"yes": np.array(True), "row": np.ones(1000, np.float32)}
    steps = [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Identity", ["row"], ["out"])]
    given = [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("on", 9, [])]
    gives = [helper.make_tensor_value_info("still", 9, []), helper.make_tensor_value_info("out", 1, [1000])]
    loop = helper.make_node("Loop", ["trips", "yes"], ["y"], body=helper.make_graph(steps, "body", given, gives))
    return models.model([loop], [("trips", TensorProto.INT64, [])], [("y", 1, ["a", 1000])], weights)


def sized_in_a_function() -> Any:
    """A function adds the shapes that it is given, of which the second is a request's; another one makes it."""
    domain, ops = "local", [helper.make_opsetid("", models.OPSET), helper.make_opsetid("local", 1)]
    fill = helper.make_node("ConstantOfShape", ["s"], ["o"], "filled")
    total = helper.make_node("Add", ["p", "q"], ["t"])
    call = helper.make_node("Fill", ["t"], ["o"], domain=domain)
    nodes = [helper.make_node("Both", ["one", "shape"], ["y"], domain=domain)]
    given, gives = [("shape", TensorProto.INT64, [2])], [("y", TensorProto.FLOAT, ["a", "b"])]
    made = models.model(nodes, given, gives, {"one": np.ones(2, np.int64)})
    made.opset_import.append(ops[1])
    made.functions.append(helper.make_function(domain, "Fill", ["s"], ["o"], [fill], ops))
    made.functions.append(helper.make_function(domain, "Both", ["p", "q"], ["o"], [total, call], ops))
    return made


def mel(bins: str = "bins") -> Any:
    floats = {name: np.array(value, np.float32) for name, value in (("low", 0), ("high", 8000))}
    weights = {**floats, "length": np.array(64), "rate": np.array(16000)}
    node = helper.make_node("MelWeightMatrix", [bins, "length", "rate", "low", "high"], ["y"])
    return models.model([node], [("bins", TensorProto.INT64, [])], [("y", TensorProto.FLOAT, ["a", "b"])], weights)


def clipped_by_attribute() -> Any:
    """Clip of an opset below 11 has its bounds in attributes."""
    nodes = [
        helper.make_node("Clip", ["length"], ["some"], min=0.0, max=64.0),
        helper.make_node("Cast", ["some"], ["sizes"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["sizes"], ["y"]),
    ]
    given, gives = [("length", TensorProto.FLOAT, [2])], [("y", TensorProto.FLOAT, ["a", "b"])]
    return models.model(nodes, given, gives, opset=10)


@pytest.mark.parametrize(
    ("made", "source", "node"),
    [
        (sized_by_values, "shape", "y"),
        (as_many_rows_as_asked, "trips", "y"),
        (sized_in_a_function, "shape", "filled"),
        (mel, "bins", "y"),
        (clipped_by_attribute, "", ""),
    ],
)
def test_sizes_that_a_request_decides(made: Callable[[], Any], source: str, node: str) -> None:
    model = made()
    ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [
        (finding.target, f"{source!r} determine the size" in finding.message) for finding in allocation.by_values(model)
    ]
    assert found == ([(node, True)] if node else [])


@pytest.mark.parametrize(
    ("made", "ids_", "says"),
    [
        (models.empty_axis, ["ONNX-EMPTY-AXIS"], "input 'nothing' has the shape [-1, 0]"),
        (
            sized_by_values,
            ["ONNX-MEMORY"],
            "values of input 'shape' determine the size of the output of node 'y' (ConstantOfShape)",
        ),
        (lambda: sized_by_values(most=64), [], ""),
        (lambda: with_labels('["cat", "dog"]'), ["ONNX-LABELS"], "'labels' is not used"),
        (lambda: with_labels("cat, dog"), ["ONNX-LABELS"], "'labels' is not used"),
        (lambda: with_labels('{"classes": ["cat"]}'), ["ONNX-LABELS"], "the model's outputs are scores"),
        (lambda: with_labels('{"scores": ["cat", "dog"]}'), ["ONNX-LABELS"], "has 3 values, but there are 2 labels"),
        (lambda: with_labels('{"scores": ["cat", "dog", "owl"]}'), [], ""),
    ],
)
def test_warnings(made: Callable[[], Any], ids_: list[str], says: str, tmp_path: Path) -> None:
    result = judged(made(), tmp_path, dynamic_batch="Allowed")
    assert [(finding.id, finding.severity) for finding in result.findings] == [(each, "warning") for each in ids_]
    assert not ids_ or says in result.findings[0].message


def test_whether_rows_may_be_joined_is_told(tmp_path: Path) -> None:
    joined = judged(models.mlp(), tmp_path)
    assert (joined.unbatched, joined.unjoined) == ("", "")
    assert "axis 0, as far as the graph shows; requests may be batched" in tables.text(joined)
    made = passed_on(("y", "CumSum", ["batch", 4]))
    made.graph.node[1].input.append("axis")
    made.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "axis"))
    summed = judged(made, tmp_path)
    assert "requests are not batched: rows of one batch influence each other" in tables.text(summed)
