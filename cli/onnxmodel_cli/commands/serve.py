"""`onnxmodel serve`."""

import argparse
import errno
import socket
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnxmodel_cli import arguments, serving
from onnxmodel_cli.command import Command, requested
from onnxmodel_cli.parser import Parser
from onnxmodel_cli.wording import in_options, worded
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import SERVE


def _arguments(parser: Parser) -> None:
    parser.add_argument("model", help="the .onnx file, or a folder that holds model.onnx")
    serving.add_serving(parser)
    parser.add_argument("--engine-cache", default="", metavar="DIR", help="folder for TensorRT engines (none)")
    parser.add_argument("--access-log", action="store_true", help="log one line of JSON for each inference")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    arguments.add_ports(parser, arguments.PORTS, least=0)
    arguments.add_providers(parser)


def _request(options: argparse.Namespace) -> ServeRequest:
    if wrong := _place(options):
        raise ValueError(wrong)
    cache = str(Path(options.engine_cache).absolute()) if options.engine_cache else ""
    ports = {name: getattr(options, name) for name in arguments.PORTS}
    made = serving.request(options)
    return replace(made, engine_cache=cache, access_log=options.access_log, host=options.host, **ports)


def _place(options: argparse.Namespace) -> str:
    """Return why the server cannot listen at this address and these ports, whoever else listens; "" if it can."""
    chosen = [(name, port) for name in arguments.PORTS if (port := getattr(options, name))]
    for place, (name, port) in enumerate(chosen):
        if other := next((other for other, same in chosen[:place] if same == port), ""):
            one, two = (f"--{each.replace('_', '-')}" for each in (other, name))
            return f"{one} and {two} are both {port}; choose another port for one of them"
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        socket.create_server((options.host, 0), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL or (error.errno or 0) < 0:  # below 0: of getaddrinfo
            return (
                f"--host {options.host!r} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all of its "
                "addresses"
            )
    return ""


def _run(options: argparse.Namespace) -> int:
    from onnxmodel_cli import proof

    request: ServeRequest = requested(options, _request)
    known = options.parser.options()
    with ExitStack() as made:
        try:
            completed = made.enter_context(proof.proven(request, options))
        except proof.ERRORS as error:
            return proof.show_error(SERVE, error, options)
        from onnxmodel_runtime.server.main import serve

        return serve(completed, partial(worded, options=known), made.close, partial(in_options, options=known))


COMMAND = Command(
    SERVE, "serve a model with the Open Inference Protocol", _arguments, _run, places=("model", "probe"), formats=()
)
