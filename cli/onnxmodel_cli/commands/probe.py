"""`onnxmodel probe`."""

import argparse

from onnxmodel_cli import arguments, values
from onnxmodel_cli.command import Command, stage
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.probe import ProbeRequest
from onnxmodel_runtime.contract.stages import Stage


def _arguments(parser: Parser) -> None:
    parser.add_argument("host", type=values.host, help="host of the server, which has 30 s to become ready")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--probe", required=True, metavar="NPZ", help="probe.npz written by optimize")
    arguments.add_ports(parser, ["http_port", "grpc_port"])


def _request(options: argparse.Namespace) -> ProbeRequest:
    return ProbeRequest(
        options.name, options.host, options.probe, http_port=options.http_port, grpc_port=options.grpc_port
    )


COMMAND = Command(
    Stage.PROBE,
    "send the probe to a running server and compare its outputs",
    _arguments,
    stage(Stage.PROBE, _request),
    places=("probe",),
)
