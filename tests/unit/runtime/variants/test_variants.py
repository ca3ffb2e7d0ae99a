"""Each variant, made by the real tools; and what happens when a tool does not do its work."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime import variants
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import Calibration, OptimizeRequest, Variant
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import graph, inputs
from onnxmodel_runtime.models.artifact import check_digest
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.stages import optimize
from onnxmodel_runtime.variants import RECIPES, VariantRequest, halves, layout, make, runtime, slim, subgraphs
from onnxmodel_runtime.variants.task import Task
from tests import models

ALL = tuple(RECIPES)


def request(made: Any, directory: Path, **options: Any) -> OptimizeRequest:
    path = models.save(made, directory)
    return OptimizeRequest(str(path), digest(path), str(directory / "out"), **options)


def variant(made: Any, directory: Path, name: str, **options: Any) -> Variant:
    """One variant, made in this process."""
    asked, work = request(made, directory, **options), directory / "out" / "work"
    work.mkdir(parents=True)
    outputs = tuple(graph.describe(value) for value in made.graph.output)
    _, cases = optimize.references(asked, inputs.signature(made), outputs, work)
    return make.make(VariantRequest(name, str(work), asked, cases))


def operators(found: Variant) -> set[str]:
    return {node.op_type for node in onnx.load(found.path).graph.node}


def calibrate(directory: Path, rows: int = 20) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / ".calibration.npz", x=np.random.default_rng(2).standard_normal((rows, 4)).astype(np.float32))


# ---- what each is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "passes", "has", "has_not"),
    [
        ("fp32", ["onnxslim", "onnxruntime"], {"SkipLayerNormalization"}, {"Erf"}),
        ("fused", ["onnxslim", "transformer-fusion"], {"Attention", "BiasGelu"}, {"Erf", "Softmax"}),
        ("fp16", ["onnxslim", "transformer-fusion", "float16"], {"Attention", "Cast"}, {"Softmax"}),
        ("int8-dynamic", ["onnxslim", "transformer-fusion", "dynamic-quantization"], {"QAttention"}, {"MatMul"}),
    ],
)
def test_a_transformer(tmp_path: Path, name: str, passes: list[str], has: set[str], has_not: set[str]) -> None:
    made = models.transformer()
    found = variant(made, tmp_path, name)
    assert [one.name for one in found.passes] == passes
    assert not any(one.note for one in found.passes)
    assert has <= operators(found)
    assert not has_not & operators(found)
    assert found.parity is not None
    assert found.parity.cosine > 0.999
    assert found.parity.passed or name == "int8-dynamic"
    assert ("range of the whole batch" in (found.unjoined or "")) == (name == "int8-dynamic")
    assert bool(found.unjoined) == (name == "int8-dynamic")
    assert found.nodes == found.passes[-1].nodes == len(onnx.load(found.path).graph.node)
    assert found.bytes == Path(found.path).stat().st_size
    assert layout.interface(onnx.load(found.path)) == layout.interface(made)
    assert found.bytes < made.ByteSize() / (2 if name in ("fp16", "int8-dynamic") else 1) + 2000


@pytest.mark.parametrize("name", ["fused", "int8-dynamic", "fp16"])
def test_what_does_not_fit_the_model(tmp_path: Path, name: str) -> None:
    """A model with nothing to fuse, to quantize, or to halve."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    made = models.model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])])
    found = variant(made, tmp_path, name)
    assert found.path == ""
    assert found.skipped == found.passes[-1].note
    assert {"fused": "not a transformer", "int8-dynamic": "no matrix", "fp16": "no FP32 weights"}[name] in found.skipped


@pytest.mark.parametrize(
    ("name", "providers", "level", "words"),
    [
        ("int4", ("CPU",), "All", "cannot build it"),
        ("fp32", ("CPU",), "None", "the graph level is None"),
        ("fused", ("TensorRT", "CUDA"), "All", "fuses attention by itself"),
        ("int8-dynamic", ("CUDA", "CPU"), "All", "CUDA does not run"),
        ("int8-static", ("CUDA", "CPU"), "All", "CUDA computes a quantized model in FP32"),
        ("int8-static", ("TensorRT", "CUDA"), "All", ""),
        ("ort", ("CUDA", "CPU"), "All", "ORT format"),
        *((name, ("CPU",), "All", "") for name in ALL),
    ],
)
def test_what_a_provider_cannot_use(name: str, providers: tuple[str, ...], level: str, words: str) -> None:
    asked = OptimizeRequest("m", "", "d", graph_level=level, providers=Providers(providers))
    why = variants.unsupported(name, asked)
    assert words in why
    assert bool(why) is bool(words)


def test_tensorrt_gets_standard_operators() -> None:
    assert variants.passes("fp16", Providers(("TensorRT", "CUDA"))) == ("onnxslim", "float16")


# ---- fp16 ------------------------------------------------------------------------------------------------------------


def island(size: float = 1e6) -> Any:
    """In the middle, numbers that FP16 does not have, read by two nodes; and a weight of that size."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Mul", ["m", "large"], ["grown"]),
        helper.make_node("Abs", ["grown"], ["a"]),
        helper.make_node("Neg", ["grown"], ["b"]),
        helper.make_node("Div", ["a", "large"], ["c"]),
        helper.make_node("Div", ["b", "large"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["y"]),
    ]
    random = np.random.default_rng(4)
    weights = {"w": random.standard_normal((4, 4)).astype(np.float32), "large": np.full(4, size, np.float32)}
    values = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])]
    return models.model(nodes, *values, weights)


def test_what_fp16_cannot_hold_stays_in_fp32(tmp_path: Path) -> None:
    found = variant(island(), tmp_path, "fp16")
    assert found.parity is not None
    assert found.parity.passed
    assert "nodes stay in FP32" in found.note
    model = onnx.load(found.path)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["large"] == TensorProto.FLOAT
    assert kinds["w"] == TensorProto.FLOAT16
    onnx.checker.check_model(model, full_check=True)


def test_what_fp16_can_hold_needs_no_island(tmp_path: Path) -> None:
    found = variant(island(size=2), tmp_path, "fp16")
    assert "stay in FP32" not in found.note
    assert "half the size, but not half the time" in found.note  # on the CPU


def test_an_output_can_be_an_island(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Mul", ["m", "large"], ["y"])]
    weights = {"w": np.eye(4, dtype=np.float32), "large": np.full(4, 1e6, np.float32)}
    made = models.model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])], weights)
    found = variant(made, tmp_path, "fp16")
    assert found.parity is not None
    assert found.parity.passed


def test_a_mask_may_be_cut_off(tmp_path: Path) -> None:
    """One number stands for minus infinity, and the lowest that FP16 has does that as well."""
    made = models.mlp()
    made.graph.initializer.append(helper.make_tensor("lowest", TensorProto.FLOAT, [], [-3e38]))
    assert halves._large_weights(made, tmp_path) == set()


# ---- int8 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["MinMax", "Entropy", "Percentile"])
def test_static_quantization(tmp_path: Path, method: str) -> None:
    calibrate(tmp_path)
    found = variant(
        models.mlp(), tmp_path, "int8-static", calibration=Calibration(method), calibration_data=str(tmp_path)
    )
    assert found.skipped == ""
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators(found)
    assert found.parity is not None
    assert found.parity.cosine > 0.98
    assert found.parity.top1 is not None


@pytest.mark.parametrize(
    ("name", "arrays", "words"),
    [
        ("", {}, "set spec.optimization.calibration.uri"),
        (".calibration.npz", {"x": np.zeros((2, 5), np.int64)}, "int64, but float32 in the model"),
        (".calibration.npz", {"z": np.zeros((2, 4), np.float32)}, "'z'"),
        (".calibration.npz", {"x": np.zeros((0, 4), np.float32)}, "has no rows"),
    ],
)
def test_calibration_data_that_are_none(tmp_path: Path, name: str, arrays: dict[str, Any], words: str) -> None:
    if name:
        np.savez(tmp_path / name, **arrays)
    found = variant(models.mlp(), tmp_path, "int8-static", calibration_data=str(tmp_path) if name else "")
    assert words in found.skipped
    assert found.path == ""


def test_a_model_of_one_batch_size_is_calibrated_row_by_row(tmp_path: Path) -> None:
    from onnxmodel_runtime.variants import samples

    calibrate(tmp_path, rows=5)
    asked = request(models.mlp(batch=2), tmp_path, calibration_data=str(tmp_path))
    assert [len(batch["x"]) for batch in samples.batches(asked, models.mlp(batch=2))] == [2, 2]


def test_a_pass_that_another_variant_left_and_that_cannot_be_loaded_is_left_out(tmp_path: Path) -> None:
    """fused ends with the fusion, and leaves what it made unseen; fp16 goes on from there."""
    made = models.transformer()
    asked, work = request(made, tmp_path), tmp_path / "out" / "work"
    work.mkdir(parents=True)
    outputs = tuple(graph.describe(value) for value in made.graph.output)
    _, cases = optimize.references(asked, inputs.signature(made), outputs, work)
    make.make(VariantRequest("fused", str(work), asked, cases))
    left = work / "onnxslim+transformer-fusion.onnx"
    broken = onnx.load(left, load_external_data=False)
    broken.graph.node[0].op_type = "NoSuchOperator"
    left.write_bytes(broken.SerializeToString())
    found = make.make(VariantRequest("fp16", str(work), asked, cases))
    assert found.skipped == ""
    assert "cannot process this model" in next(one.note for one in found.passes if one.name == "transformer-fusion")


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8-dynamic", "int8-static"])
def test_weights_of_subgraphs(tmp_path: Path, name: str) -> None:
    """They are in the file that serves, and what is inside of If and Loop stays in FP32."""
    made = models.branches()
    rows = inputs.generate(inputs.signature(made), 4)
    tmp_path.mkdir(exist_ok=True)
    np.savez(tmp_path / ".golden.npz", **{f"input:{key}": array for key, array in rows.items()})
    found = variant(made, tmp_path, name, golden=True, tolerance=Tolerance(0.5, 0.5, 0.9))
    assert found.skipped == ""
    assert found.parity is not None
    assert found.parity.passed
    (tmp_path / "alone").mkdir()
    served = Path(found.path).rename(tmp_path / "alone" / "model.onnx")
    open_session(served, Providers())
    if name == "fp16":
        assert "nodes inside If, Loop and Scan stay in FP32" in found.note
        assert found.parity.max_absolute < 0.05


@pytest.mark.parametrize(("name", "kept"), [("int8-dynamic", ["deep"]), ("int8-static", ["grouped", "deep"])])
def test_nodes_that_the_quantizer_would_spoil_stay_in_fp32(tmp_path: Path, name: str, kept: list[str]) -> None:
    made = models.unquantizable()
    rows = inputs.generate(inputs.signature(made), 4)
    np.savez(tmp_path / ".golden.npz", **{f"input:{key}": array for key, array in rows.items()})
    found = variant(made, tmp_path, name, golden=True)
    assert found.skipped == ""
    assert (
        f"cannot quantize stay in FP32 (weights of three or more axes, ConvTranspose with groups and a bias): {', '.join(kept)}"
        in (found.note)
    )


@pytest.mark.parametrize(
    ("made", "name", "words"),
    [
        (
            models.quantized(),
            "int8-dynamic",
            "the model is already quantized: node 'x_q' is QuantizeLinear; serve fp32",
        ),
        (
            models.unquantizable(alone=True),
            "int8-dynamic",
            "nothing is left to quantize; nodes that ONNX Runtime cannot quantize stay in FP32",
        ),
    ],
)
def test_what_cannot_be_quantized_says_why(tmp_path: Path, made: Any, name: str, words: str) -> None:
    assert words in variant(made, tmp_path, name).skipped


def test_a_quantized_upload_in_fp16(tmp_path: Path) -> None:
    """Scales of DequantizeLinear stay in FP32."""
    found = variant(models.quantized(), tmp_path, "fp16", graph_level="Basic")
    assert (found.skipped, {"QuantizeLinear", "DequantizeLinear"} - operators(found)) == ("", set())


def test_functions_are_inlined(tmp_path: Path) -> None:
    """Passes look into the main graph alone: what they say of it is then said of the whole model."""
    asked, work = request(models.with_function(), tmp_path), tmp_path / "work"
    work.mkdir()
    layout.lay_out(Path(asked.model), work / "original.onnx")
    made = layout.load(work / "original.onnx")
    assert len(made.functions) == 0
    assert {node.domain for node in made.graph.node} == {""}


def test_golden_data_calibrate_too(tmp_path: Path) -> None:
    x = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    np.savez(tmp_path / ".golden.npz", **{"input:x": x, "output:scores": models.answers(models.mlp(), {"x": x})[0]})
    assert variant(models.mlp(), tmp_path, "int8-static", golden=True).path


def test_no_more_rows_than_asked_for(tmp_path: Path) -> None:
    from onnxmodel_runtime.variants import samples

    calibrate(tmp_path, rows=20)
    asked = request(models.mlp(), tmp_path, calibration=Calibration(samples=11), calibration_data=str(tmp_path))
    assert [len(batch["x"]) for batch in samples.batches(asked, models.mlp())] == [8, 3]


# ---- ort -------------------------------------------------------------------------------------------------------------


def test_the_ort_format_comes_with_its_operators(tmp_path: Path) -> None:
    found = variant(models.mlp(), tmp_path, "ort")
    assert found.unjoined == ""  # by the graph that it is made of
    path = Path(found.path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.ort", "required_operators.config"]
    assert path.read_bytes()[4:8] == b"ORTM"
    assert (found.graph_level, found.nodes > 0) == ("None", True)
    assert open_session(path, Providers(), "None").session.get_inputs()[0].name == "x"
    text = (path.parent / "required_operators.config").read_text()
    assert text == "# what model.ort needs\nai.onnx;13;Gemm,Softmax\ncom.microsoft;1;FusedGemm\n"


def test_weights_that_are_inputs_by_an_old_rule(tmp_path: Path) -> None:
    made = models.mlp(opset=9, ir=3)
    for tensor in made.graph.initializer:
        made.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for name in ("fp32", "int8-dynamic"):
        found = variant(made, tmp_path / name, name)
        assert found.skipped == ""
        assert [value.name for value in onnx.load(found.path).graph.input] == ["x"]


# ---- large models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8-dynamic", "int8-static", "ort"])
def test_a_large_model_has_its_weights_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(layout, "EXTERNAL_ABOVE", 1)
    calibrate(tmp_path)
    found = variant(models.mlp(hidden=600), tmp_path, name, calibration_data=str(tmp_path))
    if name == "ort":
        assert "2 GiB" in found.skipped
        return
    assert bool(found.unjoined) == (name == "int8-dynamic")
    data = Path(found.path).with_name("model.onnx.data")
    assert found.bytes == Path(found.path).stat().st_size + data.stat().st_size
    assert found.parity is not None
    assert found.parity.cosine > 0.99
    check_digest(Path(found.path), found.sha256, found.data_sha256)
    with data.open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(StageError, match="with its weights has the sha256"):
        check_digest(Path(found.path), found.sha256, found.data_sha256)
    data.unlink()
    with pytest.raises(StageError, match=r"cannot read .*model\.onnx\.data"):
        check_digest(Path(found.path), found.sha256, found.data_sha256)


def test_weights_are_written_into_the_file_as_protobuf_would(tmp_path: Path) -> None:
    made = models.mlp(hidden=600)
    layout.save(models.mlp(hidden=600), tmp_path / "apart.onnx")
    assert (tmp_path / "apart.onnx").stat().st_size < (tmp_path / "apart.onnx.data").stat().st_size
    assert layout.size(layout.load(tmp_path / "apart.onnx")) == pytest.approx(made.ByteSize(), rel=0.02)
    whole = onnx.load(layout.publish(tmp_path / "apart.onnx", tmp_path / "out", external=False))
    by_name = {tensor.name: tensor for tensor in made.graph.initializer}
    assert {tensor.name: tensor for tensor in whole.graph.initializer} == by_name
    del whole.graph.initializer[:], made.graph.initializer[:]
    assert whole == made


# ---- tools that do not do their work ---------------------------------------------------------------------------------


def _raises(_: Task) -> str:
    raise RuntimeError("no such kernel")


def _other_answers(task: Task) -> str:
    made = models.mlp(seed=8)
    made.graph.node[3].op_type = "Neg"
    layout.save(made, task.target)
    return ""


def _other_interface(task: Task) -> str:
    made = layout.load(task.source)
    made.graph.input[0].name = made.graph.node[0].input[0] = "renamed"
    layout.save(made, task.target)
    return ""


def _nothing(task: Task) -> str:
    layout.save(layout.load(task.source), task.target)
    return ""


@pytest.mark.parametrize(
    ("broken", "note"),
    [
        (
            _raises,
            "onnxslim cannot process this model, so serve another variant: RuntimeError: no such kernel",
        ),
        (_other_answers, "its outputs differ from the original's: output 'scores' differs"),
        (_other_interface, "it changes the model's inputs or outputs"),
        (_nothing, "it changes nothing"),
    ],
)
def test_a_pass_that_does_harm_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Any, note: str
) -> None:
    monkeypatch.setattr(slim, "slim", broken)
    found = variant(models.mlp(), tmp_path, "fp32")
    assert found.passes[0].note.startswith(note)
    assert (found.passes[0].nodes, found.passes[1].note) == (7, "")
    assert found.parity is not None
    assert found.parity.passed


def test_a_wrong_variant_is_listed_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "optimize", _other_answers)
    found = variant(models.mlp(), tmp_path, "fp32")
    assert found.path
    assert found.parity is not None
    assert (found.parity.passed, found.parity.output) == (False, "scores")


def test_a_tool_that_kills_its_process_costs_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others still come, and the tool is not tried again for each of them."""
    fake = tmp_path / "fake" / "onnxslim"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(f"open({str(tmp_path / 'tries')!r}, 'a').write('x')\nimport os; os.abort()\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")]))
    result = optimize.optimize(request(models.mlp(), tmp_path, variants=("fp32", "int8-dynamic")))
    _, fp32, int8 = result.variants
    assert "SIGABRT" in fp32.passes[0].note
    assert fp32.parity is not None
    assert fp32.parity.passed
    assert "SIGABRT" in int8.passes[0].note
    assert int8.path
    assert (tmp_path / "tries").read_text() == "x"


def test_nodes_in_a_circle_are_not_dropped() -> None:
    nodes = [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    made = models.model(nodes, [("x", TensorProto.FLOAT, ["n"])], [("a", TensorProto.FLOAT, ["n"])])
    with pytest.raises(ValueError, match="in a cycle"):
        subgraphs.sort(made.graph)
    assert len(made.graph.node) == 2
