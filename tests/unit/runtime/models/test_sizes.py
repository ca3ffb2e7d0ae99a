"""Sizes of dynamic axes: which ones made inputs get, and that every stage uses the same."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.outcome import Outcome, decode, encode
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.contract.validate import ModelFacts, ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import inputs, probefile, sizes
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.reporting import report
from onnxmodel_runtime.sandbox import termination
from onnxmodel_runtime.stages.benchmark import benchmark
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.validate import validate
from tests import models, unbatched


def validated(made: Any, directory: Path, **options: Any) -> ValidateResult:
    return validate(ValidateRequest(str(models.save(made, directory).parent), **options))


def rows_of_144() -> Any:
    """A reshape that makes rows of what it gets."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    weights = {"shape": np.array([-1, 144], np.int64), "w": np.ones((144, 5), np.float32)}
    return models.model(nodes, [("x", 1, ["n", "c", "h"])], [("y", 1, ["n", 5])], weights)


def test_made_sizes_are_blamed_before_the_graph(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="NoDynamicBatch") as caught:
        validated(rows_of_144(), tmp_path, sizes={"c": 48, "h": 48})
    assert "'y' has the shape [16, 5] for 1 row of input, with c 48, h 48" in caught.value.failure.message
    assert caught.value.failure.hint.startswith("If the model does not accept inputs with c 48, h 48, set spec.")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (models.mlp, {}),
        (models.recognizer, {"height": 48, "width": 48}),
        (models.audio, {"length": 512}),
        (rows_of_144, {"c": 12, "h": 12}),  # and not 48: one row of input would give 16 rows
        (models.anchors, {"height": 320, "width": 320}),
        (models.two_lengths, {"left": 40, "b[1]": 77}),
        (models.computed_length, {"length": 320}),
        (models.cache, {"past_seq": 16, "seq": 16}),  # and their sum, which is no axis of its own
    ],
)
def test_sizes_are_found_with_which_the_model_runs(tmp_path: Path, made: Any, expected: dict[str, int]) -> None:
    """By every command, each alone; what validate found is what the others are given."""
    asked = {"dynamic_batch": "Allowed"}
    found = validated(made(), tmp_path, **asked)
    assert found.findings == ()
    assert found.sizes == expected
    path = tmp_path / "model.onnx"
    alone = optimize(OptimizeRequest(str(path), digest(path), str(tmp_path / "alone"), variants=()))
    given = OptimizeRequest(str(path), digest(path), str(tmp_path / "given"), variants=(), sizes=found.sizes)
    assert Path(optimize(given).probe).read_bytes() == Path(alone.probe).read_bytes()
    assert alone.made_inputs


def test_every_stage_has_the_sizes_of_the_spec(tmp_path: Path) -> None:
    wanted = {"height": 64, "width": 96}
    found = validated(models.convolution(), tmp_path, sizes=wanted)
    assert found.sizes == wanted
    path, out = tmp_path / "model.onnx", tmp_path / "out"
    made = optimize(OptimizeRequest(str(path), digest(path), str(out), variants=(), sizes=found.sizes))
    assert probefile.read(Path(made.probe))[0]["x"].shape == (1, 3, 64, 96)
    candidate = Candidate("original", str(path), digest(path))
    asked = BenchmarkRequest(
        (candidate,), made.probe, (1, 2), (1,), seconds=0.01, windows=1, directory=str(tmp_path / "report")
    )
    measured = benchmark(asked)
    assert measured.sizes == wanted
    assert "All figures are of inputs with height 64, width 96" in (tmp_path / "report" / "report.html").read_text()
    assert report.read(tmp_path / "report").result.sizes == wanted


def test_golden_data_win(tmp_path: Path) -> None:
    row = np.random.default_rng(0).standard_normal((2, 3, 40, 50)).astype(np.float32)
    path = models.save(models.convolution(), tmp_path)
    (answer,) = models.answers(models.convolution(), {"x": row})
    np.savez(tmp_path / ".golden.npz", **{"input:x": row, "output:y": answer})
    found = validate(ValidateRequest(str(tmp_path), golden=Tolerance(), sizes={"height": 64}))
    assert (found.findings, found.sizes) == ((), {})
    made = optimize(OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), variants=(), golden=True))
    assert not made.made_inputs
    assert probefile.read(Path(made.probe))[0]["x"].shape == (1, 3, 40, 50)
    asked = BenchmarkRequest(
        (Candidate("original", str(path), digest(path)),), made.probe, (1,), (1,), seconds=0.01, windows=1
    )
    assert benchmark(asked).sizes == {"height": 40, "width": 50}


def test_where_no_size_fits_golden_data_are_named_first(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="InferenceFailed") as caught:
        validated(models.computed_length(8 * 7919), tmp_path)
    failure = caught.value.failure
    assert "with length 16 and with all other sizes that were tried" in failure.message
    assert failure.hint.startswith("Provide golden data (spec.validation.golden)")
    assert failure.hint.endswith("spec.validation.sizes; the dynamic axes are length.")


def test_a_size_that_does_not_run_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="InferenceFailed") as caught:
        validated(models.audio(), tmp_path, sizes={"length": 100})
    assert "with length 100: " in caught.value.failure.message


def test_a_size_of_no_dynamic_axis_is_refused(tmp_path: Path) -> None:
    for name in ("heigth", "n"):  # a slip, and the batch
        with pytest.raises(StageError, match="SizesWrong") as caught:
            validated(models.convolution(), tmp_path, sizes={name: 64})
        assert "dynamic axes are: height, width" in caught.value.failure.message
        assert caught.value.failure.field == "spec.validation.sizes"


def test_a_size_of_a_first_axis_is_used_where_that_is_no_batch(tmp_path: Path) -> None:
    wanted = {"samples": 512}
    with pytest.raises(StageError, match="SizesWrong") as caught:
        validated(unbatched.waveform(), tmp_path, sizes=wanted)
    assert "'samples' is a first axis, which counts as the batch" in caught.value.failure.message
    assert "spec.validation.batch: None" in caught.value.failure.hint
    path = tmp_path / "model.onnx"
    found = validate(ValidateRequest(str(tmp_path), sizes=wanted, batch="None"))
    assert (found.findings, found.sizes) == ((), wanted)
    asked = OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), variants=(), sizes=wanted, batch="None")
    assert probefile.read(Path(optimize(asked).probe))[0]["audio"].shape == (512,)


def test_what_runs_only_without_a_batch_has_none(tmp_path: Path) -> None:
    """A window of 400 samples, and one number for each 160: a single sample is too short."""
    made = unbatched.waveform(np.full((1, 1, 400), 0.01, np.float32), strides=[160])
    found = validated(made, tmp_path)
    assert [(each.id, each.severity) for each in found.findings] == [("ONNX-BATCH", "info")]
    assert found.sizes == {"samples": 400}
    assert found.unbatched.startswith("the model fails with one row: ")
    path = tmp_path / "model.onnx"
    asked = OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), variants=(), sizes=found.sizes)
    assert (optimize(asked).batch, validated(made, tmp_path, sizes={"samples": 16000}).sizes) == (
        "None",
        {"samples": 16000},
    )
    with pytest.raises(StageError, match="InferenceFailed") as caught:
        validated(made, tmp_path, sizes={"samples": 100})
    assert "100" not in caught.value.failure.message, "one row was run, and no 100 of them"


def test_the_image_size_of_the_exporter_is_the_usual_one() -> None:
    made = models.convolution()
    made.metadata_props.add(key="imgsz", value="[320, 640]")
    assert inputs.signature(made).axes == {"height": 320, "width": 640}
    made.metadata_props[0].value = "[0, 99999999]"
    assert inputs.signature(made).axes == {"height": 224, "width": 224}


@pytest.mark.parametrize(
    ("symbol", "size"),
    [
        ("a + b", 9),
        ("2*a - b", 3),
        ("a * b", 20),
        ("b - a", 1),
        ("a - b", 0),
        ("f(a)", 16),
        ("a +", 16),
        ("a" * 999, 16),
    ],
)
def test_axes_that_follow_from_others(symbol: str, size: int) -> None:
    nodes = [helper.make_node("Identity", ["z"], ["y"])]
    ends = [(name, TensorProto.FLOAT, ["n", axis]) for name, axis in (("x", "a"), ("w", "b"), ("z", symbol))]
    made = models.model(nodes, ends, [("y", TensorProto.FLOAT, ["n", "k"])], {})
    signed = inputs.signature(made, sizes={"a": 4, "b": 5})
    assert inputs.generate(signed, 2)["z"].shape == (2, size)


def counted(trips: int) -> Any:
    """It counts for a while."""
    made = models.endless("length")
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(trips, np.int64), "trips"))
    return made


def test_the_usual_sizes_run_for_as_long_as_they_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "_ONE_RUN_SECONDS", 1e-6)  # less than any run
    path = models.save(counted(100_000), tmp_path)
    signed = inputs.signature(onnx.load(path))
    found = sizes.settle(open_session(path, Providers()).session, signed, lambda: onnx.load(path))
    assert (found.error, found.searched, found.signed.sizes) == (None, False, {"length": 16})


@pytest.mark.parametrize("shape", [None, ["n", "length"]])
def test_memory_that_runs_out_ends_the_search(shape: Any, tmp_path: Path) -> None:
    """2**48 bytes for each number of the input: other sizes and ranks are no answer to that."""
    nodes = [
        helper.make_node("Size", ["x"], ["count"]),
        helper.make_node("Mul", ["count", "each"], ["numbers"]),
        helper.make_node("ConstantOfShape", ["numbers"], ["y"]),
    ]
    given, gives = [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, ["a"])]
    path = models.save(models.model(nodes, given, gives, {"each": np.array([2**46])}), tmp_path)
    session = open_session(path, Providers()).session
    with pytest.raises(Exception, match=r"(?i)failed to allocate|bad.alloc"):
        sizes.settle(session, inputs.signature(onnx.load(path)), lambda: onnx.load(path))


def test_a_run_of_the_search_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "_ONE_RUN_SECONDS", 0.05)
    monkeypatch.setattr(sizes, "_RUNS", 1)
    made = models.endless("length")  # and before that, a reshape that the usual size does not fit
    made.graph.node.insert(0, helper.make_node("Reshape", ["x", "rows"], ["wide"]))
    made.graph.node[1].input[2] = "wide"
    made.graph.initializer.append(numpy_helper.from_array(np.array([-1, 24], np.int64), "rows"))
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "wide"
    path = models.save(made, tmp_path)
    signed = inputs.signature(onnx.load(path))
    found = sizes.settle(open_session(path, Providers()).session, signed, lambda: onnx.load(path))
    assert found.searched
    assert "cannot be reshaped" in str(found.error), "what the usual sizes said, not that another run was stopped"


def test_a_result_carries_as_many_names_as_fit() -> None:
    many = {f"{'long' * 40}{index}": 16 for index in range(40)} | {"x" * 201: 16}
    kept = sizes.kept(many)
    assert len(kept) == 32
    assert max(map(len, kept)) <= 200
    facts = ModelFacts("0" * 64, 1, 8, 17, "", 1, 1, (), ())
    told = termination.fit(Outcome("validate", 1.0, ValidateResult(facts, sizes=kept)))
    assert encode(decode(told)) == told
