"""A model that needs more memory than the server may use is refused before it serves."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.checks import memory
from tests import models
from tests.unit.runtime.validate_support import FLOAT, X, Y, judged, refused, severities


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
