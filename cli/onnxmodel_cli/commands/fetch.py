"""`onnxmodel fetch`."""

import argparse
from pathlib import Path

from onnxmodel_cli import values
from onnxmodel_cli.command import Command, stage
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.stages import FETCH


def _arguments(parser: Parser) -> None:
    parser.add_argument("uri", help="s3://bucket/key, https://…, or a local path; a folder ends in '/'")
    parser.add_argument("directory", metavar="folder", help="created as a whole or not at all")
    parser.add_argument("--sha256", type=values.sha256, help="expected digest of model.onnx")


def _request(options: argparse.Namespace) -> FetchRequest:
    return FetchRequest(options.uri, str(Path(options.directory).absolute()), options.sha256 or "")


def _run(options: argparse.Namespace) -> int:
    if Path(options.directory).is_file():
        options.parser.error(f"{options.directory!r} is a file; name a folder, which is created")
    options.parser.makes(str(Path(options.directory).absolute().parent))
    return stage(FETCH, _request)(options)


COMMAND = Command(
    FETCH,
    "copy a model into a folder and compute its digests",
    _arguments,
    _run,
    places=("uri",),
)
