"""Whoever asks for the batch axis gets one answer: real models, through the stages, both servers and Triton's configuration."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate
from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.validate import ValidateRequest
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.rows import joining
from onnxmodel_runtime.stages.benchmark import benchmark
from onnxmodel_runtime.stages.loadtest import loadtest
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.repository import repository
from onnxmodel_runtime.stages.validate import validate
from tests import models, unbatched
from tests.unit.runtime import server_support as support

pytestmark = pytest.mark.usefixtures("soon")
MOST = 4
Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Row:
    """A signature, and whether axis 0 is a batch.

    declared: as validate tells from the signature and from runs. settled: as running the model showed optimize, and what all
    others go by; where it differs from declared, the signature looks like a batch and is none. joined: whether requests of
    one row share a run. triton: where Triton's answer differs from settled. refused: why Triton does not serve it. delay:
    microseconds for which a request may wait.
    """

    name: str
    make: Callable[[], Any]
    declared: bool
    settled: bool | None = None
    joined: bool | None = None
    triton: bool | None = None
    refused: str = ""
    said: str = "Auto"
    delay: int = 500


def of(nodes: list[Any], inputs: dict[str, Shape], outputs: dict[str, Shape], **weights: Any) -> Callable[[], Any]:
    """A model of FP32 tensors with these shapes."""
    given, gives = ([(name, 1, [*shape]) for name, shape in side.items()] for side in (inputs, outputs))
    return lambda: models.model(nodes, given, gives, {name: np.array(value) for name, value in weights.items()})


def relu(*shape: Any) -> Callable[[], Any]:
    """One input and one output of one shape."""
    return of([unbatched.node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})


def declared_one() -> Any:
    """Rows in, rows out, and an exporter that declares one row."""
    made = of(
        [unbatched.node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)], {"x": ("n", 4)}, {"y": ("n",)}, axis=[1]
    )()
    made.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    return made


def unranked() -> Any:
    """An input that declares no shape."""
    made = relu("n", 3)()
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    return made


ADD, MUL = unbatched.node("Add", ["x", "s"], ["y"]), unbatched.node("Mul", ["x", "s"], ["y"])
MEAN = unbatched.node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=0)
SCALED = [unbatched.node("ReduceMax", ["x"], ["most"], keepdims=1), unbatched.node("Div", ["x", "most"], ["y"])]

TABLE = [
    # dynamic
    Row("rows", relu("batch", 3), True),
    Row("rows and steps", relu("batch", "steps", 3), True),
    Row("columns without names", of([ADD], {"x": (None, 1), "s": (None, 1)}, {"y": (None, 1)}), True),
    Row("vectors", relu("n"), True),
    # Triton has no tensor without an axis of its own: rows of a vector are a batch there only where requests are joined.
    Row("vectors that do not wait", relu("n"), True, joined=False, triton=False, delay=0),
    Row("rows that do not wait", relu("batch", 3), True, joined=False, delay=0),
    Row("rows that influence each other", of(SCALED, {"x": ("batch", 3)}, {"y": ("batch", 3)}), True, joined=False),
    # Triton's backend compares what an output declares, whatever running shows.
    Row("an output that declares one row", declared_one, True, joined=True, triton=False),
    # fixed
    Row("eight rows", relu(8, 3), False),
    Row("one row", relu(1, 3), False),
    # mixed
    Row("a fixed input", of([ADD], {"x": ("batch", 3), "s": (3,)}, {"y": ("batch", 3)}), False),
    Row(
        "a fixed output",
        of([unbatched.node("Relu", ["x"], ["y"]), MEAN], {"x": ("b", 3)}, {"y": ("b", 3), "mean": (3,)}),
        False,
    ),
    # rank 0, and none
    Row("a scalar input", of([MUL], {"x": ("batch", 3), "s": ()}, {"y": ("batch", 3)}), False),
    Row(
        "a scalar output",
        of([unbatched.node("ReduceSum", ["x"], ["y"], keepdims=0)], {"x": ("b", 3)}, {"y": ()}),
        False,
    ),
    Row("scalars", of([MUL], {"x": (), "s": ()}, {"y": ()}), False),
    Row("no declared shape", unranked, False, refused="UnsupportedShape"),
    # the batch on another axis
    Row("steps before the batch, by name", unbatched.named_time_first, False),
    Row("steps before the batch", unbatched.time_first, True, settled=False),
    Row("samples", unbatched.waveform, True, settled=False),
    Row("two lengths", unbatched.two_lengths, True, settled=False),
    # no input
    Row(
        "no input", of([unbatched.node("Relu", ["c"], ["y"])], {}, {"y": (2, 3)}, c=np.ones((2, 3), np.float32)), False
    ),
    # what the author says outweighs what the signature looks like
    Row("no batch, as the author says", relu("batch", 3), False, said="None"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_one_answer_everywhere(row: Row, tmp_path: Path) -> None:
    settled = row.declared if row.settled is None else row.settled
    joined = settled if row.joined is None else row.joined
    path = models.save(row.make(), tmp_path)

    found = validate(ValidateRequest(str(tmp_path), batch=row.said, dynamic_batch="Allowed"))
    assert (found.unbatched == "") is row.declared, found.unbatched
    optimized = optimize(
        OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), (), batch_sizes=(1, 3), batch=row.said)
    )
    assert (optimized.batch == "First") is settled, optimized.unbatched
    assert (optimized.unbatched == "") is settled
    original = optimized.variants[0]
    candidate = Candidate("original", str(path), digest(path), original.graph_level)
    measured = benchmark(
        BenchmarkRequest((candidate,), optimized.probe, (1, MOST), (1,), 0.005, windows=3, batch=optimized.batch)
    )
    assert {point.batch_size for point in measured.points} == ({1, MOST} if settled else {1})
    assert measured.batch == optimized.batch

    request = support.request(
        path,
        probe=optimized.probe,
        graph_level=original.graph_level,
        unjoined=original.unjoined,
        batch=optimized.batch,
        max_batch_size=MOST,
        max_queue_delay_microseconds=row.delay,
    )
    ours(request, settled, joined)
    if row.refused:
        with pytest.raises(StageError, match=row.refused):
            repository(RepositoryRequest(request, str(tmp_path / "repository")))
        return
    triton(request, tmp_path, settled if row.triton is None else row.triton, joined and row.triton is not False)


def ours(request: ServeRequest, settled: bool, joined: bool) -> None:
    """Our server's configuration, metadata and queue, and the load test on it."""
    with support.in_thread(request) as server:
        config, metadata = (
            json.loads(support.call(server.ports[0], "GET", f"/v2/models/{request.name}{path}")[1])
            for path in ("/config", "")
        )
        load = LoadTestRequest(
            request.name,
            request.host,
            request.probe,
            (Load(1, 1), Load(MOST, 1)),
            batch=request.batch,
            unjoined=request.unjoined,
            http_port=server.ports[0],
            seconds=0.005,
            windows=3,
        )
        loaded = loadtest(load)
    assert config["max_batch_size"] == (MOST if settled else 0)
    assert ("dynamic_batching" in config) is joined
    assert (joining.heard(config["parameters"]["batching"]["string_value"]) == "") is joined
    shapes = [tensor["shape"] for tensor in (*metadata["inputs"], *metadata["outputs"])]
    own = [tensor["dims"] for tensor in (*config["input"], *config["output"])]
    assert own == ([shape[1:] for shape in shapes] if settled else shapes)
    if settled:
        assert {shape[0] for shape in shapes} == {-1}
    assert loaded.batch == request.batch
    assert {point.batch_size for point in loaded.points} == ({1, MOST} if settled else {1})


def triton(request: ServeRequest, folder: Path, batched: bool, joined: bool) -> None:
    """Triton's config.pbtxt, as its repository is laid out."""
    result = repository(RepositoryRequest(replace(request, name="m"), str(folder / "repository")))
    written = (folder / "repository" / "m" / "config.pbtxt").read_text()
    config = text_format.Parse(written, model_config_pb2.ModelConfig())
    assert config.max_batch_size == (MOST if batched else 0)
    assert result.joins is joined
    assert (joining.heard(config.parameters["batching"].string_value) == "") is joined
    assert (config.dynamic_batching.max_queue_delay_microseconds > 0) is joined
