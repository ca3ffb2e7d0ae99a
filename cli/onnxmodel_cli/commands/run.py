"""`onnxmodel run`: every stage of a manifest, without a cluster."""

import argparse
from dataclasses import fields
from pathlib import Path

from onnxmodel_cli import arguments
from onnxmodel_cli.asked import LAST, Asked
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_cli.runner import run_pipeline
from onnxmodel_runtime.contract.stages import Stage


def _arguments(parser: Parser) -> None:
    parser.add_argument("manifest", type=Path, help="YAML file with an OnnxModel; - for standard input")
    parser.add_argument("--name", default="", help="name of the OnnxModel, if the file has several")
    parser.add_argument("--model", default="", metavar="PATH", help="use this model instead of source.uri")
    parser.add_argument("--golden", default="", metavar="PATH", help="use this golden data")
    parser.add_argument("--calibration", default="", metavar="PATH", help="use this calibration data")
    parser.add_argument("--signature", default="", metavar="FILE", help="use this signature")
    parser.add_argument(
        "--public-key", default="", metavar="PEM", help="public key for the signature: a file, or its text"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write artifacts and reports here")
    arguments.add_settings(parser)
    parser.add_argument(
        "--until", choices=[stage.value for stage in Stage], default=LAST.value, help=f"stop after this stage ({LAST})"
    )
    parser.add_argument(
        "--output",
        choices=("text", "json", "sarif"),
        default="text",
        help="json: print the status; sarif: print the findings (text)",
    )


def _run(options: argparse.Namespace) -> int:
    parser: Parser = options.parser
    asked = Asked(**{field.name: getattr(options, field.name) for field in fields(Asked)})
    texts = (asked.manifest, asked.settings)
    parser.needs(*(str(place) for place in texts if place and str(place) != "-"), streams=True)
    parser.needs(asked.model, asked.golden, asked.calibration, asked.signature)
    return run_pipeline(asked, parser)


COMMAND = Command(
    "run",
    "run all stages of an OnnxModel manifest on this machine, without a cluster",
    _arguments,
    _run,
    folder="out",
    formats=(),
    description="Run every stage of an OnnxModel on this machine, without a cluster, with the same verdict as "
    "in a cluster.",
    epilog="Exit codes: 0 Ready (or the stage of --until has finished); 2 the command line, the manifest "
    "or the settings are invalid, or a file does not exist; 10 refused; 11 something outside was "
    "unavailable, retry; 1 a bug; 130 interrupted. Credentials come from the environment, with the keys of the "
    "model's Secret as names.",
)
