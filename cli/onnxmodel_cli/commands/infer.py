"""`onnxmodel infer`: one inference by a model in a cluster."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from onnxmodel_cli.cluster.asking import add_inputs, shapes_of
from onnxmodel_cli.cluster.inputs import InputsError, request
from onnxmodel_cli.cluster.kubectl import Kubectl, add_form, add_model, in_cluster, shown
from onnxmodel_cli.cluster.tunnel import TunnelError, ask, tunnel
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_SHOWN = 8
_TIMEOUT_SECONDS = 120


def _arguments(parser: Parser) -> None:
    add_model(parser)
    add_form(parser)
    add_inputs(parser)
    parser.add_argument(
        "--data", default="", metavar="JSON", help="file with the body of a request, or -; random values without it"
    )


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    shapes = shapes_of(options)
    body = _given(options)
    try:
        with tunnel(kubectl, options.model) as port:
            connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
            path = f"/v2/models/{options.model}"
            if body is None:
                metadata = ask(connection, path)
                body = request(metadata, options.batch, options.size, shapes, options.seed)
            began = time.perf_counter()
            answer = ask(connection, f"{path}/infer", json.dumps(body).encode())
            milliseconds = 1000 * (time.perf_counter() - began)
    except (TunnelError, InputsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.REFUSED
    print(_told(answer, milliseconds) if options.output == "text" else shown(answer, options.output))
    return ExitCode.OK


def _given(options: argparse.Namespace) -> Any:
    """The body of --data, or None. Ends with exit code 2 where it cannot be read."""
    if not options.data:
        return None
    try:
        text = sys.stdin.read() if options.data == "-" else Path(options.data).read_text(encoding="utf-8")
        body = json.loads(text)
    except (OSError, ValueError) as error:
        options.parser.error(f"cannot read {options.data!r} as JSON: {error}")
    if not isinstance(body, dict) or "inputs" not in body:
        options.parser.error(f'{options.data!r} is not a request of the Open Inference Protocol: {{"inputs": [...]}}')
    return body


def _told(answer: Mapping[str, Any], milliseconds: float) -> str:
    lines = []
    for output in answer["outputs"]:
        data = output["data"]
        first = ", ".join(json.dumps(value) for value in data[:_SHOWN])
        more = f", … ({len(data):,} values)" if len(data) > _SHOWN else ""
        lines.append(f"{output['name']} {output['datatype']} {output['shape']}: {first}{more}")
    return "\n".join([*lines, f"in {milliseconds:.1f} ms, kubectl's tunnel included"])


COMMAND = Command(
    "infer",
    "send one inference to a model in a cluster, with random or given inputs",
    _arguments,
    in_cluster(_run),
    formats=(),
)
