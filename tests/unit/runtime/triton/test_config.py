"""The configuration for Triton: golden files, rules and refusals, and the real tritonserver's own reading of all of it."""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as pb

from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.providers import PROVIDERS, Providers
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages.repository import repository as lay_out
from onnxmodel_runtime.triton import config as configs
from onnxmodel_runtime.triton.accelerators import accelerators
from tests.triton.server import Triton, load_log, serving
from tests.unit.runtime import server_support as support
from tests.unit.runtime.triton import cases

X, Y = Tensor("x", "FP32", (-1, 3)), Tensor("y", "FP32", (-1, 3))


def made(request: ServeRequest | None = None, inputs: Any = (X,), outputs: Any = (Y,), **more: Any) -> Any:
    return configs.build(request or served(), inputs, outputs, **more)


def served(*names: str, options: dict[str, dict[str, str]] | None = None, **fields: Any) -> ServeRequest:
    providers = Providers(names or ("CPU",), options=options or {})
    return ServeRequest("m", "/artifacts/optimize/m/model.onnx", "0" * 64, providers=providers, **fields)


# ---- golden files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.CASES)
def test_golden(name: str, tmp_path: Path) -> None:
    rendered = cases.rendered(name, tmp_path)
    assert rendered == cases.golden(name).read_text(), "python -m tests.unit.runtime.triton.cases writes them again"


def test_there_is_no_golden_file_without_a_case() -> None:
    assert {path.stem for path in cases.GOLDEN.iterdir()} == set(cases.CASES)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One tritonserver with the model of every case in it. There is no GPU here: their instances run on the CPU."""
    folder = tmp_path_factory.mktemp("cases")
    for name, case in cases.CASES.items():
        asked = cases.request(name, case, folder / "models" / name)
        lay_out(dataclasses.replace(asked, directory=str(folder / "repository")))
        message = text_format.Parse(cases.golden(name).read_text(), pb.ModelConfig())
        for group in message.instance_group:
            group.kind = pb.ModelInstanceGroup.KIND_CPU
            group.ClearField("gpus")
        (folder / "repository" / name / "config.pbtxt").write_text(configs.text(message))
    with serving(folder / "repository") as server:
        yield server


@pytest.mark.parametrize("name", cases.CASES)
def test_the_real_triton_loads_it_and_reads_what_was_written(everything: Triton, name: str) -> None:
    understood = json_format.ParseDict(everything.config(name), pb.ModelConfig(), ignore_unknown_fields=True)
    written = text_format.Parse(cases.golden(name).read_text(), pb.ModelConfig())
    batches = written.HasField("dynamic_batching") and written.max_batch_size
    if batches and not written.dynamic_batching.preferred_batch_size:
        written.dynamic_batching.preferred_batch_size.append(written.max_batch_size)  # Triton's own rule
    for kind in ("input", "output", "max_batch_size", "dynamic_batching", "parameters", "model_warmup"):
        assert getattr(understood, kind) == getattr(written, kind), kind
    assert understood.optimization.graph == written.optimization.graph
    assert understood.optimization.execution_accelerators == written.optimization.execution_accelerators
    assert understood.instance_group[0].count == written.instance_group[0].count


def test_the_warm_up_is_run_with_one_row_and_with_the_most(everything: Triton) -> None:
    assert everything.metric("nv_inference_count", model="rows-warm") == 1 + 8
    assert everything.metric("nv_inference_exec_count", model="rows-warm") == 2
    assert everything.metric("nv_inference_count", model="rows") == 0


# ---- what the test's backend would refuse ----------------------------------------------------------------------------


def _broken(change: Any) -> Any:
    def prepare(folder: Path) -> Path:
        asked = cases.request("m", cases.Case(cases.rows, probe=cases.ROW), folder / "model")
        lay_out(dataclasses.replace(asked, directory=str(folder / "repository")))
        path = folder / "repository" / "m" / "config.pbtxt"
        message = text_format.Parse(path.read_text(), pb.ModelConfig())
        change(message)
        path.write_text(configs.text(message))
        return folder / "repository"

    return prepare


def _accelerate(name: str, on: str = "gpu", **keys: str) -> Any:
    def change(message: Any) -> None:
        into = message.optimization.execution_accelerators
        getattr(into, f"{on}_execution_accelerator").add(name=name, parameters=keys)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.output[0].dims.__setitem__(0, 4), "the model expects 2 dimensions (shape [-1,3])"),
        (lambda m: setattr(m.input[0], "data_type", pb.TYPE_FP64), "configuration expects datatype TYPE_FP64"),
        (lambda m: setattr(m.input[0], "name", "z"), "unexpected inference input 'z', allowed inputs are: x"),
        (
            lambda m: m.parameters["colour"].MergeFrom(pb.ModelParameter(string_value="red")),
            "unknown parameter 'colour'",
        ),
        (_accelerate("tensorrt", trt_engine_hw_compatible="1"), "unknown parameter 'trt_engine_hw_compatible'"),
        (_accelerate("tensorrt", precision_mode="FP8"), "unsupported precision mode 'FP8'"),
        (_accelerate("tensorrt"), "has no parameters"),
        (_accelerate("cuda", gpu_mem_limit="1"), "'gpu_mem_limit' of the CUDA Execution Accelerator is replaced"),
        (_accelerate("directml"), "unknown Execution Accelerator 'directml'"),
        (_accelerate("openvino", on="cpu", device_type="GPU"), "parameters of the OpenVINO"),
    ],
)
def test_the_backend_of_the_tests_is_as_strict_as_the_native_one(change: Any, words: str, tmp_path: Path) -> None:
    assert words in load_log(_broken(change)(tmp_path))


# ---- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "outputs", "delay", "expected"),
    [
        ([(-1, 3)], [(-1, 3)], 0, 32),
        ([(-1, 3)], [(-1, 3)], 9, 32),
        ([(-1, 3), (-1, 2)], [(-1,), (-1, 2)], 9, 32),
        ([(-1, 3)], [(-1,)], 0, 0),  # clients are given [rows], as by the ONNX Runtime server
        ([(-1, 3), (3,)], [(-1, 3)], 9, 0),
        ([(-1, 3)], [(3,)], 9, 0),
        ([(-1, 3)], [()], 9, 0),
        ([()], [(-1, 3)], 9, 0),
        ([(1, 3)], [(1, 3)], 9, 0),
        ([], [(-1, 3)], 9, 0),
    ],
)
def test_the_rule_of_the_batch_axis(inputs: Any, outputs: Any, delay: int, expected: int) -> None:
    given = [Tensor(f"i{n}", "FP32", shape) for n, shape in enumerate(inputs)]
    gives = [Tensor(f"o{n}", "FP32", shape) for n, shape in enumerate(outputs)]
    assert made(served(max_queue_delay_microseconds=delay), given, gives).max_batch_size == expected


@pytest.mark.parametrize(
    ("request_", "words", "field"),
    [
        (served("ROCm"), "no execution provider 'ROCm'", "executionProviders"),
        (served("CUDA", "TensorRT", "CPU"), "TensorRT before CUDA", "executionProviders"),
        (served(options={"CPU": {"use_arena": "1"}}), "use_arena is not read", "providerOptions.CPU"),
        (served("OpenVINO", options={"OpenVINO": {"device_type": "GPU"}}), "device_type is not read", "OpenVINO"),
        (served("CUDA", options={"CUDA": {"device_id": "1"}}), "device_id", "CUDA"),
        (
            served("CUDA", options={"CUDA": {"cudnn_conv_algo_search": "FAST"}}),
            "does not support the value 'FAST'",
            "CUDA",
        ),
        (served("CUDA", options={"CUDA": {"do_copy_in_default_stream": "yes"}}), "true or false", "CUDA"),
        (
            served("TensorRT", options={"TensorRT": {"trt_engine_hw_compatible": "1"}}),
            "is not supported by Triton",
            "TensorRT",
        ),
        (served("TensorRT", options={"TensorRT": {"trt_engine_cache_path": "/x"}}), "own cache", "TensorRT"),
        (
            served("TensorRT", options={"TensorRT": {"trt_fp16_enable": "1", "trt_int8_enable": "1"}}),
            "FP16 and INT8",
            "TensorRT",
        ),
        (served("TensorRT", options={"TensorRT": {"trt_profile_min_shapes": "x:1x3"}}), "other two", "TensorRT"),
    ],
)
def test_what_triton_cannot_be_told_is_refused(request_: ServeRequest, words: str, field: str) -> None:
    with pytest.raises(StageError, match=words) as caught:
        made(request_)
    assert field in caught.value.failure.field
    assert caught.value.failure.hint


@pytest.mark.parametrize("datatype", ["BF16", "FLOAT8E4M3FN", "seq(tensor(float))"])
def test_a_datatype_that_the_backend_has_not_is_refused_by_name(datatype: str) -> None:
    with pytest.raises(StageError, match=re.escape(f"output 'y' is {datatype}")) as caught:
        made(outputs=(Tensor("y", datatype, (-1, 3)),))
    assert caught.value.failure.reason == "UnsupportedDatatype"


def test_an_axis_of_size_zero_is_refused() -> None:
    with pytest.raises(StageError, match="input 'x' has an axis of size 0"):
        made(inputs=(Tensor("x", "FP32", (-1, 0)),))


def test_engines_are_known_by_all_that_they_are_made_of() -> None:
    def key(inputs: Any = (X,), image: str = "triton:1", gpu: str = "NVIDIA L4", **changed: Any) -> str:
        options = {"TensorRT": changed.pop("tensorrt", {})}
        asked = dataclasses.replace(served("TensorRT", "CUDA", "CPU", options=options), **changed)
        return configs.engine_key(asked, inputs, image, gpu)

    keys = [
        key(),
        key(sha256="1" * 64),
        key(image="triton:2"),
        key(gpu="NVIDIA H100"),
        key(tensorrt={"trt_fp16_enable": "1"}),
        key(tensorrt={"trt_builder_optimization_level": "5"}),
        key(max_batch_size=8),
        key(inputs=(Tensor("x", "FP32", (-1, 4)),)),
        key(graph_level="None"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(revision="other", name="other", instances=3) == key()


# ---- properties ------------------------------------------------------------------------------------------------------

shapes = st.lists(st.sampled_from([-1, -1, 1, 3, 224]), max_size=4).map(tuple)
datatypes = st.sampled_from(["FP32", "FP16", "INT64", "BYTES", "BOOL", "UINT8"])
names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12)


def tensors(least: int) -> Any:
    one = st.builds(Tensor, names, datatypes, shapes)
    return st.lists(one, min_size=least, max_size=3, unique_by=lambda tensor: tensor.name).map(tuple)


options = {
    "TensorRT": st.dictionaries(
        st.sampled_from(["trt_fp16_enable", "trt_sparsity_enable", "trt_engine_cache_enable", "trt_dla_enable"]),
        st.sampled_from(["0", "1", "True", "false"]),
    ),
    "CUDA": st.dictionaries(st.sampled_from(["gpu_mem_limit", "tunable_op_enable"]), st.sampled_from(["0", "1"])),
}
providers = st.sampled_from(
    [("CPU",), ("CUDA", "CPU"), ("TensorRT", "CUDA", "CPU"), ("TensorRT",), ("OpenVINO", "CPU"), ("CPU", "CUDA")]
).flatmap(
    lambda given: st.builds(
        Providers,
        st.just(given),
        st.just("Forbid"),
        st.fixed_dictionaries({}, optional={name: options[name] for name in given if name in options}),
        st.integers(0, 64),
    )
)
requests = st.builds(
    ServeRequest,
    name=names,
    model=st.just("/artifacts/optimize/m/model.onnx"),
    sha256=st.just("0" * 64),
    graph_level=st.sampled_from(["None", "Basic", "Extended", "All"]),
    providers=providers,
    max_batch_size=st.integers(1, 64),
    max_queue_delay_microseconds=st.sampled_from([0, 0, 100]),
    max_queue_size=st.sampled_from([0, 0, 7]),
    instances=st.integers(1, 4),
    revision=st.sampled_from(["", "0123abcd"]),
)


@settings(deadline=None)
@given(requests, tensors(1), tensors(1), st.integers(0, 4), st.sampled_from(["", "/artifacts/engines/k"]))
def test_whatever_is_asked_for_is_complete_and_within_tritons_rules(
    asked: ServeRequest, inputs: Any, outputs: Any, gpus: int, engines: str
) -> None:
    samples = {
        tensor.name: configs.WarmUpInput(tuple(2 if axis < 0 else axis for axis in tensor.shape), str(number))
        for number, tensor in enumerate(inputs)
    }
    config = configs.build(asked, inputs, outputs, gpus=gpus, engines=engines, samples=samples)
    text = configs.text(config)
    assert text_format.Parse(text, pb.ModelConfig()) == config
    assert [entry.name for entry in (*config.input, *config.output)] == [t.name for t in (*inputs, *outputs)]
    batched = config.max_batch_size > 0
    assert not batched or all(tensor.shape[:1] == (-1,) for tensor in (*inputs, *outputs))
    for entry, tensor in zip((*config.input, *config.output), (*inputs, *outputs), strict=True):
        assert all(axis == -1 or axis > 0 for axis in entry.dims)
        assert entry.dims
        assert batched or not entry.HasField("reshape")
        backend = list(entry.reshape.shape) if entry.HasField("reshape") else list(entry.dims)
        # A scalar is [1] in a configuration, whatever the batch.
        assert [-1, *backend] == list(tensor.shape) if batched else backend == (list(tensor.shape) or [1])
    assert all(0 < size <= config.max_batch_size for size in config.dynamic_batching.preferred_batch_size)
    joined = config.dynamic_batching.max_queue_delay_microseconds > 0
    assert joined == configs.joins(asked, inputs, outputs)
    bounded = bool(asked.max_queue_size or asked.default_timeout_microseconds)
    assert config.HasField("dynamic_batching") == (joined or bounded)
    assert joined or list(config.dynamic_batching.preferred_batch_size) == ([1] if batched and bounded else [])
    (group,) = config.instance_group
    on_gpu = asked.providers.names[0] in ("TensorRT", "CUDA")
    assert (group.kind == pb.ModelInstanceGroup.KIND_GPU) == on_gpu == bool(group.gpus)
    assert {warm.batch_size for warm in config.model_warmup} == {1, config.max_batch_size or 1}
    for warm in config.model_warmup:
        assert set(warm.inputs) == set(samples)
        assert all(axis > 0 for given in warm.inputs.values() for axis in given.dims)
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        assert on_gpu
        assert accelerator.parameters, "without a key the backend tells TensorRT no device"
        profiles = [key for key in accelerator.parameters if key.startswith("trt_profile_")]
        assert len(profiles) in (0, 3)


@pytest.mark.parametrize("name", sorted({*PROVIDERS, "XNNPACK"} - {"CPU"}))
def test_a_provider_is_told_to_the_backend_or_refused(name: str) -> None:
    """Never left out: the model would run on the CPU without a word."""
    with suppress(StageError):
        found = accelerators(Providers((name,)))
        assert found.on_gpu or found.cpu


@given(providers)
def test_a_provider_after_the_cpu_is_no_accelerator(given_: Providers) -> None:
    found = accelerators(given_)
    named = {name for name, _ in found.gpu} | set(found.cpu)
    before = given_.names[: given_.names.index("CPU")] if "CPU" in given_.names else given_.names
    assert named <= {name.lower() for name in before}


def test_the_repository_is_made_again_over_what_is_left_of_an_earlier_attempt(tmp_path: Path) -> None:
    asked = cases.request("m", cases.Case(cases.rows, probe=cases.ROW), tmp_path / "model")
    first = lay_out(asked)
    (Path(asked.directory) / "m" / "warmup" / "left").write_text("over")
    assert lay_out(asked) == first
    assert sorted(path.name for path in (Path(asked.directory) / "m" / "warmup").iterdir()) == ["0"]
    assert Path(first.config).read_text() == configs.text(
        text_format.Parse(Path(first.config).read_text(), pb.ModelConfig())
    )


def test_a_model_that_was_changed_is_not_laid_out(tmp_path: Path) -> None:
    asked = cases.request("m", cases.CASES["rows"], tmp_path)
    Path(asked.serve.model).write_bytes(b"something else")
    with pytest.raises(StageError, match="DigestMismatch"):
        lay_out(asked)
    assert not Path(asked.directory).exists()


@pytest.mark.parametrize(
    ("model", "joins", "size"),
    [
        (support.double, True, 4),
        (support.centred, False, 4),
        (support.summed, False, 4),
        (support.reduced, False, 0),  # ONNX Runtime sees its one row
    ],
)
def test_rows_that_influence_each_other_are_not_joined(model: Any, joins: bool, size: int, tmp_path: Path) -> None:
    path = model(tmp_path)
    row = np.array([[1, 2, 3]], np.float32)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    probefile.write(tmp_path / "probe.npz", {"x": row}, {"y": session.run(["y"], {"x": row})[0]})
    asked = ServeRequest(
        "m", str(path), digest(path), str(tmp_path / "probe.npz"), max_batch_size=4, max_queue_delay_microseconds=100
    )
    result = lay_out(RepositoryRequest(asked, str(tmp_path / "repository")))
    assert result.joins is joins
    config = text_format.Parse(Path(result.config).read_text(), pb.ModelConfig())
    assert (config.dynamic_batching.max_queue_delay_microseconds > 0) is joins
    assert config.max_batch_size == size


@pytest.mark.parametrize(
    ("fallback", "kind"), [("Forbid", pb.ModelInstanceGroup.KIND_GPU), ("Allow", pb.ModelInstanceGroup.KIND_CPU)]
)
def test_a_gpu_that_is_not_there_is_left_out_where_another_provider_may_serve(
    fallback: str, kind: int, tmp_path: Path
) -> None:
    asked = cases.request("m", cases.CASES["rows"], tmp_path)
    serve = dataclasses.replace(asked.serve, providers=Providers(("TensorRT", "CUDA", "CPU"), fallback))
    engines = str(tmp_path / "engines")
    result = lay_out(dataclasses.replace(asked, serve=serve, gpus=1, engines=engines))
    config = text_format.Parse(Path(result.config).read_text(), pb.ModelConfig())
    assert [group.kind for group in config.instance_group] == [kind]
    assert bool(config.optimization.execution_accelerators.gpu_execution_accelerator) is (fallback == "Forbid")
    assert bool(result.engines) is (fallback == "Forbid")


def test_engines_are_kept_by_what_they_are_made_of(tmp_path: Path) -> None:
    asked = cases.request("m", cases.CASES["tensorrt"], tmp_path)
    result = lay_out(dataclasses.replace(asked, engines=str(tmp_path / "engines")))
    (folder,) = (tmp_path / "engines").iterdir()
    assert result.engines == str(folder)
    assert f'value: "{folder}"' in Path(result.config).read_text()
    assert isinstance(asked, RepositoryRequest)
