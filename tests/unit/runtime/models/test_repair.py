"""What ONNX Runtime repairs is repaired before our checks read it, and said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.repair import repair
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.validate import validate
from tests import models
from tests.unit.runtime.validate_support import FLOAT, X, Y, relu


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


def test_this_onnx_runtime_repairs_what_is_said_to_be_repaired() -> None:
    """Should it stop to do so, a finding would say what is no longer true."""
    for make in (unsorted, unnamed, without_imports, weights_that_are_no_inputs, minus_one):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        ort.InferenceSession(make().SerializeToString(), options)
