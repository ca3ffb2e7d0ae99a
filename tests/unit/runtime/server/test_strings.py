"""Which models only hand on the strings that they are given."""

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.server import strings
from tests.unit.runtime import server_support as support

TEXT = helper.make_tensor("text", TensorProto.STRING, [1], [b"own"])
ZERO = helper.make_tensor("zero", TensorProto.INT64, [1], [0])


def node(kind: str, inputs: str, outputs: str = "u", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


BRANCH = helper.make_graph([node("Identity", "t", "v")], "branch", [], [support.tensor("v", "BYTES", None)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([node("Identity", "t")], True),
        ([node("Gather", "t zero", "a"), node("Unsqueeze", "a zero", "b"), node("Concat", "b b", axis=0)], True),
        ([node("Shape", "t", "s"), node("Identity", "t", "a"), node("Reshape", "a s")], True),
        ([node("Concat", "t text", axis=0)], False),
        ([node("Gather", "text zero")], False),
        ([node("StringNormalizer", "t")], False),
        ([node("Equal", "t text", "e"), node("Identity", "t")], False),
        ([node("Identity", "t", domain="com.example")], False),
        ([node("Identity", "a"), node("Identity", "t", "a")], False),
        ([node("Equal", "zero zero", "e"), node("If", "e", then_branch=BRANCH, else_branch=BRANCH)], False),
        ([node("Identity", "t text2")], False),
    ],
)
def test_handed_on(tmp_path: Path, nodes: list[Any], found: bool) -> None:
    path = support.save(
        tmp_path / "m.onnx",
        nodes,
        [support.tensor("t", "BYTES", ["n"])],
        [support.tensor("u", "BYTES", ["m"])],
        [TEXT, ZERO],
    )
    assert strings.handed_on(path) is found


def test_an_input_with_a_value_of_its_own(tmp_path: Path) -> None:
    given = [support.tensor(name, "BYTES", [1]) for name in ("t", "text")]
    path = support.save(
        tmp_path / "m.onnx", [node("Identity", "t")], given, [support.tensor("u", "BYTES", [1])], [TEXT]
    )
    assert not strings.handed_on(path)


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    assert not strings.handed_on(tmp_path / "missing.onnx")
    (tmp_path / "m.ort").write_bytes(b"\x08\0\0\0ORTM")
    assert not strings.handed_on(tmp_path / "m.ort")
