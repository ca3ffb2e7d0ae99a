"""`onnxmodel wait`."""

import argparse

from onnxmodel_cli.command import Command, stage
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.stages import Stage
from onnxmodel_runtime.contract.wait import WaitRequest


def _arguments(parser: Parser) -> None:
    parser.add_argument("--seconds", type=float, default=1.0)


def _request(options: argparse.Namespace) -> WaitRequest:
    return WaitRequest(options.seconds)


COMMAND = Command(Stage.WAIT, "wait for a while", _arguments, stage(Stage.WAIT, _request))
