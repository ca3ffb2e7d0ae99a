"""Variants that others make of the same file: plain ONNX Runtime, and Olive's passes."""

import json
import os
import subprocess
from pathlib import Path

from benchmarks.optimize.cases import Case
from onnxmodel_runtime.contract.volume import MODEL_FILE

PLAIN = "ort-all"  # the original, with ORT_ENABLE_ALL when it is loaded
HERE = Path(__file__).parent
_PEEPHOLE = {"type": "OnnxPeepholeOptimizer"}
OLIVE = {
    "olive-peephole": [_PEEPHOLE],
    "olive-transformers": [_PEEPHOLE, {"type": "OrtTransformersOptimization", "model_type": "bert"}],
    "olive-fp16": [_PEEPHOLE, {"type": "OnnxFloatToFloat16", "keep_io_types": True}],
    "olive-int8-dynamic": [_PEEPHOLE, {"type": "OnnxDynamicQuantization"}],
    "olive-int8-static": [_PEEPHOLE, {"type": "OnnxStaticQuantization", "data_config": "rows"}],
}
_SECONDS = 300


def rivals(case: Case, python: Path | None) -> dict[str, Path | str]:
    """Name -> the model, or why there is none. python: of Olive's virtual environment, None without Olive."""
    made: dict[str, Path | str] = {PLAIN: case.model}
    return made if python is None else made | _olive(case, python)


def _olive(case: Case, python: Path) -> dict[str, Path | str]:
    directory = case.folder / "olive"
    directory.mkdir(exist_ok=True)
    request = directory / "request.json"
    names = {"model": case.model, "directory": directory, "calibration": case.calibration}
    request.write_text(json.dumps({**{name: str(path) for name, path in names.items()}, "passes": OLIVE}))
    command: list[str | Path] = [python, "-P", HERE / "olive_worker.py", request]
    # Its own folder: Olive's tools leave files where they run. Nothing of this process's Python path: it has its own.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (directory / "olive.log").open("w") as log:
        try:
            subprocess.run(
                command,
                cwd=directory,
                env={**kept, "OLIVE_DISABLE_TELEMETRY": "1"},
                stdout=log,
                stderr=log,
                timeout=_SECONDS,
                check=True,
            )
        except subprocess.SubprocessError as error:
            return dict.fromkeys(OLIVE, f"Olive failed: {error} ({log.name})")
    told: dict[str, str] = json.loads((directory / "olive.json").read_text())
    return {name: why or directory / name / MODEL_FILE for name, why in told.items()}
