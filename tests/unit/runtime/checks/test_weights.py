"""Constants that are not finite: which are a diverged weight, and which a mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests import models
from tests.unit.runtime.validate_support import FLOAT, X, Y, judged, refused, severities


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
