"""Results that the stages report of a good model, and what a played kubelet answers for a Job."""

import json
from collections.abc import Mapping
from typing import Any

from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Environment, Point
from onnxmodel_runtime.contract.loadtest import LoadTestResult
from onnxmodel_runtime.contract.model import Parity, Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult, Variant
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.stages import STAGES, Result
from onnxmodel_runtime.contract.validate import ModelFacts, ValidateResult

URI = "s3://models/magika/1/model.onnx"
SHA = {"original": "a" * 64, "fp32": "b" * 64}
GRID = ((1, 1), (1, 4), (8, 1), (8, 4))
"""The batch sizes and concurrencies that a model is measured at by default."""


def validated(**facts: Any) -> ValidateResult:
    """Return validate's result for a good model."""
    given = {
        "sha256": SHA["original"],
        "bytes": 1000,
        "ir_version": 8,
        "opset": 17,
        "producer": "pytorch",
        "nodes": 10,
        "parameters": 100,
        "inputs": (Tensor("x", "FP32", (-1, 4)),),
        "outputs": (Tensor("y", "FP32", (-1, 2)),),
    }
    return ValidateResult(ModelFacts(**{**given, **facts}), uri=URI)


def optimized(
    directory: str = "/artifacts/optimize/o", *, parity: bool = True, absolute: float = 1e-6
) -> OptimizeResult:
    """The original and an fp32 variant, which passes parity or not, in the directory that the request named."""
    result = Parity(parity, max_absolute=absolute, max_relative=1e-5, cosine=1.0, output="y", batch_sizes=(1, 3, 8))
    return OptimizeResult(
        variants=(
            Variant("original", "/artifacts/source/s/model.onnx", sha256=SHA["original"], bytes=1000, nodes=10),
            Variant(
                "fp32",
                f"{directory}/fp32/model.onnx",
                sha256=SHA["fp32"],
                bytes=900,
                nodes=7,
                graph_level="None",
                parity=result,
            ),
        ),
        probe=f"{directory}/probe.npz",
        provider=ProviderUse("CPU", 100.0, {"CPU": 7}),
    )


def points(
    variant: str, *, p50: float, throughput: float = 500.0, grid: tuple[tuple[int, int], ...] = GRID
) -> tuple[Point, ...]:
    """p50 where it is smallest, and the best throughput where it is largest."""
    return tuple(
        Point(
            variant,
            batch,
            callers,
            p50=p50 * size,
            p90=p50 * size * 1.2,
            p95=p50 * size * 1.5,
            p99=p50 * size * 2,
            throughput=rate,
            samples=100,
        )
        for batch, callers in grid
        for size in [batch * callers]
        for rate in [throughput if (batch, callers) == grid[-1] else min(1000 / p50, throughput)]
    )


def benchmarked(
    *, original: float = 4.0, fp32: float | None = 2.0, grid: tuple[tuple[int, int], ...] = GRID
) -> BenchmarkResult:
    """p50 in milliseconds of each candidate."""
    measured = points("original", p50=original, throughput=500.0, grid=grid)
    measured += points("fp32", p50=fp32, throughput=900.0, grid=grid) if fp32 is not None else ()
    where = Environment("a processor", 2.0, "", {"onnxruntime": "1.31.1"})
    return BenchmarkResult(measured, ProviderUse("CPU", 100.0, {"CPU": 7}), where, sizes={"length": 16})


def loaded(asked: Mapping[str, Any], *, p50: float = 2.5, throughput: float = 800.0) -> LoadTestResult:
    """Return a client's measurements under the loads of a request."""
    grid = tuple((load["batch_size"], load["concurrency"]) for load in asked["loads"])
    return LoadTestResult(points(asked["variant"], p50=p50, throughput=throughput, grid=grid))


def probed() -> ProbeResult:
    """A right answer."""
    return ProbeResult(3.0, 2.0, 0.0, ProviderUse("CPU", 100.0))


def stage_container(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container of a Job that runs the stage: an init container if what it makes is pushed after it."""
    pod = job["spec"]["template"]["spec"]
    containers: tuple[Mapping[str, Any], ...] = (*pod["containers"], *pod.get("initContainers", ()))
    return next(container for container in containers if container["args"][0] in STAGES)


def good(job: Mapping[str, Any]) -> Result:
    """Return the result of a healthy run of the Job."""
    command, _, request, *_ = stage_container(job)["args"]
    match command:
        case "validate":
            return validated()
        case "optimize":
            return optimized(json.loads(request)["directory"])
        case "benchmark":
            asked = json.loads(request)
            grid = tuple((b, c) for b in asked["batch_sizes"] for c in asked["concurrency"])
            return benchmarked(grid=grid)
        case "loadtest":
            return loaded(json.loads(request))
        case "probe":
            return probed()
        case _:
            raise NotImplementedError(f"no result of a healthy {command}; add one here")
