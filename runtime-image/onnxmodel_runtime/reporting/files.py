"""Write the benchmark's results as one file for machines (benchmark.json) and one for people (report.html).

The page is made of the JSON alone, so that a copy of it is enough to make the page again.
"""

import json
from pathlib import Path

import onnx

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult
from onnxmodel_runtime.contract.codec import dumps, load
from onnxmodel_runtime.contract.optimize import OptimizeResult
from onnxmodel_runtime.contract.validate import ModelFacts
from onnxmodel_runtime.contract.volume import BENCHMARK_FILE, MANIFEST_FILE, REPORT_PAGE
from onnxmodel_runtime.errors import clip, words
from onnxmodel_runtime.measuring.profiler import Operator
from onnxmodel_runtime.measuring.windows import Spread
from onnxmodel_runtime.models import graph
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.records import write_beside
from onnxmodel_runtime.reporting.page import render
from onnxmodel_runtime.reporting.report import Report
from onnxmodel_runtime.sandbox.progress import log, step


def write(
    request: BenchmarkRequest,
    result: BenchmarkResult,
    spreads: tuple[Spread, ...],
    operators: dict[str, tuple[Operator, ...]],
) -> None:
    """Write both files into request.directory. They lack whatever the optimize stage's report lacks."""
    step("writing the report")
    beside = Path(request.optimized) if request.optimized else None
    manifest = beside.with_name(MANIFEST_FILE) if beside else None
    whole = Report(
        request,
        result,
        manifest_sha256=digest(manifest) if manifest and manifest.is_file() else "",
        model=_facts(Path(request.candidates[0].path)),
        optimized=_optimized(beside) if beside else None,
        spreads=spreads,
        operators=operators,
    )
    directory = Path(request.directory)
    write_beside(directory / BENCHMARK_FILE, dumps(whole))
    write_beside(directory / REPORT_PAGE, render(whole))


def _facts(path: Path) -> ModelFacts | None:
    try:
        model = onnx.load_model(path, load_external_data=False)
        return graph.facts(model, path, set(graph.external_files(model, path.parent)))
    except Exception as error:  # no ONNX file, such as one in ORT format; it was measured nevertheless
        log(f"no facts about {path.name}: {clip(words(error), 200)}")
        return None


def _optimized(path: Path) -> OptimizeResult | None:
    try:
        return load(OptimizeResult, json.loads(path.read_text())["result"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        log(f"cannot read the report of optimize: {clip(words(error), 200)}")
        return None
