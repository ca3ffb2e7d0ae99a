"""`onnxmodel repository`."""

import argparse
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from onnxmodel_cli import arguments, serving, values
from onnxmodel_cli.command import Command, outcome_of, requested, show
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.stages import REPOSITORY


def _arguments(parser: Parser) -> None:
    parser.add_argument("model", help="the .onnx file, or a folder that holds model.onnx")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for tritonserver's --model-repository")
    serving.add_serving(parser)
    parser.add_argument(
        "--gpus",
        type=values.integer(0, 64),
        default=1,
        help="number of GPUs that Triton has, if the providers use any (1)",
    )
    parser.add_argument("--engines", default="", metavar="DIR", help="folder for TensorRT engines")
    arguments.add_providers(parser)


def _request(options: argparse.Namespace) -> RepositoryRequest:
    engines = str(Path(options.engines).absolute()) if options.engines else ""
    out = str(Path(options.out).absolute())
    serve = replace(serving.request(options), max_queue_size=options.max_queue_size or 0)
    return RepositoryRequest(serve, out, options.gpus, engines=engines)


def _run(options: argparse.Namespace) -> int:
    from onnxmodel_cli import proof

    request: RepositoryRequest = requested(options, _request)
    with ExitStack() as made:
        try:
            serve = made.enter_context(proof.proven(request.serve, options))
        except proof.ERRORS as error:
            return proof.show_error(REPOSITORY, error, options)
        return show(outcome_of(REPOSITORY, replace(request, serve=serve), options), options)


COMMAND = Command(
    REPOSITORY, "create a model repository for NVIDIA Triton", _arguments, _run, places=("model", "probe"), folder="out"
)
