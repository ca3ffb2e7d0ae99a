"""`onnxmodel verify`."""

import argparse
import dataclasses
import json
from pathlib import Path

from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.volume import MANIFEST_FILE


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "directory", metavar="folder", help="output folder of optimize, or a model's volume (/artifacts)"
    )


def _run(options: argparse.Namespace) -> int:
    from onnxmodel_runtime.stages.verify import verify

    directory = Path(options.directory)
    if not (directory / MANIFEST_FILE).is_file() and not (directory / Stage.OPTIMIZE).is_dir():
        options.parser.error(
            f"{options.directory!r} is neither a folder of variants (there is no {MANIFEST_FILE} in it) nor a model's "
            f"volume (there is no {Stage.OPTIMIZE}/)"
        )
    files, problems = verify(directory)
    if options.output == "json":
        print(json.dumps({"files": files, "problems": [dataclasses.asdict(problem) for problem in problems]}, indent=2))
    else:
        print("\n".join(problem.message for problem in problems) or f"{files} files match their recorded digests")
    return ExitCode.REFUSED if problems else ExitCode.OK


COMMAND = Command("verify", "compare files with their recorded digests", _arguments, _run, places=("directory",))
