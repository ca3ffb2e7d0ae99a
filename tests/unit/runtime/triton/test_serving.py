"""The real tritonserver with what the operator gives it: the same answers as the ONNX Runtime server, and its own failures."""

import dataclasses
import json
import shutil
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from dev import magika
from onnxmodel_operator.observe import tritonlog
from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest, LoadTestResult
from onnxmodel_runtime.contract.probe import ProbeRequest, ProbeResult
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.models import inputs as generated
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages.loadtest import loadtest
from onnxmodel_runtime.stages.probe import probe
from onnxmodel_runtime.stages.repository import repository as lay_out
from onnxmodel_runtime.triton import config as configs
from tests import builders, models
from tests.triton.server import ARGUMENTS, HOST, Triton, load_log, serving
from tests.unit.runtime import server_support as support
from tests.unit.runtime.triton import cases

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http

pytestmark = pytest.mark.usefixtures("soon")
EXAMPLES = Path(__file__).parents[4] / "examples"
PATHS = {
    "magika": magika.model(),
    "toy": EXAMPLES / "toy" / "model.onnx",
    "digits": EXAMPLES / "digits" / "model.onnx",
}
DELAYS = {"alone": 0, "joined": 20_000}


def asked(name: str, path: Path, probe_file: Path, **fields: Any) -> ServeRequest:
    fields = {"max_batch_size": 8, "max_queue_size": 0, "revision": "0123abcd", **fields}
    return ServeRequest(name, str(path), digest(path), str(probe_file), **fields)


def rows(path: Path, count: int) -> dict[str, Any]:
    """Inputs of `count` rows, as the pipeline makes them, and no two rows alike."""
    import onnx

    return generated.generate(generated.signature(onnx.load(path, load_external_data=False)), count)


@pytest.fixture(scope="module")
def requests_(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServeRequest]:
    """Every example, served alone and joined, with the probe that optimize would leave."""
    folder = tmp_path_factory.mktemp("probes")
    found = {}
    for name, path in PATHS.items():
        given = rows(path, 1)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        probefile.write(folder / f"{name}.npz", given, dict(zip(names, session.run(names, given), strict=True)))
        for kind, delay in DELAYS.items():
            request = asked(f"{name}-{kind}", path, folder / f"{name}.npz", max_queue_delay_microseconds=delay)
            found[request.name] = request
    return found


@pytest.fixture(scope="module")
def triton(requests_: dict[str, ServeRequest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    repository = tmp_path_factory.mktemp("triton") / "repository"
    path = models.save(biased(), repository.parent / "biased")
    plain = ServeRequest("biased", str(path), digest(path), max_queue_size=0)
    for request in (*requests_.values(), plain):
        lay_out(RepositoryRequest(request, str(repository)))
    with serving(repository) as server:
        yield server


def biased(rows: tuple[Any, ...] = ()) -> Any:
    """Numbers plus a bias that a request may give, with names for the sums."""
    values = [("x", TensorProto.FLOAT, [*rows, 3]), ("bias", TensorProto.FLOAT, [3])]
    bias = {"bias": np.array([0, 0.5, 0], np.float32)}
    made = models.model(
        [helper.make_node("Add", ["x", "bias"], ["y"])], values, [("y", TensorProto.FLOAT, [*rows, 3])], bias
    )
    made.metadata_props.add(key="labels", value=json.dumps({"y": ["cat", "dog\nor wolf", "owl"]}))
    return made


def test_labels_and_optional_inputs_are_tritons_too(triton: Triton) -> None:
    row, bias = np.array([1, 2, 3], np.float32), np.array([9, 0, 0], np.float32)
    with clients(triton.http, triton.grpc) as both:
        for _, module, client in both:
            tensors = [module.InferInput(name, [3], "FP32") for name in ("x", "bias")]
            for tensor, array in zip(tensors, (row, bias), strict=True):
                tensor.set_data_from_numpy(array)
            wanted = [module.InferRequestedOutput("y", class_count=2)]
            for given, best in (
                (tensors[:1], [b"3.000000:2:owl", b"2.500000:1:dog or wolf"]),
                (tensors, [b"10.000000:0:cat", b"3.000000:2:owl"]),
            ):
                assert client.infer("biased", given, outputs=wanted).as_numpy("y").tolist() == best
    assert [item.get("optional", False) for item in triton.config("biased")["input"]] == [False, True]


def test_with_a_batch_the_backend_takes_no_optional_input(tmp_path: Path) -> None:
    path = models.save(biased(("batch",)), tmp_path / "model")
    request = ServeRequest("batched", str(path), digest(path), max_queue_delay_microseconds=100)
    lay_out(RepositoryRequest(request, str(tmp_path / "repository")))
    config = text_format.Parse((tmp_path / "repository" / "batched" / "config.pbtxt").read_text(), pb.ModelConfig())
    assert ([item.name for item in config.input], config.max_batch_size) == (["x"], 32)
    assert config.output[0].label_filename == "labels-0.txt"


@contextmanager
def clients(http: str, grpc: str) -> Iterator[list[tuple[str, Any, Any]]]:
    with over_http.InferenceServerClient(http, concurrency=8) as one, over_grpc.InferenceServerClient(grpc) as other:
        yield [("HTTP", over_http, one), ("gRPC", over_grpc, other)]


def ask(module: Any, client: Any, name: str, given: dict[str, Any]) -> dict[str, Any]:
    tensors = []
    for key, array in given.items():
        tensor = module.InferInput(
            key, list(array.shape), {"f": "FP32", "i": f"INT{array.dtype.itemsize * 8}"}[array.dtype.kind]
        )
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    answer = client.infer(name, tensors)
    outputs = answer.get_response()["outputs"] if module is over_http else answer.get_response().outputs
    names = [item["name"] if isinstance(item, dict) else item.name for item in outputs]
    return {key: answer.as_numpy(key) for key in names}


@pytest.mark.parametrize("kind", DELAYS)
@pytest.mark.parametrize("name", PATHS)
def test_both_servers_give_the_same_tensors(
    requests_: dict[str, ServeRequest], triton: Triton, name: str, kind: str
) -> None:
    request = requests_[f"{name}-{kind}"]
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    ours = dataclasses.replace(request, host=HOST, max_queue_size=512, **ports)
    with support.in_thread(ours) as server:
        here = f"{HOST}:{server.ports[0]}", f"{HOST}:{server.ports[1]}"
        with clients(*here) as own, clients(triton.http, triton.grpc) as theirs:
            for count in (1, 3, 8):
                given = rows(PATHS[name], count)
                (_, module, client), *_ = own
                expected = ask(module, client, request.name, given)
                for protocol, module, client in (*own, *theirs):
                    answer = ask(module, client, request.name, given)
                    assert answer.keys() == expected.keys(), protocol
                    for key, array in expected.items():
                        assert answer[key].dtype == array.dtype
                        assert answer[key].shape == shape_by(client, theirs, kind, array), (protocol, key)
                        np.testing.assert_array_equal(
                            answer[key].reshape(array.shape), array, err_msg=f"{protocol} {key}"
                        )


def shape_by(client: Any, theirs: Any, kind: str, array: Any) -> tuple[int, ...]:
    """Where Triton joins, a tensor that is nothing but the batch has an axis of its own (docs/serving-triton.md)."""
    triton = any(client is other for _, _, other in theirs)
    return (*array.shape, 1) if triton and kind == "joined" and array.ndim == 1 else array.shape


@pytest.mark.parametrize("kind", DELAYS)
@pytest.mark.parametrize("name", PATHS)
def test_requests_at_once_are_answered_as_alone_and_joined_only_where_they_may_wait(
    triton: Triton, name: str, kind: str
) -> None:
    model = f"{name}-{kind}"
    whole = rows(PATHS[name], 8)
    before = triton.metric("nv_inference_exec_count", model=model)
    with over_http.InferenceServerClient(triton.http, concurrency=8) as client:
        alone = [
            ask(over_http, client, model, {key: array[n : n + 1] for key, array in whole.items()}) for n in range(8)
        ]
    sequential = triton.metric("nv_inference_exec_count", model=model) - before
    assert sequential == 8
    start = threading.Barrier(8)

    def at_once(number: int) -> dict[str, Any]:
        with over_grpc.InferenceServerClient(triton.grpc) as client:
            assert client.is_model_ready(model)
            start.wait(60)
            return ask(over_grpc, client, model, {key: array[number : number + 1] for key, array in whole.items()})

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(at_once, range(8)))
    runs = triton.metric("nv_inference_exec_count", model=model) - before - sequential
    assert runs < 8 if kind == "joined" else runs == 8
    for one, other in zip(alone, together, strict=True):
        for key, array in one.items():
            np.testing.assert_allclose(other[key], array, rtol=1e-4, atol=1e-6)


def probed(request: ServeRequest, server: Triton) -> ProbeResult:
    """What the probe says of a model that the server has."""
    ports = {"http_port": server.http_port, "grpc_port": server.grpc_port}
    return probe(ProbeRequest(request.name, HOST, request.probe, revision=request.revision, **ports), wait=0)


def loaded(request: ServeRequest, server: Triton, *loads: Load) -> LoadTestResult:
    """What a short load test says of it."""
    short = {"revision": request.revision, "seconds": 0.2, "windows": 3}
    return loadtest(LoadTestRequest(request.name, HOST, request.probe, loads, http_port=server.http_port, **short))


@pytest.mark.parametrize("kind", DELAYS)
@pytest.mark.parametrize("name", PATHS)
def test_the_probe_finds_the_revision_and_the_right_answer(
    requests_: dict[str, ServeRequest], triton: Triton, name: str, kind: str
) -> None:
    request = requests_[f"{name}-{kind}"]
    found = probed(request, triton)
    assert found.max_absolute < 1e-4
    assert found.provider is None, "Triton does not say on what it runs"


@pytest.mark.parametrize("kind", DELAYS)
@pytest.mark.parametrize("name", PATHS)
def test_the_load_test_counts_what_triton_counts(
    requests_: dict[str, ServeRequest], triton: Triton, name: str, kind: str
) -> None:
    request = requests_[f"{name}-{kind}"]
    before = triton.metric("nv_inference_request_success", model=request.name)
    result = loaded(request, triton, Load(1, 1), Load(8, 4))
    samples = sum(point.samples for point in result.points)
    assert 0 < samples <= triton.metric("nv_inference_request_success", model=request.name) - before
    assert [(point.batch_size, point.concurrency) for point in result.points] == [(1, 1), (8, 4)]


def test_the_probe_and_the_load_test_know_how_triton_takes_a_scalar(tmp_path: Path) -> None:
    path = cases.scalar(tmp_path)
    probefile.write(tmp_path / "probe.npz", {"x": np.array(2, np.float32)}, {"y": np.array(4, np.float32)})
    repository = tmp_path / "repository"
    request = asked("scalar", path, tmp_path / "probe.npz")
    lay_out(RepositoryRequest(request, str(repository)))
    with serving(repository) as server:
        found, result = probed(request, server), loaded(request, server, Load(1, 2))
    assert found.max_absolute == 0
    assert result.points[0].samples > 0


def test_weights_in_a_file_beside_the_model_are_found_through_the_link(tmp_path: Path) -> None:
    import onnx

    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(
        models.mlp(), folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    given = {"x": np.ones((2, 4), np.float32)}
    expected = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"]).run(None, given)
    request = ServeRequest("mlp", str(folder / "model.onnx"), digest(folder / "model.onnx"))
    lay_out(RepositoryRequest(request, str(tmp_path / "repository")))
    with serving(tmp_path / "repository") as server, over_http.InferenceServerClient(server.http) as client:
        np.testing.assert_array_equal(ask(over_http, client, "mlp", given)["scores"], expected[0])


def test_a_full_queue_sheds_load(tmp_path: Path) -> None:
    path = support.slow(tmp_path)
    repository = tmp_path / "repository"
    request = ServeRequest("slow", str(path), digest(path), max_queue_size=1)
    lay_out(RepositoryRequest(request, str(repository)))
    long = {"n": np.array([300_000], np.int64)}
    with serving(repository) as server, over_grpc.InferenceServerClient(server.grpc) as client:
        outcomes: list[Any] = []
        done = threading.Event()

        def record(result: Any, error: Any) -> None:
            outcomes.append(error)
            if len(outcomes) == 6:
                done.set()

        for _ in range(6):
            tensor = over_grpc.InferInput("n", [1], "INT64")
            tensor.set_data_from_numpy(long["n"])
            client.async_infer("slow", [tensor], record)
        assert done.wait(60)
    refused = [error for error in outcomes if error is not None]
    assert refused
    assert len(refused) < 6
    assert all(isinstance(error, InferenceServerException) for error in refused)
    assert {error.status() for error in refused} == {"StatusCode.UNAVAILABLE"}
    assert "queue size" in refused[0].message()


# ---- as the operator starts it ---------------------------------------------------------------------------------------


def rendered_arguments() -> list[str]:
    cluster = builders.Cluster(builders.body(serving={"runtime": "triton"}))
    cluster.live()
    program, *words = cluster.deployments()[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert program == "tritonserver"
    return [word for word in words if not word.startswith("--model-repository=")]


def test_the_deployments_own_arguments_start_it_and_lock_what_clients_must_not_change(
    requests_: dict[str, ServeRequest], tmp_path: Path
) -> None:
    words = rendered_arguments()
    assert {word for word in ARGUMENTS if "exit-timeout" not in word} <= set(words)
    lay_out(RepositoryRequest(requests_["digits-alone"], str(tmp_path / "repository")))
    # The last word counts: the fixture's own ports come after.
    with serving(tmp_path / "repository", *words) as server:
        with urllib.request.urlopen(f"http://{server.http}/v2/models/digits-alone/ready", timeout=60) as answer:
            assert answer.status == 200
        index = urllib.request.Request(f"http://{server.http}/v2/repository/index", method="POST")
        with urllib.request.urlopen(index, timeout=60) as answer:
            assert json.load(answer) == [{"name": "digits-alone", "version": "1", "state": "READY"}]
        for path in ("trace/setting", "logging", "systemsharedmemory/status"):
            with pytest.raises(urllib.error.HTTPError, match="HTTP Error 403"):
                urllib.request.urlopen(f"http://{server.http}/v2/{path}", timeout=60)
        load = urllib.request.Request(
            f"http://{server.http}/v2/repository/models/digits-alone/unload", b"{}", method="POST"
        )
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(load, timeout=60)


def _unreadable(folder: Path, config: Any) -> None:
    model = folder / "1"
    model.unlink()
    model.mkdir()
    (model / "model.onnx").write_bytes(b"no model")


def _missing(folder: Path, config: Any) -> None:
    (folder / "1").unlink()
    (folder / "1").mkdir()


def _dims(folder: Path, config: Any) -> None:
    config.output[0].dims[0] = 4


def _no_dims(folder: Path, config: Any) -> None:
    config.input[0].ClearField("dims")


def _warm_up(folder: Path, config: Any) -> None:
    shutil.rmtree(folder / "warmup")


def _preferred(folder: Path, config: Any) -> None:
    config.dynamic_batching.preferred_batch_size.append(999)


def _gpu(folder: Path, config: Any) -> None:
    config.instance_group[0].kind = pb.ModelInstanceGroup.KIND_GPU
    config.instance_group[0].gpus.append(7)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_unreadable, "onnx runtime error"),
        (_missing, "unable to find"),
        (_dims, "the model expects 2 dimensions (shape [-1,3])"),
        (_no_dims, "must specify 'dims'"),
        (_warm_up, "warmup/0"),
        (_preferred, "dynamic batching preferred size must be <= max batch size"),
        (_gpu, "GPU"),
    ],
)
def test_why_it_cannot_load_a_model_is_in_what_the_kubelet_keeps(damage: Any, words: str, tmp_path: Path) -> None:
    asked_ = cases.request("m", cases.Case(cases.rows, probe=cases.ROW), tmp_path / "model")
    result = lay_out(dataclasses.replace(asked_, directory=str(tmp_path / "repository")))
    config = text_format.Parse(Path(result.config).read_text(), pb.ModelConfig())
    damage(Path(result.config).parent, config)
    Path(result.config).write_text(configs.text(config))
    log = load_log(tmp_path / "repository")
    found = tritonlog.failure(log.encode()[-2048:].decode(errors="replace"))
    assert found is not None
    assert words in found[0].message, log
    assert found[0].reason == "TritonLoadFailed", log
