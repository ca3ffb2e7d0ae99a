"""`onnxmodel run`: every stage of a manifest, without a cluster."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from onnxmodel_cli.asked import LAST, Asked
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.stages import Stage

_INTERRUPTED = 130  # as shells have it


def run_pipeline(asked: Asked, parser: Parser) -> int:
    """Run the stages and return the exit code. The operator decides; an image of the runtime does not have it."""
    try:
        from onnxmodel_cli import pipeline
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("onnxmodel_operator"):
            raise
        print("error: the operator is not installed here: pip install onnxmodel-operator[operator]", file=sys.stderr)
        return ExitCode.REFUSED
    try:
        return pipeline.run(asked, parser)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _arguments(parser: Parser) -> None:
    parser.add_argument("manifest", type=Path, help="a YAML file with an OnnxModel; - for standard input")
    parser.add_argument("--name", default="", help="which OnnxModel, where the file has several")
    parser.add_argument("--model", default="", metavar="PATH", help="take the model from here instead of source.uri")
    parser.add_argument("--golden", default="", metavar="PATH", help="take golden data from here")
    parser.add_argument("--calibration", default="", metavar="PATH", help="take calibration data from here")
    parser.add_argument("--signature", default="", metavar="FILE", help="take the signature from here")
    parser.add_argument("--public-key", default="", metavar="PEM", help="of the signature: a file, or its text")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep artifacts and reports here")
    parser.add_argument("--settings", type=Path, metavar="YAML", help="the platform's settings (settings of the chart)")
    parser.add_argument("--until", choices=[stage.value for stage in Stage], default=LAST.value, help="stop after it")
    parser.add_argument("--output", choices=("text", "json", "sarif"), default="text", help="json: the status")


def _run(options: argparse.Namespace) -> int:
    parser: Parser = options.parser
    asked = Asked(**{field.name: getattr(options, field.name) for field in fields(Asked)})
    local = (asked.manifest, asked.settings, asked.model, asked.golden, asked.calibration, asked.signature)
    parser.needs(*(str(place) for place in local if place and str(place) != "-"))
    return run_pipeline(asked, parser)


COMMAND = Command(
    "run",
    "run all stages of an OnnxModel manifest here, without a cluster",
    _arguments,
    _run,
    formats=(),
    description="Run every stage of an OnnxModel here, without a cluster, with the verdict that a cluster would give.",
    epilog="Exit codes: 0 Ready (or --until's stage is done); 2 the command line, the manifest or the settings are wrong, or "
    "a file is not there; 10 refused; 11 something outside was not there, try "
    "again; 1 a defect. Credentials come from the environment, as in the model's Secret.",
)
