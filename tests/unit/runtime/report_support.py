"""Reports to make pages of: as large as they can be, and with names that mean harm."""

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Candidate, Environment, Point
from onnxmodel_runtime.contract.model import Parity, Tensor
from onnxmodel_runtime.contract.optimize import OptimizeResult, Pass, Variant
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.contract.validate import ModelFacts
from onnxmodel_runtime.measuring.profiler import Operator
from onnxmodel_runtime.measuring.windows import PERCENTS, Spread
from onnxmodel_runtime.reporting.report import Report

VARIANTS = ("original", "fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort")
SIZES, CALLERS = (1, 8, 16, 32), (1, 2, 4, 8)


def report(
    variants: tuple[str, ...] = VARIANTS,
    sizes: tuple[int, ...] = SIZES,
    callers: tuple[int, ...] = CALLERS,
    *,
    name: str = "",
) -> Report:
    """Every variant at every batch size and concurrency, fp16 with wrong answers, and one that could not be made.

    name: what everything is called that a model may name.
    """
    measured = tuple(variant for variant in variants if variant != "fp16")
    grid = [(variant, size, count) for variant in measured for size in sizes for count in callers]

    def fast(variant: str) -> float:
        return 1 + 0.2 * variants.index(variant)

    def point(variant: str, size: int, count: int) -> Point:
        p50 = 4.0 * (1 + (size - 1) / 3) * count / fast(variant)
        noisy = variant == "ort" and count == max(callers)
        return Point(
            variant,
            size,
            count,
            p50=p50,
            p95=1.2 * p50,
            p99=1.5 * p50,
            throughput=1000 * size * count / p50,
            samples=200,
            p90=1.1 * p50,
            noisy=noisy,
        )

    def spread(variant: str, size: int, count: int) -> Spread:
        p50 = point(variant, size, count).p50
        factors = dict(zip(PERCENTS, (0.9, 0.95, 1, 1.06, 1.1, 1.2, 1.5, 3), strict=True))
        return Spread(variant, size, count, 4, tuple(p50 * factors[rank] for rank in PERCENTS))

    def parity(variant: str) -> Parity:
        wrong = variant == "fp16"
        return Parity(
            not wrong,
            max_absolute=0.7 if wrong else 1e-5,
            max_relative=0.1,
            cosine=0.99,
            output=name or "scores",
            batch_sizes=(1, 3, 8),
            note="",
            top1=0.97,
        )

    made = tuple(
        Variant(
            variant,
            f"/artifacts/{variant}/model.onnx",
            sha256=f"{index:064x}",
            bytes=3_000_000 // (1 + index),
            nodes=95 - index,
            parity=None if variant == "original" else parity(variant),
            passes=(Pass(name or "constant folding", 90, 2_900_000, ""), Pass("shape inference", 90, 2_900_000, name)),
        )
        for index, variant in enumerate(variants)
    )
    skipped = Variant("int4", skipped=f"this image cannot build it {name}")
    tensors = tuple(Tensor(f"{name or 'input'}{index}", "FP32", (-1, 3, 224, 224)) for index in range(25))
    operators = tuple(
        Operator(f"{index}{name or 'Operator'}", ("CPU", "CUDA")[index % 2], 10 / (1 + index), 3.0)
        for index in range(20)
    )
    use = ProviderUse("CUDA", 90.0, {"CUDA": 90, "CPU": 10})
    return Report(
        BenchmarkRequest(
            tuple(Candidate(v.name, v.path, v.sha256) for v in made if v.name in measured),
            "",
            sizes,
            callers,
            providers=Providers(("CUDA", "CPU")),
        ),
        BenchmarkResult(
            tuple(point(*cell) for cell in grid),
            use,
            Environment(
                name or "a processor", 7.5, name or "NVIDIA L4", {"onnxruntime": "1.31.1", "onnx": name or "1"}
            ),
            dict.fromkeys(measured, 0.25),
            dict.fromkeys(measured, 40 << 20),
            dict.fromkeys(measured, use),
        ),
        manifest_sha256="f" * 64,
        model=ModelFacts("a" * 64, 3_000_000, 8, 17, name or "a producer", 95, 784_519, tensors, tensors),
        optimized=OptimizeResult((*made, skipped), "/artifacts/probe.npz", use),
        spreads=tuple(spread(*cell) for cell in grid),
        operators=dict.fromkeys(measured, operators),
    )
