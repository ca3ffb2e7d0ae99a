"""`onnxmodel optimize`."""

import argparse
import math
from dataclasses import replace
from pathlib import Path

from onnxmodel_cli import arguments, values
from onnxmodel_cli.command import Command, outcome_of, requested, show
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import Calibration, OptimizeRequest
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.volume import (
    CALIBRATION_FILE,
    CALIBRATION_FOLDER,
    GOLDEN_FILE,
    GOLDEN_FOLDER,
    REPORT_FILE,
)
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.variants import RECIPES

_TOLERANCE, _CALIBRATION = Tolerance(), Calibration()


def _arguments(parser: Parser) -> None:
    parser.add_argument("model", help="the .onnx file")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for variants, probe.npz and report.json")
    parser.add_argument("--variants", type=_variants, default=("fp32",), help=f"any of {', '.join(RECIPES)} (fp32)")
    arguments.add_graph_level(parser)
    arguments.add_batch(parser)
    parser.add_argument(
        "--batch-sizes",
        type=values.batch_sizes,
        default=(1, 3, 8),
        help="batch sizes at which parity is measured (1,3,8)",
    )
    for name, most, what in (
        ("relative", math.inf, "tolerance relative to the original's value"),
        ("absolute", math.inf, "tolerance added to the relative one"),
        ("cosine", 1, "minimum cosine similarity of an output"),
    ):
        usual = getattr(_TOLERANCE, name)
        parser.add_argument(f"--{name}", type=values.number(most=most), default=usual, help=f"{what} ({usual:g})")
    arguments.add_providers(parser)
    parser.add_argument(
        "--calibration",
        choices=("MinMax", "Entropy", "Percentile"),
        default=_CALIBRATION.method,
        help=f"how int8-static determines ranges, from {CALIBRATION_FILE} or {GOLDEN_FILE} beside the model (MinMax)",
    )


def _variants(value: str) -> tuple[str, ...]:
    values.known("variant", found := values.names(value), tuple(RECIPES))
    return found


def _request(options: argparse.Namespace) -> OptimizeRequest:
    model = Path(options.model).absolute()
    return OptimizeRequest(
        str(model),
        digest(model),
        str(Path(options.out).absolute()),
        options.variants,
        options.graph_level,
        options.batch_sizes,
        Tolerance(options.relative, options.absolute, options.cosine),
        arguments.providers(options),
        replace(_CALIBRATION, method=options.calibration),
        str(model.parent) if arguments.beside(model, CALIBRATION_FILE, CALIBRATION_FOLDER) else "",
        arguments.beside(model, GOLDEN_FILE, GOLDEN_FOLDER),
        batch=options.batch,
    )


def _run(options: argparse.Namespace) -> int:
    request: OptimizeRequest = requested(options, _request)
    outcome = outcome_of(Stage.OPTIMIZE, request, options)
    if outcome.result is not None:
        from onnxmodel_runtime.models.records import write_report

        write_report(outcome, Path(request.directory) / REPORT_FILE)
    return show(outcome, options)


COMMAND = Command(
    Stage.OPTIMIZE,
    "build variants and compare each with the original",
    _arguments,
    _run,
    places=("model",),
    folder="out",
)
