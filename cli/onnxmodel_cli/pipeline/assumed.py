"""Results of stages that all went well, for objects that are made before any stage has run."""

from typing import Any

from onnxmodel_operator.plan.values import Step
from onnxmodel_runtime.contract.benchmark import BenchmarkResult, Environment, Point
from onnxmodel_runtime.contract.loadtest import LoadTestResult
from onnxmodel_runtime.contract.model import Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult, Variant
from onnxmodel_runtime.contract.probe import ProbeResult
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.contract.stages import Result, Stage
from onnxmodel_runtime.contract.validate import ModelFacts, ValidateResult

_SHA = "0" * 64


def result(step: Step) -> Result:
    """Return a healthy result of the step: of a small model with one variant, the original."""
    request: Any = step.request
    use = ProviderUse(_first(request), 100.0, {})
    match step.stage:
        case Stage.VALIDATE:
            tensors = (Tensor("input", "FP32", (-1, 1)),), (Tensor("output", "FP32", (-1, 1)),)
            return ValidateResult(
                ModelFacts(_SHA, 1, 8, 17, "unknown", 1, 1, *tensors), uri=step.fetch.uri if step.fetch else ""
            )
        case Stage.OPTIMIZE:
            original = Variant("original", request.model, sha256=_SHA, bytes=1, nodes=1)
            return OptimizeResult(variants=(original,), probe=f"{request.directory}/probe.npz", provider=use)
        case Stage.BENCHMARK:
            grid = [(batch, callers) for batch in request.batch_sizes for callers in request.concurrency]
            points = tuple(_point(each.name, *load) for each in request.candidates for load in grid)
            return BenchmarkResult(points, use, Environment("unknown", 1.0, "", {}))
        case Stage.LOADTEST:
            return LoadTestResult(
                tuple(_point(request.variant, load.batch_size, load.concurrency) for load in request.loads)
            )
        case Stage.PROBE:
            return ProbeResult(1.0, 1.0, 0.0, use)


def _first(request: Any) -> str:
    """The provider that would serve."""
    match getattr(request, "providers", ()):
        case Providers(names=names):
            return names[0]
        case (str(name), *_):
            return name
    return "CPU"


def _point(variant: str, batch: int, callers: int) -> Point:
    """The fastest that any constraint can ask for."""
    return Point(variant, batch, callers, p50=0.001, p90=0.001, p95=0.001, p99=0.001, throughput=1e9, samples=1)
