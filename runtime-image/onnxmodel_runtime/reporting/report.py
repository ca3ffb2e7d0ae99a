"""The data of a benchmark's report: benchmark.json, from which report.html is made."""

from dataclasses import dataclass, field
from pathlib import Path

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult
from onnxmodel_runtime.contract.codec import ContractError, loads
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.validate import ModelFacts
from onnxmodel_runtime.contract.volume import BENCHMARK_FILE
from onnxmodel_runtime.measuring.profiler import Operator
from onnxmodel_runtime.measuring.windows import Spread

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Report:
    """manifest_sha256: of the optimize stage's manifest, "" where there is none. operators: by variant, the slowest first."""

    request: BenchmarkRequest
    result: BenchmarkResult
    schema: int = SCHEMA
    manifest_sha256: str = ""
    model: ModelFacts | None = None
    optimized: OptimizeResult | None = None
    spreads: tuple[Spread, ...] = ()
    operators: dict[str, tuple[Operator, ...]] = field(default_factory=dict)


def read(path: Path) -> Report:
    """Read a benchmark.json, or that of a directory. Raises OSError, and ContractError for any other file."""
    report = loads(Report, (path / BENCHMARK_FILE if path.is_dir() else path).read_text())
    if report.schema != SCHEMA:
        raise ContractError(f"schema {report.schema}: this onnxmodel reads schema {SCHEMA}")
    return report
