"""Variants that compute with fewer bits are proven on more than a standard normal distribution."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeRequest, Variant
from onnxmodel_runtime.models import inputs
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages import optimize
from onnxmodel_runtime.variants import VariantRequest, halves, layout, make, quantize, wide
from onnxmodel_runtime.variants.task import Task
from tests import models

ENDS = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])]
REVERSED = np.array([3, 2, 1, 0])


def square() -> Any:
    """Of a standard normal distribution it stays below 65,504; of numbers ten times as large it does not.

    The CPU computes in FP32 whatever it can, a single Gather too. Two of them it runs in FP16.
    """
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Mul", ["m", "m"], ["squared"]),
        helper.make_node("Mul", ["squared", "large"], ["grown"]),
        helper.make_node("Gather", ["grown", "reversed"], ["turned"], axis=1),
        helper.make_node("Gather", ["turned", "reversed"], ["back"], axis=1),
        helper.make_node("Mul", ["back", "small"], ["y"]),
    ]
    eye, ones = np.eye(4, dtype=np.float32), np.ones(4, np.float32)
    return models.model(nodes, *ENDS, {"w": eye, "large": ones * 1000, "small": ones / 1000, "reversed": REVERSED})


def branches(*before: Any, at: float = 50, **constants: Any) -> Any:
    """Where an element, or what `before` makes of it as "c", is beyond `at`, it goes through other weights."""
    nodes = [
        *before,
        helper.make_node("Greater", ["c" if before else "x", "at"], ["beyond"]),
        helper.make_node("MatMul", ["x", "w"], ["near"]),
        helper.make_node("MatMul", ["x", "v"], ["far"]),
        helper.make_node("Where", ["beyond", "far", "near"], ["y"]),
    ]
    eye = np.eye(4, dtype=np.float32)
    weights = {"w": eye, "v": eye * 2, "at": np.float32(at)}
    weights |= {name: np.asarray(value, np.float32) for name, value in constants.items()}
    return models.model(nodes, *ENDS, weights)


def made(model: Any, directory: Path, name: str, **options: Any) -> Variant:
    path = models.save(model, directory)
    asked = OptimizeRequest(str(path), digest(path), str(directory / "out"), variants=(name,), **options)
    return optimize.optimize(asked).variants[1]


def cases(model: Any) -> dict[str, Any]:
    signed = inputs.signature(model)
    names = [value.name for value in model.graph.output]
    run = lambda given: dict(zip(names, models.answers(model, given), strict=True))  # noqa: E731
    return {
        name: (given, answers) for name, _, given, answers in wide.cases(signed, model, (1, 3, 8), Tolerance(), run)
    }


# ---- what must not pass ----------------------------------------------------------------------------------------------


def test_a_variant_that_overflows_beyond_small_numbers(tmp_path: Path) -> None:
    found = made(square(), tmp_path, "fp16")
    assert found.parity is not None
    assert not found.parity.passed
    assert found.parity.note.startswith(
        "on generated inputs that are 10 times as large, output 'y' at batch size 3 has NaN"
    )
    assert found.parity.note.endswith("provide them as golden data (spec.validation.golden)")
    assert found.parity.max_absolute < 0.1, "of the rows on which it agrees"


def test_golden_data_decide_alone(tmp_path: Path) -> None:
    """Who gives them says what the model gets."""
    tmp_path.mkdir(exist_ok=True)
    rows = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
    np.savez(tmp_path / ".golden.npz", **{"input:x": rows})
    found = made(square(), tmp_path, "fp16", golden=True)
    assert found.parity is not None
    assert found.parity.passed


@pytest.mark.parametrize(("name", "tool"), [("fp16", halves), ("int8-dynamic", quantize)])
def test_a_variant_that_differs_beyond_a_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, tool: Any
) -> None:
    """Its tool is played by one that spoils the weights of the other branch."""

    def spoil(task: Task) -> str:
        spoiled = branches()
        spoiled.graph.node[2].CopyFrom(helper.make_node("Neg", ["x"], ["far"]))
        layout.save(spoiled, task.target)
        return ""

    monkeypatch.setattr(tool, "convert" if name == "fp16" else "dynamic", spoil)
    path, work = models.save(branches(), tmp_path), tmp_path / "work"
    work.mkdir()
    asked = OptimizeRequest(str(path), digest(path), str(tmp_path), variants=(name,))
    _, cases = optimize.references(asked, inputs.signature(branches()), (), work)
    found = make.make(VariantRequest(name, str(work), asked, cases))
    assert found.parity is not None
    assert not found.parity.passed
    assert found.parity.max_absolute == 0, "below the threshold"
    assert "output 'y' differs by up to" in found.parity.note


def test_a_large_threshold_that_fp16_rounds(tmp_path: Path) -> None:
    """Above 2,048 FP16 has no odd numbers: 5,001 becomes 5,000."""
    model = branches(helper.make_node("Gather", ["x", "reversed"], ["c"], axis=1), at=5000)
    model.graph.initializer.append(numpy_helper.from_array(REVERSED, "reversed"))
    found = made(model, tmp_path, "fp16")
    assert found.parity is not None
    assert not found.parity.passed
    assert "on generated inputs that are around 5000, output 'y' differs" in found.parity.note


# ---- what must still pass --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [models.mlp(), models.transformer(), branches()], ids=["mlp", "transformer", "where"])
def test_ordinary_models_still_have_an_fp16_variant(tmp_path: Path, model: Any) -> None:
    found = made(model, tmp_path, "fp16")
    assert found.parity is not None
    assert found.parity.passed, found.parity.note


def test_a_regression_may_differ_by_as_much_as_its_answers_grow(tmp_path: Path) -> None:
    """Where terms cancel, an element is small beside the terms: 0.001 absolute is nothing beside answers of hundreds."""
    rng = np.random.default_rng(5)
    weights = {
        "w": rng.standard_normal((4, 64)).astype(np.float32),
        "v": rng.standard_normal((64, 4)).astype(np.float32),
    }
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["r"])]
    nodes.append(helper.make_node("MatMul", ["r", "v"], ["y"]))
    found = made(models.model(nodes, *ENDS, weights), tmp_path, "fp16", tolerance=Tolerance(absolute=0.02))
    assert found.parity is not None
    assert found.parity.passed, found.parity.note


def test_int8_dynamic_is_judged_on_them_too(tmp_path: Path) -> None:
    found = made(models.mlp(), tmp_path, "int8-dynamic", tolerance=Tolerance(0.1, 0.05, 0.99))
    assert found.parity is not None
    assert found.parity.passed, found.parity.note


def test_no_byte_and_no_other_variant_depends_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_rows = made(square(), tmp_path / "a", "fp16")
    monkeypatch.setattr(optimize, "WIDE", ())
    without = made(square(), tmp_path / "b", "fp16")
    assert without.parity is not None
    assert without.parity.passed
    assert (with_rows.sha256, with_rows.note) == (without.sha256, without.note)
    path, work = models.save(square(), tmp_path / "c"), tmp_path / "c" / "work"
    work.mkdir()
    monkeypatch.undo()
    for names in (("fp32", "fused", "int8-static", "ort"), ("fp16",)):
        asked = OptimizeRequest(str(path), digest(path), str(tmp_path / "c"), variants=names)
        _, cases = optimize.references(asked, inputs.signature(square()), (), work)
        assert bool(cases.wide) == ("fp16" in names)


# ---- which rows ------------------------------------------------------------------------------------------------------


def test_larger_numbers_integers_and_both_sides_of_a_threshold() -> None:
    found = cases(branches())
    assert list(found) == ["10 times as large", "100 times as large", "integers up to 255"] + [
        f"{where} 50" for where in ("above", "below", "around")
    ]
    given = {name: inputs_["x"] for name, (inputs_, _) in found.items()}
    small = inputs.generate(inputs.signature(branches()), 3)["x"]
    np.testing.assert_allclose(given["100 times as large"], small * 100, rtol=1e-6)
    assert (given["integers up to 255"] % 1 == 0).all()
    assert given["above 50"].min() > 50 > given["below 50"].max()
    assert set(given["around 50"].ravel()) == {49, 50, 51}
    again = {name: inputs_["x"] for name, (inputs_, _) in cases(branches()).items()}
    for name, array in given.items():
        np.testing.assert_array_equal(array, again[name])


def test_integers_of_which_nothing_is_known_grow_and_indices_do_not() -> None:
    nodes = [helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT)]
    count = [("i", TensorProto.INT8, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])]
    made_of = cases(models.model(nodes, *count, {}))
    assert list(made_of) == ["10 times as large", "100 times as large"]
    assert made_of["100 times as large"][0]["i"].max() == 127
    assert cases(models.embedding(10)) == {}


def test_what_the_original_cannot_answer_proves_nothing() -> None:
    """It overflows itself; or it draws a line through the rows, and a small change puts them on the other side."""
    grown = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Exp", ["e"], ["y"])]
    assert "100 times as large" not in cases(models.model(grown, *ENDS, {}))
    parity = [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Sin", ["m"], ["y"])]
    assert cases(models.model(parity, *ENDS, {"k": np.full(4, 1e5, np.float32)})) == {}


@pytest.mark.parametrize(
    ("before", "constants", "expected"),
    [
        ([], {}, wide.Threshold("x", 50, True)),
        ([helper.make_node("Identity", ["x"], ["c"])], {}, wide.Threshold("x", 50, True)),
        ([helper.make_node("Mul", ["x", "k"], ["c"])], {"k": 2}, wide.Threshold("x", 25, False)),
        ([helper.make_node("Sub", ["k", "x"], ["c"])], {"k": 2}, wide.Threshold("x", -48, False)),
        (
            [helper.make_node("Sub", ["x", "m"], ["s"]), helper.make_node("Div", ["s", "k"], ["c"])],
            {"m": [10, 20, 30, 40], "k": 2},
            wide.Threshold("x", 130, False),
        ),
        ([helper.make_node("MatMul", ["x", "w"], ["c"])], {}, wide.Threshold("x", 50, False)),
    ],
)
def test_thresholds_as_the_input_has_them(
    before: list[Any], constants: dict[str, Any], expected: wide.Threshold
) -> None:
    assert wide.thresholds(branches(*before, **constants), {"x"}) == [expected]


def test_clip_and_many_thresholds() -> None:
    nodes = [helper.make_node("Clip", ["x", "", "high"], ["y"])]
    clip = models.model(nodes, *ENDS, {"high": np.float32(6)})
    assert wide.thresholds(clip, {"x"}) == [wide.Threshold("x", 6, True)]
    assert wide.thresholds(clip, set()) == []
    nodes = [helper.make_node("Max", ["x", f"c{i}"], [f"m{i}"]) for i in range(40)]
    nodes.append(helper.make_node("Sum", [f"m{i}" for i in range(40)], ["y"]))
    many = models.model(nodes, *ENDS, {f"c{i}": np.float32(i) for i in range(40)})
    assert [found.value for found in wide.thresholds(many, {"x"})] == [0, 6, 11, 17, 22, 28, 33, 39]
    endless = models.model([helper.make_node("Max", ["x", "c"], ["y"])], *ENDS, {"c": np.float32("inf")})
    assert wide.thresholds(endless, {"x"}) == []


# ---- a quantized model's own scales ----------------------------------------------------------------------------------


def scaled(zero: Any = 0, before: str = "", **attributes: Any) -> Any:
    """x, perhaps halved, quantized with a scale of 0.5."""
    nodes = [helper.make_node("Mul", ["x", "half"], ["c"])] if before else []
    quantize = ["c" if before else "x", "scale", *([] if zero is None else ["zero"])]
    nodes += [
        helper.make_node("QuantizeLinear", quantize, ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", *quantize[1:]], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "large"], ["again"]),
        helper.make_node("DequantizeLinear", ["again", "large"], ["y"]),
    ]
    weights = {"scale": np.float32(0.5), "half": np.float32(0.5), "large": np.float32(9)}
    return models.model(nodes, *ENDS, {**weights, **({} if zero is None else {"zero": zero})}, opset=21)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (scaled(np.int8(0)), {"x": (-64.0, 63.5)}),
        (scaled(np.uint8(128)), {"x": (-64.0, 63.5)}),
        (scaled(None), {"x": (0.0, 127.5)}),
        (scaled(None, output_dtype=TensorProto.INT16), {"x": (-16384.0, 16383.5)}),
        (scaled(np.int8(0), "Mul"), {"x": (-128.0, 127.0)}),
        (models.quantized_product(), {"x": (pytest.approx(-6.4), pytest.approx(6.35))}),
        (models.mlp(), {}),
    ],
)
def test_the_range_of_a_scale_is_followed_back_to_the_input(made: Any, found: Any) -> None:
    assert wide.ranges(made, {"x"}) == found
