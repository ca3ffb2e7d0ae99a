"""`onnxmodel render`: the objects that the operator would make."""

import argparse
import json
import sys
from pathlib import Path

from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import USAGE, Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_NOTE = """\
# Made without a cluster: names, digests and folders depend on the results of the stages, which are assumed here.
"""


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "-f", "--filename", type=Path, required=True, metavar="YAML", help="the manifest; - for standard input"
    )
    parser.add_argument("--name", default="", help="name of the OnnxModel, if the file has several")
    parser.add_argument("--settings", type=Path, metavar="YAML", help="the chart's values, or the settings in them")
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="format of the objects (yaml)")


def _run(options: argparse.Namespace) -> int:
    try:
        import yaml

        from onnxmodel_cli.pipeline import manifest, offline
        from onnxmodel_operator.api.resource import SpecError
        from onnxmodel_operator.platform.settings import SettingsError
    except ModuleNotFoundError as error:
        options.parser.error(f"render needs the Python package {error.name}: pip install 'onnxmodel-operator[cli]'")
    texts = (options.filename, options.settings)
    options.parser.needs(*(str(place) for place in texts if place and str(place) != "-"), streams=True)
    try:
        model = manifest.read_model(options.filename, options.name)
        settings = (
            manifest.read_settings(options.settings, images=True) if options.settings else manifest.this_machine(model)
        )
        found = offline.objects(model, settings)
    except offline.NotRenderedError as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.REFUSED
    except (SpecError, SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    if options.output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}, indent=2))
    else:
        print(_NOTE + yaml.safe_dump_all(found, sort_keys=False), end="")
    return ExitCode.OK


COMMAND = Command(
    "render",
    "print the objects that the operator would make for a manifest, without a cluster",
    _arguments,
    _run,
    formats=(),
)
