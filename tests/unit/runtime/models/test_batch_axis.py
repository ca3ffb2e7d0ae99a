"""The one rule of the batch axis, and every model without one on both servers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from onnxmodel_runtime.checks import interface
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate
from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest
from onnxmodel_runtime.contract.model import Tensor, Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult
from onnxmodel_runtime.contract.probe import ProbeRequest
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.measuring.client import over_grpc, over_http
from onnxmodel_runtime.models import batch_axis, batch_trial, inputs, probefile
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.reporting import tables
from onnxmodel_runtime.stages.benchmark import benchmark
from onnxmodel_runtime.stages.loadtest import loadtest
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.probe import probe
from onnxmodel_runtime.stages.repository import repository as lay_out
from onnxmodel_runtime.stages.validate import validate
from tests import models, unbatched
from tests.triton.server import HOST, serving
from tests.unit.runtime import server_support as support

pytestmark = pytest.mark.usefixtures("soon")
FLOAT = TensorProto.FLOAT

# ---- the rule --------------------------------------------------------------------------------------------------------

# inputs, outputs, what is known -> is axis 0 a batch; what each place makes of it, test_signatures.py shows with real models
TABLE: list[tuple[list[Any], list[Any], str, bool]] = [
    ([("b", 3)], [("b", 3)], "Auto", True),
    ([("b", 3)], [("b",)], "Auto", True),
    ([("b",)], [("b",)], "Auto", True),
    ([("b", "t"), ("b", "t")], [("b", "t", 8)], "Auto", True),
    ([(None, 1), (None, 1)], [(None,), (None, 2)], "Auto", True),
    ([("n",), ("m",)], [("n", "m")], "Auto", True),  # running tells: below
    ([("n",), ("m",)], [("n", "m")], "None", False),
    ([("b", 3)], [("b", 3)], "None", False),
    ([("b", 3)], [("b", 3)], "First", True),
    ([("b", 3)], [("b", 3), (3,)], "Auto", False),
    ([("b", 3)], [(1,)], "Auto", False),
    ([("b", 3)], [(1,)], "First", True),
    ([("b", 3)], [()], "Auto", False),
    ([("b", 3), ()], [("b", 3)], "Auto", False),
    ([("b", 3), ()], [("b", 3)], "First", False),
    ([("b", 3), (2,)], [("b", 3)], "Auto", False),
    ([("b", "t", 8), (4, "b", 16)], [("b", 3), (4, "b", 16)], "Auto", False),
    ([("seq", "batch", 4)], [("seq", "batch", 6)], "Auto", False),
    ([("t", "b", 4)], [("t", "b", 6)], "Auto", True),  # running tells
    ([(1, 3)], [(1, 3)], "Auto", False),
    ([(8, 3)], [(8, 3)], "First", False),
    ([(16,)], [(16,)], "Auto", False),
    ([()], [()], "Auto", False),
    ([], [("b", 3)], "Auto", False),
    ([], [(2,)], "First", False),
]


def described(kind: str, shapes: list[Any]) -> tuple[list[Tensor], dict[str, tuple[str, ...]]]:
    """Tensors of these shapes, and the names of their axes."""
    named = {f"{kind}{number}": shape for number, shape in enumerate(shapes)}
    tensors = [
        Tensor(name, "FP32", tuple(dim if isinstance(dim, int) else -1 for dim in shape))
        for name, shape in named.items()
    ]
    symbols = {name: tuple(dim if isinstance(dim, str) else "" for dim in shape) for name, shape in named.items()}
    return tensors, symbols


@pytest.mark.parametrize(("given", "gives", "known", "batched"), TABLE)
def test_whether_axis_0_is_a_batch(given: list[Any], gives: list[Any], known: str, batched: bool) -> None:
    (inputs, names), (outputs, more) = described("i", given), described("o", gives)
    why = batch_axis.absent(inputs, outputs, known, symbols={**names, **more})
    assert (why == "") is batched, why
    if known == "Auto" and batched:
        found = (*interface.batch_axes("input", inputs), *interface.batch_axes("output", outputs))
        assert not found, "validation does not refuse what is a batch"


# ---- what running shows ----------------------------------------------------------------------------------------------


def tried(made: Any, path: Path) -> str:
    """What a run says of axis 0, on made inputs."""
    session = ort.InferenceSession(models.save(made, path), providers=["CPUExecutionProvider"])
    signed = replace(inputs.signature(made), unbatched="")
    names = [value.name for value in session.get_outputs()]
    return batch_trial.disproved(
        lambda given: dict(zip(names, session.run(names, dict(given)), strict=True)),
        inputs.generate(signed, batch_trial.ROWS),
        tuple(axes[0] for axes in signed.symbols),
        Tolerance(),
    )


def towers() -> Any:
    """Two inputs that have nothing to do with each other, and names that say nothing."""
    nodes = [unbatched.node("Relu", [name], [f"{name}_out"]) for name in "ab"]
    return models.model(
        nodes,
        [(name, 1, [axis, 4]) for name, axis in (("a", "n"), ("b", "m"))],
        [(f"{name}_out", 1, [axis, 4]) for name, axis in (("a", "n"), ("b", "m"))],
    )


def columns(*, unused: bool = False) -> Any:
    """As skl2onnx writes them: an input for each column, axes without names; one may be dropped by the pipeline."""
    given = [(name, 1, [None, 1]) for name in "abc"]
    nodes = [unbatched.node("Concat", ["a", "b"] if unused else ["a", "b", "c"], ["y"], axis=1)]
    return models.model(nodes, given, [("y", 1, [None, 2 if unused else 3])])


def noise() -> Any:
    """Another answer each time, of vectors."""
    nodes = [unbatched.node("RandomNormalLike", ["x"], ["n"]), unbatched.node("Add", ["x", "n"], ["y"])]
    return models.model(nodes, [("x", 1, ["n"])], [("y", 1, ["n"])])


def scaled() -> Any:
    """Divided by the largest of the batch: rows influence each other, and are rows."""
    nodes = [unbatched.node("ReduceMax", ["x"], ["most"], keepdims=1), unbatched.node("Div", ["x", "most"], ["y"])]
    return models.model(nodes, [("x", 1, ["batch", 4])], [("y", 1, ["batch", 4])])


def numbered() -> Any:
    """The sum of all rows before."""
    nodes = [unbatched.node("CumSum", ["x", "axis"], ["y"])]
    weights = {"axis": np.array(0, np.int64)}
    return models.model(nodes, [("x", 1, ["batch", 4])], [("y", 1, ["batch", 4])], weights)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (models.mlp(), ""),
        (models.strings(), ""),
        (models.transformer(), ""),
        (models.random_noise(), ""),
        (noise(), ""),
        (scaled(), ""),
        (columns(), ""),
        (columns(unused=True), ""),
        (towers(), "input 'a' accepts a different first size than the other inputs"),
        (numbered(), "the output for a row depends on its position among the rows"),
        (models.hidden_batch(), "the model fails with 3 rows or with a single one of them"),
        (unbatched.two_lengths(), "the output for one value depends on the others"),
        (unbatched.waveform(), "the output for one value depends on the others"),
        (unbatched.time_first(), "the output for a row depends on its position among the rows"),
    ],
)
def test_running_shows_what_axis_0_is(made: Any, why: str, tmp_path: Path) -> None:
    found = tried(made, tmp_path)
    assert why in found
    assert bool(found) is bool(why)


@pytest.mark.parametrize("rows", ["N", None])
def test_an_output_that_declares_one_and_has_rows_has_a_batch(rows: str | None, tmp_path: Path) -> None:
    path = models.save(models.declared_one(rows), tmp_path)
    result = optimize(OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), variants=()))
    assert (result.batch, result.unbatched) == ("First", "")
    assert probefile.read(Path(result.probe))[0]["x"].shape == (1, 4)


# ---- from validation to an answer ------------------------------------------------------------------------------------


def golden(case: unbatched.Case, path: Path) -> None:
    """Beside the model, where fetch puts it."""
    expected = unbatched.answers(path, case.inputs)
    arrays = {f"input:{name}": array for name, array in case.inputs.items()}
    arrays |= {f"output:{name}": array for name, array in expected.items()}
    plain = {key: array.astype(np.str_) if array.dtype.kind == "O" else array for key, array in arrays.items()}
    np.savez(path.parent / ".golden.npz", **plain)  # type: ignore[arg-type]


VARIANTS = ("two-lengths", "state")  # of which one is made, too: a process for each takes time


def optimized(name: str, folder: Path) -> tuple[unbatched.Case, OptimizeResult]:
    """As the operator's first two Jobs leave it."""
    case = unbatched.CASES[name]
    path = models.save(case.make(), folder)
    said = "None" if case.said else "Auto"
    if case.golden:
        golden(case, path)
    validate(ValidateRequest(str(folder), golden=Tolerance() if case.golden else None, batch=said))
    request = OptimizeRequest(
        str(path),
        digest(path),
        str(folder / "out"),
        ("fp32",) if name in VARIANTS else (),
        batch_sizes=(1, 3),
        golden=case.golden,
        batch=said,
        max_batch_size=32,
    )
    return case, optimize(request)


def serve_request(name: str, result: OptimizeResult) -> ServeRequest:
    variant = next(variant for variant in reversed(result.variants) if variant.path)
    return ServeRequest(
        name,
        variant.path,
        variant.sha256,
        result.probe,
        variant.graph_level,
        batch=result.batch,
        host=HOST,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        max_queue_delay_microseconds=500,
    )


def asked(name: str, result: OptimizeResult, ports: tuple[int, int]) -> None:
    """The load test and the probe accept the server; throughput counts inferences."""
    found = loadtest(
        LoadTestRequest(
            name, HOST, result.probe, (Load(1, 2),), batch=result.batch, http_port=ports[0], seconds=0.02, windows=3
        )
    )
    assert (found.batch, found.points[0].batch_size) == ("None", 1)
    answer = probe(ProbeRequest(name, HOST, result.probe, http_port=ports[0], grpc_port=ports[1]))
    assert answer.max_absolute < 1e-3


def same(array: Any, wanted: Any) -> None:
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_array_equal(array, wanted)


def test_a_scalar_in_json_has_no_axis(tmp_path: Path) -> None:
    path = models.save(unbatched.scalars(), tmp_path)
    given = [{"name": name, "datatype": "FP32", "shape": [], "data": [3.0]} for name in ("x", "rate")]
    with support.in_thread(support.request(path)) as server:

        def ask(inputs: list[Any]) -> tuple[int, Any]:
            body = json.dumps({"inputs": inputs}).encode()
            status, answer = support.call(server.ports[0], "POST", "/v2/models/model/infer", body)
            return status, json.loads(answer)

        status, answer = ask(given)
        assert (status, answer["outputs"]) == (200, [{"name": "y", "datatype": "FP32", "shape": [], "data": [9.0]}])
        status, answer = ask([{**one, "shape": [1]} for one in given])
        assert (status, answer["outputs"][0]["shape"]) == (200, []), "as Triton's clients send it"
        status, answer = ask([{**one, "shape": [2], "data": [1.0, 2.0]} for one in given])
        assert status == 400
        assert "Expected [], got [2]" in answer["error"]


@pytest.mark.parametrize("name", unbatched.CASES)
def test_a_model_without_a_batch_goes_all_the_way(name: str, tmp_path: Path) -> None:
    case, result = optimized(name, tmp_path)
    assert result.batch == "None"
    assert case.why in result.unbatched
    given, expected = probefile.read(Path(result.probe))
    if case.golden:
        for key, array in case.inputs.items():
            assert given[key].shape == array.shape, "golden data are used as they are, a scalar stays one"
            np.testing.assert_array_equal(given[key], array)
    for key, array in unbatched.answers(tmp_path / "model.onnx", given).items():
        same(expected[key], array)
    variants = [v for v in result.variants if v.path]
    candidates = tuple(Candidate(v.name, v.path, v.sha256, v.graph_level) for v in variants)
    page = tmp_path / "page" if name == "scalars" else None  # with one profile
    grid = BenchmarkRequest(candidates, result.probe, (1, 8), (1,), 0.01, windows=3, batch=result.batch)
    measured = benchmark(replace(grid, directory=str(page or "")))
    if page:
        assert "Most inferences/s" in (page / "report.html").read_text()
    assert "INFERENCES/S" in tables.text(measured)
    assert (measured.batch, {point.batch_size for point in measured.points}) == ("None", {1})
    with support.in_thread(serve_request(name, result)) as server:
        asked(name, result, (server.ports[0], server.ports[1]))
        _, body = support.call(server.ports[0], "GET", f"/v2/models/{name}/config")
        assert b'"max_batch_size":0' in body.replace(b" ", b"")
        right = unbatched.answers(tmp_path / "model.onnx", case.inputs)
        for client in (over_http(HOST, server.ports[0]), over_grpc(HOST, server.ports[1])):
            answer, _ = client.infer(name, case.inputs, tuple(right))
            for key, array in right.items():
                assert answer[key].shape == array.shape, "more than 32 of whatever axis 0 is, and scalars"
                same(answer[key], array)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, OptimizeResult]]:
    folder = tmp_path_factory.mktemp("unbatched")
    results = {}
    for name in unbatched.CASES:
        _, results[name] = optimized(name, folder / name)
        lay_out(RepositoryRequest(serve_request(name, results[name]), str(folder / "repository")))
    return folder / "repository", results


def test_triton_takes_rows_where_an_output_declares_one(tmp_path: Path) -> None:
    """Its batch axis is a matter of declarations: nothing is joined or counted there, and every row is answered."""
    path = models.save(models.declared_one(), tmp_path / "model")
    result = optimize(OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), variants=()))
    request = serve_request("declared-one", result)
    lay_out(RepositoryRequest(request, str(tmp_path / "repository")))
    assert "max_batch_size" not in (tmp_path / "repository" / "declared-one" / "config.pbtxt").read_text()
    loads = (Load(1, 1), Load(8, 2))
    with serving(tmp_path / "repository") as triton, support.in_thread(request) as server:
        for port in (triton.http_port, server.ports[0]):
            asked = LoadTestRequest(
                "declared-one", HOST, result.probe, loads, batch=result.batch, http_port=port, seconds=0.02, windows=3
            )
            found = loadtest(replace(asked, max_batch_size=32))
            assert (found.batch, [point.batch_size for point in found.points]) == ("First", [1, 8])


def test_triton_serves_them_all(repository: tuple[Path, dict[str, OptimizeResult]]) -> None:
    path, results = repository
    with serving(path) as triton:
        for name, result in results.items():
            asked(name, result, (triton.http_port, triton.grpc_port))


@pytest.mark.parametrize(
    ("symbol", "batch"),
    [
        *dict.fromkeys(
            ("batch", "Batch", "batch_size", "batchSize", "batchsize", "decoder_batch", "N_batch_1"), True
        ).items(),
        *dict.fromkeys(
            ("unk__batch", "minibatch", "batch_size*heads", "num_batch", "batch.1", "batch-size"), True
        ).items(),
        *dict.fromkeys(
            ("minibatch_len", "batch_tokens", "batchnorm_dim", "num_batches_tracked", "N", ""), False
        ).items(),
    ],
)
def test_names_of_a_batch(symbol: str, batch: bool) -> None:
    assert batch_axis.is_batch(symbol) is batch


def test_validation_that_is_not_told_says_what_to_tell_it(tmp_path: Path) -> None:
    case = unbatched.CASES["words"]
    golden(case, models.save(case.make(), tmp_path))
    with pytest.raises(StageError, match="NoDynamicBatch") as caught:
        validate(ValidateRequest(str(tmp_path), golden=Tolerance()))
    assert caught.value.failure.field == "spec.validation.batch"
    assert "set spec.validation.batch: None" in caught.value.failure.hint


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([("x", FLOAT, ["batch", 4]), ("rate", FLOAT, [])], "input 'rate' is a scalar"),
        ([("x", FLOAT, [1, 4]), ("y", FLOAT, [2, 1, 4])], "first axes of inputs 'x' and 'y' are fixed to 1 and 2"),
        ([("x", FLOAT, ["layers", "batch", 4])], "axis 1 of 'x' is its batch axis ('batch'), not axis 0"),
        ([], "the model has no input"),
        ([("x", FLOAT, [1, 4]), ("y", FLOAT, [1, 4])], ""),
        ([("x", FLOAT, [1, 3]), ("y", FLOAT, [2, 3])], ""),
        ([("x", FLOAT, ["batch", 4]), ("y", FLOAT, [1, 4])], ""),
    ],
)
def test_validation_finds_models_without_a_batch_by_their_inputs(inputs: list[Any], why: str, tmp_path: Path) -> None:
    """One fixed size may be that of the export: then the author must say what is meant."""
    nodes = [helper.make_node("Sum", [name for name, *_ in inputs] or ["one"], ["sum"])]
    weights = {} if inputs else {"one": np.ones(1, np.float32)}
    models.save(models.model(nodes, inputs, [("sum", FLOAT, None)], weights), tmp_path)
    if not why:
        with pytest.raises(StageError, match="NoDynamicBatch") as caught:
            validate(ValidateRequest(str(tmp_path)))
        hint = caught.value.failure.hint
        assert 0 <= hint.index("spec.validation.batch: None") < hint.index("dynamicBatch: Allowed")
        return
    result = validate(ValidateRequest(str(tmp_path)))
    assert {finding.severity for finding in result.findings} <= {"info"}
    assert any(finding.id == "ONNX-BATCH" and why in finding.message for finding in result.findings)
    assert why in result.unbatched
    assert f"none, each request is one inference: {result.unbatched}" in tables.text(result)
