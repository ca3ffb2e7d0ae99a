"""What a file tells without being loaded: inputs of any rank, branches, and sizes that values decide."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.checks import allocation
from onnxmodel_runtime.models import ranks
from tests import models
from tests.unit.runtime.validate_support import FLOAT


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
