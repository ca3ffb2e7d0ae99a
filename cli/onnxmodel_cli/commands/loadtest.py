"""`onnxmodel loadtest`."""

import argparse

from onnxmodel_cli import arguments, values
from onnxmodel_cli.command import Command, stage
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest
from onnxmodel_runtime.contract.stages import Stage


def _arguments(parser: Parser) -> None:
    parser.add_argument("host", type=values.host, help="host of the server, which has 30 s to become ready")
    parser.add_argument("--name", required=True, help="the model's name")
    parser.add_argument("--probe", required=True, metavar="NPZ", help="probe.npz written by optimize")
    arguments.add_batch(parser)
    parser.add_argument(
        "--batch-sizes", type=values.batch_sizes, default=(1,), help="rows per request, separated by commas (1)"
    )
    parser.add_argument("--concurrency", type=values.concurrency, default=(1, 4), help="concurrent clients (1,4)")
    arguments.add_ports(parser, ["http_port"])


def _request(options: argparse.Namespace) -> LoadTestRequest:
    loads = tuple(Load(batch, callers) for batch in options.batch_sizes for callers in options.concurrency)
    return LoadTestRequest(
        options.name, options.host, options.probe, loads, http_port=options.http_port, batch=options.batch
    )


COMMAND = Command(
    Stage.LOADTEST,
    "measure a running server from a client's side, over HTTP",
    _arguments,
    stage(Stage.LOADTEST, _request),
    places=("probe",),
)
