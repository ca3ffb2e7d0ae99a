"""What ONNX Runtime serves well is not refused, and is reported as what it is (docs/what-is-served.md)."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.checks import allocation, memory, run
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.validate import ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import ranks
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.repair import repair
from onnxmodel_runtime.reporting import tables
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.repository import repository as lay_out
from onnxmodel_runtime.stages.validate import validate
from tests import models
from tests.unit.runtime import server_support as support

FLOAT = TensorProto.FLOAT
X, Y = [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])]


def judged(made: Any, directory: Path, **options: Any) -> ValidateResult:
    models.save(made, directory)
    return validate(ValidateRequest(str(directory), **options))


def refused(made: Any, directory: Path, **options: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        judged(made, directory, **options)
    return caught.value


def severities(findings: Any) -> dict[str, str]:
    return {finding.id: finding.severity for finding in findings}


def relu(given: str = "x", into: str = "y") -> Any:
    return helper.make_node("Relu", [given], [into], f"relu-{into}")


# ---- classical models ------------------------------------------------------------------------------------------------


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


def test_a_classical_model_becomes_variants(tmp_path: Path) -> None:
    path = models.save(models.columns(), tmp_path / "source")
    request = OptimizeRequest(str(path), digest(path), str(tmp_path / "out"))
    original, fp32 = optimize(request).variants
    assert original.parity
    assert original.parity.passed
    assert fp32.skipped.startswith("no pass improved the graph")


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


# ---- constants -------------------------------------------------------------------------------------------------------


def test_nan_that_is_selected_is_no_diverged_weight(tmp_path: Path) -> None:
    found = severities(judged(models.nan_where_masked(), tmp_path).findings)
    assert found == {"ONNX-WEIGHTS-NAN": "info", "ONNX-RUN": "info"}


@pytest.mark.parametrize("values", [[np.nan, 1.0, 2.0, 3.0], [np.nan] * 4])
def test_nan_that_is_computed_with_is_one(tmp_path: Path, values: list[float]) -> None:
    nodes = [helper.make_node("Cast", ["b"], ["f"], to=FLOAT), helper.make_node("Add", ["x", "f"], ["y"], "add")]
    failure = refused(models.model(nodes, X, Y, {"b": np.array(values, np.float64)}), tmp_path).failure
    assert failure.reason == "WeightsInvalid"
    assert "node 'add' computes with it" in failure.message


def through(kind: str, *, add: bool) -> Any:
    """A bias of NaN goes into a branch or a body, and out of it; behind that it is added, or selected."""
    bias = {"bias": np.array([1, np.nan, 2, 3], np.float32)}
    value = helper.make_tensor_value_info

    def body(name: str, given: list[Any], read: str, *more: Any) -> Any:
        made = [
            helper.make_node("Identity", [read], [name]),
            *(helper.make_node("Identity", ["go"], ["on"]) for _ in more),
        ]
        return helper.make_graph(made, name, given, [*more, value(name, FLOAT, [4])])

    given = [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", FLOAT, [4])]
    going = value("on", TensorProto.BOOL, [])
    if kind == "If":
        nodes = [
            helper.make_node(
                "If", ["true"], ["b"], then_branch=body("t", [], "bias"), else_branch=body("e", [], "bias")
            )
        ]
    elif kind == "Loop":
        nodes = [helper.make_node("Loop", ["turns", "true", "bias"], ["b"], body=body("s", given, "state", going))]
    else:
        scanned = helper.make_graph(
            [helper.make_node("Identity", ["state"], ["s"]), helper.make_node("Identity", ["part"], ["p"])],
            "scan", [value("state", FLOAT, [4]), value("part", FLOAT, [4])], [value("s", FLOAT, [4]), value("p", FLOAT, [4])],
        )  # fmt: skip
        nodes = [helper.make_node("Scan", ["bias", "x"], ["b", "all"], body=scanned, num_scan_inputs=1)]
    if add:
        nodes.append(helper.make_node("Add", ["x", "b"], ["y"], "add"))
    else:
        nodes += [
            helper.make_node("Less", ["x", "zero"], ["hole"]),
            helper.make_node("Where", ["hole", "b", "x"], ["y"]),
        ]
    more = {"true": np.array(True), "turns": np.array(2, np.int64), "zero": np.zeros(1, np.float32)}
    return models.model(nodes, X, Y, {**bias, **more})


@pytest.mark.parametrize("kind", ["If", "Loop", "Scan"])
def test_nan_is_followed_through_branches_and_loops(kind: str, tmp_path: Path) -> None:
    failure = refused(through(kind, add=True), tmp_path / "add").failure
    assert failure.reason == "WeightsInvalid"
    assert "node 'add' computes with it" in failure.message
    assert severities(judged(through(kind, add=False), tmp_path / "select").findings)["ONNX-WEIGHTS-NAN"] == "info"


@pytest.mark.parametrize("mask", [np.nan, -np.inf])
def test_a_mask_excuses_only_the_outputs_that_it_reaches(mask: float, tmp_path: Path) -> None:
    """y is the square root of numbers of both signs; another output holds the mask, or y does, and it is infinity."""
    nodes = [
        helper.make_node("Sqrt", ["x"], ["root"]),
        helper.make_node("Greater", ["x", "limit"], ["far"]),
        helper.make_node("Where", ["far", "mask", "x"], ["z"]),
        helper.make_node("Where", ["far", "mask", "root"] if np.isinf(mask) else ["far", "x", "root"], ["y"]),
    ]
    constants = {"mask": np.array([mask], np.float32), "limit": np.array([1e9], np.float32)}
    made = models.model(nodes, X, [*Y, ("z", FLOAT, ["n", 4])], constants)
    found = [each for each in judged(made, tmp_path).findings if each.id == "ONNX-RUN"]
    assert [(each.target, each.severity) for each in found] == [("y", "warning")]


def test_nan_in_attributes_is_followed_to_the_node_that_holds_it(tmp_path: Path) -> None:
    """The same tensors again and again: which of them is whose must not depend on what is in memory."""
    nan = helper.make_tensor("", FLOAT, [1], [float("nan")])
    nodes = []
    for index in range(40):
        before, after = f"x{index}" if index else "x", f"x{index + 1}" if index < 39 else "y"
        nodes += [
            helper.make_node("Constant", [], [f"nan{index}"], f"constant{index}", value=nan),
            helper.make_node("IsNaN", [before], [f"hole{index}"]),
            helper.make_node("Where", [f"hole{index}", f"nan{index}", before], [after]),
        ]
    found = judged(models.model(nodes, X, Y), tmp_path).findings
    assert {(finding.id, finding.severity) for finding in found} == {("ONNX-WEIGHTS-NAN", "info")}
    nodes[-1] = helper.make_node("Add", ["nan39", "x39"], ["y"], "sum")
    failure = refused(models.model(nodes, X, Y), tmp_path).failure
    assert "node 'sum' computes with it" in failure.message


def test_an_infinite_mask_alarms_nobody(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "mask"], ["masked"]), helper.make_node("Softmax", ["masked"], ["y"])]
    mask = {"mask": np.array([0, 0, -np.inf, -np.inf], np.float32)}
    assert severities(judged(models.model(nodes, X, Y, mask), tmp_path).findings) == {"ONNX-WEIGHTS-INF": "info"}


# ---- text ------------------------------------------------------------------------------------------------------------


def test_a_locale_that_is_not_installed_is_named(tmp_path: Path) -> None:
    failure = refused(models.lower_case("xx_XX.UTF-8"), tmp_path).failure
    assert failure.reason == "SessionFailed"
    assert "node 'normalizer' (StringNormalizer) needs the locale 'xx_XX.UTF-8'" in failure.message
    assert failure.hint.startswith("Export with locale='en_US.UTF-8'. The runtime image has")
    default = run._session_finding(models.lower_case(), "construct locale with name:en_US.UTF-8:locale::facet")
    assert default.fix.startswith("The runtime image has en_US.UTF-8"), "it is exported with that already"


@pytest.mark.parametrize("locale", ["", "en_US", "en_US.UTF-8"])
def test_what_the_image_links_is_the_locale_that_texts_need(tmp_path: Path, locale: str) -> None:
    """The runtime image's Dockerfile makes this link where the C library looks for locales."""
    dockerfile = Path(__file__).parents[4] / "runtime-image" / "Dockerfile"
    assert "ln -s C.utf8 /usr/lib/locale/en_US" in dockerfile.read_text()
    if not Path("/usr/lib/locale/C.utf8").is_dir():
        pytest.skip("this machine has no /usr/lib/locale/C.utf8")
    (tmp_path / "locale").mkdir()
    (tmp_path / "locale" / "en_US").symlink_to("/usr/lib/locale/C.utf8")
    path = models.save(models.lower_case(locale), tmp_path)
    program = (
        "import sys, numpy, onnxruntime; session = onnxruntime.InferenceSession(sys.argv[1]);"
        "print(session.run(None, {'text': numpy.array(['ÀÉΣ Дж', 'Hello'], object)})[0].tolist())"
    )
    environment = {"LOCPATH": str(tmp_path / "locale"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "['àéσ дж', 'hello']", done.stderr


# ---- what ONNX Runtime repairs ---------------------------------------------------------------------------------------


def unsorted() -> Any:
    return models.model([relu("z", "y"), relu("x", "z")], X, Y)


def unnamed() -> Any:
    made = models.model([relu()], X, Y)
    made.graph.name = ""
    return made


def without_imports() -> Any:
    return models.model([helper.make_node("Gelu", ["x"], ["y"], "gelu", domain="com.microsoft")], X, Y)


def weights_that_are_no_inputs() -> Any:
    return models.mlp(ir=3)


def minus_one() -> Any:
    """As Paddle's exporter writes dynamic axes. onnx takes -1 for a size, and Concat for one that cannot be added."""
    nodes = [
        helper.make_node("Concat", ["x", "x"], ["wide"], "join", axis=1),
        helper.make_node("Relu", ["wide"], ["y"]),
    ]
    made = models.model(nodes, [("x", FLOAT, [-1, 4])], [("y", FLOAT, [-1, -1])])
    made.graph.value_info.append(helper.make_tensor_value_info("wide", FLOAT, [-1, -1]))
    return made


def several_at_once() -> Any:
    made = unsorted()
    made.graph.name = ""
    return made


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (unsorted, ["'relu-y' comes before a node whose output it reads"]),
        (unnamed, ["the graph has no name"]),
        (without_imports, ["no version of com.microsoft is imported"]),
        (weights_that_are_no_inputs, ["as IR version 3 requires"]),
        (minus_one, ["tensors declare axes of size -1 (3)"]),
        (several_at_once, ["has no name", "not in topological order"]),
    ],
)
def test_what_onnx_runtime_repairs_is_repaired_and_said(
    tmp_path: Path, make: Callable[[], Any], says: list[str]
) -> None:
    source = models.save(make(), tmp_path)
    before = digest(source)
    result = validate(ValidateRequest(str(tmp_path)))
    assert [(found.id, found.severity) for found in result.findings] == [("ONNX-REPAIRED", "info")] * len(says)
    for found, text in zip(result.findings, says, strict=True):
        assert text in found.message
    assert result.model.sha256 == before == digest(source), "the file that was fetched is the file that serves"


def test_a_repaired_model_is_what_variants_are_made_of(tmp_path: Path) -> None:
    made = models.mlp()
    nodes = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend(reversed(nodes))
    path = models.save(made, tmp_path / "source")
    original, fp32 = optimize(OptimizeRequest(str(path), digest(path), str(tmp_path / "out"))).variants
    assert original.path == str(path)
    assert not fp32.skipped
    onnx.checker.check_model(fp32.path)


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


def test_external_data_beside_a_repaired_model(tmp_path: Path) -> None:
    path = models.save_external(tmp_path)
    made = onnx.load(path, load_external_data=False)
    made.graph.name = ""
    path.write_bytes(made.SerializeToString())
    assert [found.id for found in validate(ValidateRequest(str(tmp_path))).findings] == ["ONNX-REPAIRED"]


def test_a_sound_model_is_left_as_it_is() -> None:
    made = models.transformer()
    before = made.SerializeToString()
    assert repair(made) == []
    assert made.SerializeToString() == before


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


# ---- no shape at all, and what the servers make of all that ----------------------------------------------------------


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


def within_a_function(made: Any) -> Any:
    """The same, with its nodes in a function."""
    graph, opsets = made.graph, [helper.make_opsetid("", 17)]
    ends = [value.name for value in graph.input if value.name == "x"], [value.name for value in graph.output]
    constants = [helper.make_node("Constant", [], [each.name], value=each) for each in graph.initializer]
    function = helper.make_function("own", "body", *ends, [*constants, *graph.node], opsets)
    del graph.node[:], graph.initializer[:]
    graph.node.append(helper.make_node("body", *ends, domain="own"))
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


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


@pytest.mark.parametrize("content", [b"", b"\x08", b"\x3a\xff\xff\xff\xff\x0f", b"ORTM" * 100, bytes(100)])
def test_files_that_are_no_models_have_no_unranked_inputs(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    assert ranks.unranked(tmp_path / "model") == frozenset()


@pytest.mark.parametrize("content", [b"", b"\x08", b"\x3a\xff\xff\xff\xff\x0f"])
def test_a_file_that_cannot_be_followed_counts_as_one_that_branches(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    assert ranks.branches(tmp_path / "model")


def expanding(size: str, *, optional: bool = False) -> Any:
    """y = x, as large as `size` says: "n", which a request holds, or what nodes and initializers make of it."""
    made = models.model(
        [
            helper.make_node("Add", ["n", "one"], ["sum"]),
            helper.make_node("Shape", ["n"], ["shape"]),
            helper.make_node("Mul", ["shape", "one"], ["product"]),
            helper.make_node("Constant", [], ["constant"], value_ints=[2]),
            helper.make_node("Expand", ["x", size], ["y"]),
            helper.make_node("Pad", ["sum", "constants"], ["z"]),
        ],
        [("x", FLOAT, [1]), ("n", TensorProto.INT64, [1])],
        [("y", FLOAT, ["k"]), ("z", TensorProto.INT64, [3])],
        {"one": np.array([1]), "constants": np.array([1, 1])},
    )
    if optional:
        made.graph.input.append(helper.make_tensor_value_info("one", TensorProto.INT64, [1]))
    return made


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (models.mlp(), False),
        (models.with_function(), False),
        (models.endless(), True),
        (within_a_function(models.endless()), True),
    ],
    ids=["plain", "function", "loop", "loop-in-a-function"],
)
def test_whether_a_file_branches(made: Any, expected: bool, tmp_path: Path) -> None:
    path, ort_path = models.save(made, tmp_path), tmp_path / "model.ort"
    assert ranks.branches(path) is expected
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(ort_path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert ranks.branches(ort_path) is expected


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        *((expanding(size), size in ("n", "sum")) for size in ("n", "sum", "one", "constant", "shape", "product")),
        (expanding("one", optional=True), True),
        (within_a_function(expanding("one")), False),
        (within_a_function(expanding("n")), True),
    ],
    ids=["n", "sum", "one", "constant", "shape", "product", "optional", "function", "n-in-a-function"],
)
def test_whether_values_decide_a_size(made: Any, expected: bool, tmp_path: Path) -> None:
    assert ranks.branches(models.save(made, tmp_path)) is expected


def test_what_may_take_any_memory_may_take_any_time() -> None:
    """What validation warns of never runs on the event loop."""
    for operator, read in allocation._SIZES.items():
        assert set(read) <= set(ranks._SIZES[operator.encode()]), operator


def test_labels_that_are_declared_as_one_element_are_served_for_each_row(tmp_path: Path) -> None:
    path = models.save(models.trees(), tmp_path)
    rows = np.array([[-1, 0, 0, 0], [1, 0, 0, 0], [-2, 0, 0, 0]], np.float32)
    with support.in_thread(support.request(path, max_batch_size=8, batch="First")) as server:
        _, body = support.call(server.ports[0], "GET", f"/v2/models/{path.stem}")
        assert [out["shape"] for out in json.loads(body)["outputs"]] == [[-1], [-1, 3]]
        answer = asked(server.ports[0], path.stem, {"X": rows})
    assert answer["label"].tolist() == [0, 2, 0]
    assert answer["probabilities"].shape == (3, 3)


# ---- dimensions and memory -------------------------------------------------------------------------------------------


def test_other_negative_dimensions_than_minus_one_are_nothing(tmp_path: Path) -> None:
    made = models.model([relu()], X, Y)
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -7
    failure = refused(made, tmp_path).failure
    assert failure.reason == "GraphInvalid"
    assert "tensor 'x' is declared with shape [-7, 4]: -7 is not a valid size" in failure.message


def allocates(count: int, *, at: str) -> Any:
    """As many floats. at "run": at each, for a caller decides it; "load": once; "sight": where shape inference sees it."""
    value = helper.make_tensor("value", FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing" if at == "run" else "zero", "count"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["wanted"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["shape" if at == "sight" else "wanted"], ["large"], "large", value=value),
        helper.make_node("ReduceMax", ["large"], ["top"], keepdims=0),
        helper.make_node("Mul", ["x", "top"], ["y"]),
    ]
    given = {
        "zero": np.zeros(1, np.float32),
        "count": np.array([count], np.float32),
        "shape": np.array([count], np.int64),
    }
    return models.model(nodes, X, Y, given)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (
            "sight",
            "node 'large' (ConstantOfShape) creates a tensor of 128.0 MiB (134217728 bytes), but there are 64.0 MiB",
        ),
        ("load", "loading the model needs "),
        ("run", "a run at batch size 1, "),
    ],
)
def test_what_needs_more_than_the_server_may_use(tmp_path: Path, at: str, says: str) -> None:
    failure = refused(allocates(2**25, at=at), tmp_path, serving_memory=64 << 20).failure
    assert failure.reason == "OutOfMemory"
    assert says in failure.message
    assert at == "sight" or "the server may use 64.0 MiB (67108864 bytes)" in failure.message
    enough = severities(judged(allocates(2**25, at=at), tmp_path, serving_memory=1 << 30).findings)
    assert enough.get("ONNX-MEMORY") == ("warning" if at == "run" else None), (
        "a request decides, as far as the graph tells"
    )


def test_a_larger_batch_that_needs_more_is_a_warning(tmp_path: Path) -> None:
    """Each row becomes a million numbers."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["wide"], "widen"),
        helper.make_node("Exp", ["wide"], ["grown"]),
        helper.make_node("ReduceMean", ["grown"], ["y"], axes=[1], keepdims=1),
    ]
    made = models.model(nodes, X, [("y", FLOAT, ["n", 1])], {"w": np.zeros((4, 1 << 20), np.float32)})
    (found,) = judged(made, tmp_path, serving_memory=128 << 20, max_batch_size=32).findings
    assert (found.id, found.severity) == ("ONNX-MEMORY", "warning")
    assert judged(made, tmp_path, serving_memory=1 << 30, max_batch_size=32).findings == ()


def test_what_earlier_runs_left_is_not_told_as_the_models_memory() -> None:
    footprint = memory.Footprint(1 << 20)
    assert not [*footprint.loaded()]
    left = np.ones(1 << 24)  # 128 MiB, as a session's arena keeps them
    footprint.running()
    (found,) = footprint.judge(3, alone=True)
    model, needed = re.findall(
        r"including ([\d.]+ \w+) for the loaded model, needs \S+ \S+ \((\d+) bytes\)", found.message
    )[0]
    assert int(needed) >= left.nbytes
    assert not re.match(r"\d{3}.* MiB", model), model


def test_this_onnx_runtime_repairs_what_is_said_to_be_repaired() -> None:
    """Should it stop to do so, a finding would say what is no longer true."""
    for make in (unsorted, unnamed, without_imports, weights_that_are_no_inputs, minus_one):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        ort.InferenceSession(make().SerializeToString(), options)
