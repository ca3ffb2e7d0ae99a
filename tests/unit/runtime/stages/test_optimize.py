"""Variants, their proof, and the probe."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dev import magika
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import inputs, parity, probefile
from onnxmodel_runtime.models.artifact import data_digest
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.session import Loaded, open_session
from onnxmodel_runtime.stages import optimize
from onnxmodel_runtime.stages.validate import validate
from onnxmodel_runtime.variants import halves
from tests import models

TOLERANCE = Tolerance()


def optimized(made: Any, directory: Path, **options: Any) -> OptimizeResult:
    path = models.save(made, directory)
    return optimize.optimize(OptimizeRequest(str(path), digest(path), str(directory / "out"), **options))


def test_fp32_is_smaller_and_answers_the_same(tmp_path: Path) -> None:
    result = optimized(models.mlp(), tmp_path)
    original, fp32 = result.variants
    assert (original.name, original.path) == ("original", str(tmp_path / "model.onnx"))
    # As it serves, which is with ONNX Runtime's own optimization, against itself without any.
    assert original.parity is not None
    assert original.parity.passed
    assert (original.nodes, original.graph_level) == (7, "All")
    assert fp32.path == str(tmp_path / "out" / "fp32" / "model.onnx")
    assert fp32.sha256 == digest(Path(fp32.path))
    assert fp32.nodes < original.nodes  # MatMul + Add + Relu become one node
    assert fp32.parity is not None
    assert fp32.parity.passed
    assert fp32.parity.batch_sizes == (1, 3, 8)
    assert (result.provider.name, result.provider.share_percent) == ("CPU", 100.0)


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    """A server may have it open: a stage whose result was lost runs once more, in the same folder."""
    first = optimized(models.mlp(), tmp_path)
    inode = Path(first.variants[1].path).stat().st_ino
    assert optimized(models.mlp(), tmp_path, max_batch_size=8) == first
    assert Path(first.variants[1].path).stat().st_ino == inode
    Path(first.variants[1].path).write_bytes(b"damaged")
    assert optimized(models.mlp(), tmp_path) == first
    assert Path(first.variants[1].path).stat().st_ino != inode
    assert optimized(models.mlp(), tmp_path, tolerance=Tolerance(0.5)).variants[1].sha256 == first.variants[1].sha256
    assert optimized(models.mlp(), tmp_path, variants=("ort",)).variants[1].name == "ort"


def test_the_largest_batch_is_proven_and_changes_no_byte(tmp_path: Path) -> None:
    """Some numbers of 64 rows are too large for FP16, and none of 3: islands would come and go with a serving field."""
    scale = np.zeros((), np.float32)
    nodes = [helper.make_node("Mul", ["x", "scale"], ["big"]), helper.make_node("Mul", ["big", "small"], ["y"])]
    ends = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])]
    made = models.model(nodes, *ends, {"scale": scale, "small": np.full((2, 1, 4), 1e-3, np.float32)[0]})
    signed = inputs.signature(made)
    few, many = (float(np.abs(inputs.generate(signed, rows)["x"]).max()) for rows in (3, 64))
    assert many > few
    made.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((4,), 2 * halves._SEEN / (few + many), np.float32), "scale")
    )
    found = [
        optimized(made, tmp_path / str(most), variants=("fp16",), batch_sizes=(1, 3), max_batch_size=most).variants[1]
        for most in (0, 64)
    ]
    assert [variant.parity.batch_sizes for variant in found if variant.parity] == [(1, 3), (1, 3, 64)]
    assert found[0].sha256 == found[1].sha256
    assert "nodes stay in FP32" not in found[1].note


def test_answers_that_are_always_the_same_prove_nothing(tmp_path: Path) -> None:
    """Every made input is negative enough: Relu leaves zeros of everything, and any variant would agree."""
    nodes = [helper.make_node("Sub", ["x", "far"], ["low"]), helper.make_node("Relu", ["low"], ["zero"])]
    nodes.append(helper.make_node("MatMul", ["zero", "w"], ["y"]))
    ends = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 2])]
    made = models.model(nodes, *ends, {"far": np.full((4,), 100, np.float32), "w": np.ones((4, 2), np.float32)})
    (variant,) = optimized(made, tmp_path / "noise", variants=("int8-dynamic",)).variants[1:]
    assert variant.parity is not None
    assert (variant.parity.passed, variant.parity.max_absolute) == (False, 0.0)
    assert "provide spec.validation.golden" in variant.parity.note
    rows = np.array([[101, 102, 103, 104], [1, 2, 3, 400]], np.float32)
    models.save(made, tmp_path / "golden")
    np.savez(tmp_path / "golden" / ".golden.npz", **{"input:x": rows})
    (variant,) = optimized(made, tmp_path / "golden", variants=("ort",), golden=True).variants[1:]
    assert variant.parity is not None
    assert variant.parity.passed


def test_made_inputs_are_those_that_the_graph_knows() -> None:
    """An encoder of categories answers everything that it does not know alike."""
    cities, codes = ["Bern", "Oslo", "Rome"], [10, 20, 30]
    nodes = [
        helper.make_node(
            "LabelEncoder", ["city"], ["a"], domain="ai.onnx.ml", keys_strings=cities, values_floats=[1.0, 2, 3]
        ),
        helper.make_node(
            "LabelEncoder", ["code"], ["b"], domain="ai.onnx.ml", keys_int64s=codes, values_floats=[4.0, 5, 6]
        ),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    shape = ["n", 1]
    ends = [("city", TensorProto.STRING, shape), ("code", TensorProto.INT64, shape)], [("y", TensorProto.FLOAT, shape)]
    made = inputs.generate(inputs.signature(models.model(nodes, *ends, {})), 50)
    assert set(made["city"].ravel()) == set(cities)
    assert set(made["code"].ravel()) == set(codes)


def test_weights_beside_the_model_are_those_that_were_validated(tmp_path: Path) -> None:
    path = models.save_external(tmp_path)
    asked = OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), data_sha256=data_digest(path))
    assert validate(ValidateRequest(str(tmp_path))).data_sha256 == asked.data_sha256
    assert optimize.optimize(asked).variants[0].data_sha256 == asked.data_sha256
    (tmp_path / "weights.bin").write_bytes(bytes(reversed((tmp_path / "weights.bin").read_bytes())))
    with pytest.raises(StageError, match="with its weights"):
        optimize.optimize(asked)


@pytest.mark.parametrize(("asked", "left"), [("All", "All"), ("Extended", "None"), ("Basic", "None")])
def test_what_is_left_for_the_session(tmp_path: Path, asked: str, left: str) -> None:
    """Only "All" has something left: layouts for the processor that serves, which are not written into the file."""
    _, fp32 = optimized(models.mlp(), tmp_path, graph_level=asked).variants
    assert fp32.graph_level == left
    assert not any("nchwc" in node.domain for node in onnx.load(fp32.path).graph.node)


def test_what_cannot_be_made_says_why(tmp_path: Path) -> None:
    result = optimized(models.mlp(), tmp_path, graph_level="None", variants=("fp32", "int4"))
    assert [bool(variant.skipped) for variant in result.variants] == [False, True, True]
    assert "the graph level is None" in result.variants[1].skipped
    assert "cannot build it" in result.variants[2].skipped
    assert {variant.path for variant in result.variants[1:]} == {""}


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    """Also from another directory, in another process, with another hash seed."""
    first = optimized(models.mlp(), tmp_path / "a")
    path = models.save(models.mlp(), tmp_path / "b" / "deeper")
    code = (
        "import sys; from onnxmodel_runtime.stages.optimize import optimize; "
        "from onnxmodel_runtime.contract.optimize import OptimizeRequest; "
        "optimize(OptimizeRequest(*sys.argv[1:]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(path), digest(path), str(tmp_path / "b" / "out")],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "99"},
    )
    for name in ("fp32/model.onnx", "probe.npz"):
        assert (tmp_path / "a" / "out" / name).read_bytes() == (tmp_path / "b" / "out" / name).read_bytes()
    assert len(first.variants) == 2


def test_running_again_leaves_the_same(tmp_path: Path) -> None:
    assert optimized(models.mlp(), tmp_path) == optimized(models.mlp(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fp32", "manifest.json", "probe.npz"]


def test_external_data_become_part_of_the_file(tmp_path: Path) -> None:
    path = models.save_external(tmp_path)
    (original, fp32) = optimize.optimize(OptimizeRequest(str(path), digest(path), str(tmp_path / "out"))).variants
    assert original.bytes == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    assert [file.name for file in Path(fp32.path).parent.iterdir()] == ["model.onnx"]
    assert fp32.parity is not None
    assert fp32.parity.passed


def test_golden_data_are_what_variants_are_proven_on(tmp_path: Path) -> None:
    """As they are, and their rows at every batch size; made inputs are not needed."""
    x = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    (expected,) = models.answers(models.mlp(), {"x": x})
    np.savez(tmp_path / ".golden.npz", **{"input:x": x, "output:scores": expected})
    _, fp32 = optimized(models.mlp(), tmp_path, golden=True).variants
    assert fp32.parity is not None
    assert (fp32.parity.passed, fp32.parity.batch_sizes, fp32.parity.top1) == (True, (5, 1, 3, 8), 1.0)


def test_golden_data_that_are_gone(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="GoldenInvalid"):
        optimized(models.mlp(), tmp_path, golden=True)


def test_the_model_is_the_one_that_was_validated(tmp_path: Path) -> None:
    path = models.save(models.mlp(), tmp_path)
    with pytest.raises(StageError, match="DigestMismatch"):
        optimize.optimize(OptimizeRequest(str(path), "0" * 64, str(tmp_path / "out")))


def test_a_model_that_draws_random_numbers_cannot_be_proven(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="ProviderDisagrees") as caught:
        optimized(models.random_noise(), tmp_path)
    assert "random" in caught.value.failure.hint
    assert "graph level All and every lower one" in caught.value.failure.message


ENDS = np.where(np.random.default_rng(4).random((9, 32)) < 0.5, -6.4, 6.35).astype(np.float32)


@pytest.mark.parametrize(
    ("made", "row"),
    [
        (models.quantized(), inputs.generate(inputs.signature(models.quantized()), 3)),
        (models.quantized_product(), {"x": ENDS}),
    ],
    ids=["overflows anywhere", "overflows at the ends of its scale"],
)
def test_a_quantized_upload_is_served_at_the_highest_level_that_agrees(tmp_path: Path, made: Any, row: Any) -> None:
    """Which one that is depends on the processor: with VNNI, the fused operators do not overflow."""
    path = models.save(made, tmp_path)
    reference = open_session(path, Providers(), "None").session
    agreeing = next(
        level
        for level in optimize.LEVELS
        if parity.compare(
            {"y": open_session(path, Providers(), level).session.run(None, row)[0]},
            {"y": reference.run(None, row)[0]},
            TOLERANCE,
        ).passed
    )
    found = optimized(made, tmp_path, variants=("fp32", "ort"))
    original, fp32, ort = found.variants
    assert original.graph_level == agreeing
    assert original.parity is not None
    assert original.parity.passed
    assert (found.lowered == "") == (agreeing == "All")
    assert original.note == found.lowered
    assert ort.parity is not None  # made at that level, too
    assert ort.parity.passed
    assert fp32.skipped or fp32.graph_level in (agreeing, "None")


@pytest.mark.parametrize("agreeing", ["Extended", "Basic", "None"])
def test_levels_that_change_the_outputs_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agreeing: str
) -> None:
    """Above the level that agrees, ONNX Runtime is played by a session of another model."""
    other = models.save(models.mlp(seed=8), tmp_path / "other")
    wrong = optimize.LEVELS[: optimize.LEVELS.index(agreeing)]

    def opened(path: Path, providers: Providers, level: str = "All", **options: Any) -> Loaded:
        return open_session(other if level in wrong else path, providers, level, **options)

    monkeypatch.setattr(optimize, "open_session", opened)
    found = optimized(models.mlp(), tmp_path, variants=())
    assert found.variants[0].graph_level == agreeing
    assert found.lowered.startswith(f"graph level {agreeing} is used instead of All: on CPU, All changes")
    assert "output 'scores' differs by up to" in found.lowered
    assert optimized(models.mlp(), tmp_path, variants=()) == found  # read from the manifest


def test_a_model_of_one_batch_size(tmp_path: Path) -> None:
    result = optimized(models.mlp(batch=2), tmp_path)
    parity = result.variants[1].parity
    assert parity is not None
    assert parity.batch_sizes == (1,), "inferences"
    assert probefile.read(Path(result.probe))[0]["x"].shape == (2, 4)
    assert (result.batch, result.unbatched) == (
        "None",
        "input 'x' has the shape [2, 4]: its first axis is fixed to 2",
    )


# ---- inputs ----------------------------------------------------------------------------------------------------------


def test_indices_stay_in_their_table(tmp_path: Path) -> None:
    assert inputs.index_limits(models.embedding(10)) == {"ids": 10}
    made = inputs.generate(inputs.signature(models.embedding(10)), 50)["ids"]
    assert made.dtype == np.int32
    assert made.shape == (50, inputs.SEQUENCE)
    assert (made.min(), made.max()) == (0, 9)
    assert "serve the original" in optimized(models.embedding(10), tmp_path).variants[1].skipped


def test_integers_of_which_nothing_is_known_are_bytes() -> None:
    made = inputs.generate(inputs.signature(onnx.load(magika.model())), 4)["bytes"]
    assert made.shape == (4, 2048)
    assert 0 <= made.min() < 10
    assert 245 < made.max() < 256


def test_inputs_are_the_same_every_time() -> None:
    signed = inputs.signature(models.mlp())
    first, second = inputs.generate(signed, 8)["x"], inputs.generate(signed, 8)["x"]
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) == 8  # rows differ: a model that mixes them up would not be seen else


# ---- the probe file --------------------------------------------------------------------------------------------------


def test_the_probe_holds_one_row_and_its_answer(tmp_path: Path) -> None:
    given, expected = probefile.read(Path(optimized(models.mlp(), tmp_path, variants=()).probe))
    assert given["x"].shape == (1, 4)
    assert expected["scores"].shape == (1, 3)
    assert expected["scores"].sum() == pytest.approx(1)


def test_strings_travel_in_the_probe(tmp_path: Path) -> None:
    given, expected = probefile.read(Path(optimized(models.strings(), tmp_path, variants=()).probe))
    assert isinstance(given["text"][0, 0], str)
    np.testing.assert_array_equal(given["text"], expected["echo"])
    assert expected["is_zero"].dtype == np.bool_


def test_strings_of_any_kind(tmp_path: Path) -> None:
    texts = np.array([["", "ß"], ["a b", "語"]], dtype=object)
    probefile.write(tmp_path / "p.npz", {"a/b:c": texts}, {"n": np.zeros((0, 2), object)})
    given, expected = probefile.read(tmp_path / "p.npz")
    np.testing.assert_array_equal(given["a/b:c"], texts)
    assert expected["n"].shape == (0, 2)


def test_what_is_no_probe(tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(b"no")
    with pytest.raises(StageError, match="ProbeUnreadable"):
        probefile.read(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", **{"input:x": np.array([object()])}, allow_pickle=True)
    with pytest.raises(StageError, match="ProbeUnreadable"):
        probefile.read(tmp_path / "p.npz")


# ---- parity ----------------------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("got", "want", "passed"),
    [
        ([1.0, 2.0], [1.0, 2.0], True),
        ([1.0, 2.01], [1.0, 2.0], True),
        ([1.0, 2.03], [1.0, 2.0], False),
        ([0.0009, 0.0], [0.0, 0.0], True),
        ([NAN, 1.0], [NAN, 1.0], True),
        ([NAN, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [NAN, 1.0], False),
        ([INF, 1.0], [INF, 1.0], True),
        ([-INF, 1.0], [INF, 1.0], False),
        ([INF, 1.0], [1.0, 1.0], False),
    ],
)
def test_parity_of_floats(got: list[float], want: list[float], passed: bool) -> None:
    measured = parity.compare({"y": np.array(got, np.float32)}, {"y": np.array(want, np.float32)}, TOLERANCE)
    assert measured.passed is passed
    assert np.isfinite([measured.max_absolute, measured.max_relative, measured.cosine]).all()


@pytest.mark.parametrize(
    ("got", "want", "passed"),
    [
        (np.array([7]), np.array([7]), True),
        (np.array([1000]), np.array([1001]), False),
        (np.array([True]), np.array([False]), False),
        (np.array(["a"], object), np.array(["a"], object), True),
        (np.array(["a"], object), np.array(["b"], object), False),
        (np.zeros((2, 1), np.float32), np.zeros((1, 2), np.float32), False),
        (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), True),
    ],
)
def test_parity_of_other_things(got: Any, want: Any, passed: bool) -> None:
    measured = parity.compare({"y": got}, {"y": want}, TOLERANCE)
    assert measured.passed is passed
    assert bool(measured.note) is not passed


@pytest.mark.parametrize(
    ("got", "want", "top1"),
    [
        ([[1, 2], [4, 3]], [[1, 2], [3, 4]], 0.5),
        ([[1, 2]], [[2, 2]], 1.0),  # two classes are equally good
        ([[NAN, 2]], [[1, 2]], 0.0),
        ([[NAN, 2], [1, 2]], [[NAN, 2], [1, 2]], 1.0),
        ([[NAN, 2]], [[NAN, 2]], None),  # no row has a best class
        ([[1], [2]], [[1], [2]], None),  # one column is no choice
        ([1, 2], [1, 2], None),
        ([[[1, 2]]], [[[1, 2]]], None),
    ],
)
def test_the_best_class(got: Any, want: Any, top1: float | None) -> None:
    measured = parity.compare({"y": np.array(got, np.float32)}, {"y": np.array(want, np.float32)}, TOLERANCE)
    assert measured.top1 == top1


def test_the_best_class_is_that_of_the_output_that_has_most_to_lose() -> None:
    right, wrong = np.array([[0, 1]], np.float32), np.array([[1, 0]], np.float32)
    measured = parity.measure(
        lambda batch: {"a": right, "b": wrong if batch == 3 else right},
        lambda _: {"a": right, "b": right},
        (1, 3),
        TOLERANCE,
    )
    assert measured.top1 == 0.5
    assert "the top class matches in 50 % of the rows" in parity.explain(measured, TOLERANCE)


def test_direction_counts_beside_distance() -> None:
    """Every element is within tolerance of nothing, and the answer is upside down."""
    got, want = np.full(10, 0.0004, np.float32), np.full(10, -0.0004, np.float32)
    measured = parity.compare({"y": got}, {"y": want}, TOLERANCE)
    assert not measured.passed
    assert measured.cosine == -1


def test_the_worst_of_all_batch_sizes_is_named() -> None:
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    measured = parity.measure(
        lambda batch: {"a": zero, "b": one * (batch == 3)}, lambda _: {"a": zero, "b": zero}, (1, 3, 8), TOLERANCE
    )
    assert (measured.passed, measured.output, measured.max_absolute) == (False, "b", 1.0)
    assert "output 'b' differs by up to 1 absolute" in parity.explain(measured, TOLERANCE)


def test_a_long_name_of_an_output_is_cut_where_it_is_reported() -> None:
    """The report and the message are for people; what differs is said after the name."""
    wrong = {"y" * 8000: np.zeros((1, 2), np.float32)}
    found = parity.compare(wrong, {"y" * 8000: np.zeros((1, 3), np.float32)}, TOLERANCE)
    assert (found.passed, len(found.output)) == (False, 200)
    assert found.note.endswith("at batch size 1 has the shape [1, 2] instead of [1, 3]")


def test_a_classical_model_becomes_variants(tmp_path: Path) -> None:
    path = models.save(models.columns(), tmp_path / "source")
    request = OptimizeRequest(str(path), digest(path), str(tmp_path / "out"))
    original, fp32 = optimize.optimize(request).variants
    assert original.parity
    assert original.parity.passed
    assert fp32.skipped.startswith("no pass improved the graph")
