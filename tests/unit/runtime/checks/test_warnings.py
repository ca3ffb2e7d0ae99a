"""What is told of a model that is not refused for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxmodel_runtime.checks import allocation
from onnxmodel_runtime.reporting import tables
from tests import models
from tests.unit.runtime.validate_support import judged, refused


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
