"""`python -m benchmarks.memory`: how much memory the optimize stage needs, and how long it takes, for each variant.

Each variant is made by a stage of its own that runs as a Job does; then all in one, as in a Job that is asked for all.
With a tiny model it is what the processes themselves need. The peak is of the whole process tree (the Job's first process,
the stage, the child that makes a variant), read every few milliseconds: the pages that are each process's own (statm:
resident without shared). What they map of files, such as libraries, is not in it: the kernel takes these pages back where
a container reaches its limit.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.processes import own, tree
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult
from onnxmodel_runtime.contract.outcome import decode
from onnxmodel_runtime.contract.volume import CALIBRATION_FILE, MODEL_FILE
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.variants import RECIPES

LAYERS = 10
SIZE = 299  # MiB of weights
TINY = 0.01
ROWS = 16  # to calibrate with
PAUSE = 0.01  # seconds between two looks
_MIB = 1 << 20


@dataclass(frozen=True)
class Seen:
    """The peak in bytes; seconds of the stage, and of the processor."""

    peak: int
    seconds: float
    cpu: float


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--size", type=float, default=SIZE, metavar="MIB", help=f"of the model's weights ({SIZE})")
    parser.add_argument("--variants", nargs="+", choices=RECIPES, default=tuple(RECIPES))
    options = parser.parse_args()
    variants = tuple(options.variants)
    runs = [(variants, TINY), *(((name,), options.size) for name in variants), (variants, options.size)]
    print("| variants | model, MiB | peak, MiB | times the model | seconds | CPU seconds |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        models = {size: _model(Path(scratch, f"{size:g}"), size) for size in (TINY, options.size)}
        for names, size in runs:
            seen = measured(models[size], names)
            label = f"`{names[0]}`" if len(names) == 1 else f"all {len(names)}"
            times = f"{seen.peak / _MIB / size:.1f}" if size != TINY else ""
            memory = f"{label} | {size:g} | {seen.peak / _MIB:.0f} | {times}"
            print(f"| {memory} | {seen.seconds:.0f} | {seen.cpu:.0f} |", flush=True)
    return 0


def measured(model: Path, variants: tuple[str, ...]) -> Seen:
    """Run the stage as a Job does. Raises RuntimeError where it does not make all of the variants."""
    with tempfile.TemporaryDirectory(dir=model.parent) as out:
        # The sizes are those of the operator's request (plan/stages/optimize.py), with the API's default of maxBatchSize.
        request = OptimizeRequest(
            str(model),
            digest(model),
            out,
            variants,
            batch_sizes=(1, 3),
            max_batch_size=32,
            calibration_data=str(model.parent),
        )
        command = [sys.executable, "-m", "onnxmodel_runtime", "optimize", "--request", dumps(request)]
        log, message = Path(out, "log"), Path(out, "termination-log")
        environment = os.environ | {"ONNXMODEL_TERMINATION_LOG": str(message)}
        began, before, peak = time.monotonic(), _cpu(), 0
        with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file, env=environment) as process:
            while process.poll() is None:
                peak = max(peak, sum(map(own, tree(process.pid))))
                time.sleep(PAUSE)
        seconds, cpu = time.monotonic() - began, _cpu() - before
        result = decode(message.read_text()).result if process.returncode == 0 else None
        if not isinstance(result, OptimizeResult) or any(not variant.path for variant in result.variants):
            raise RuntimeError(f"{', '.join(variants)}: not all were made:\n{log.read_text()[-3000:]}")
    return Seen(peak, seconds, cpu)


def _cpu() -> float:
    """Of all that has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _model(folder: Path, size: float) -> Path:
    """A chain of MatMul and GELU, as PyTorch exports it, so that every pass finds something; rows to calibrate with beside it."""
    folder.mkdir()
    width = round((size * _MIB / 4 / LAYERS) ** 0.5)
    random = np.random.default_rng(0)
    constants = {"sqrt2": 2**0.5, "one": 1.0, "half": 0.5}
    tensors = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    nodes = []
    for n in range(LAYERS):
        weight = random.standard_normal((width, width), np.float32) * np.float32((2 / width) ** 0.5)
        tensors.append(numpy_helper.from_array(weight, f"w{n}"))
        nodes += [
            helper.make_node("MatMul", ["x" if n == 0 else f"y{n - 1}", f"w{n}"], [f"m{n}"]),
            helper.make_node("Div", [f"m{n}", "sqrt2"], [f"d{n}"]),
            helper.make_node("Erf", [f"d{n}"], [f"e{n}"]),
            helper.make_node("Add", [f"e{n}", "one"], [f"a{n}"]),
            helper.make_node("Mul", [f"m{n}", f"a{n}"], [f"p{n}"]),
            helper.make_node("Mul", [f"p{n}", "half"], ["y" if n == LAYERS - 1 else f"y{n}"]),
        ]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "chain", [x], [y], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, folder / MODEL_FILE)
    rows: dict[str, Any] = {"input:x": random.standard_normal((ROWS, width), np.float32)}
    np.savez(folder / CALIBRATION_FILE, **rows)
    return folder / MODEL_FILE


if __name__ == "__main__":
    sys.exit(main())
