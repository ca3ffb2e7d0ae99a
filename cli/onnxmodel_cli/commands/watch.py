"""`onnxmodel watch`: what models in a cluster do, as it happens."""

import argparse
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any

from onnxmodel_cli import values
from onnxmodel_cli.cluster.kubectl import Kubectl, KubectlError, add_place, in_cluster
from onnxmodel_cli.cluster.paint import paint
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_COLORS = {"Ready": "green", "Stalled": "red"}


def _arguments(parser: Parser) -> None:
    parser.add_argument("model", metavar="name", nargs="?", default="", help="name of the OnnxModel (all of them)")
    add_place(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="json: one line each (text)")
    parser.add_argument(
        "--timeout", type=values.number(above=True), metavar="SECONDS", help="end after this time with exit code 11"
    )


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    """Print each change. With a name, end once the model is Ready or Stalled."""
    if options.model:
        kubectl.model(options.model)  # kubectl waits for what is not there
    last: dict[str, tuple[Any, ...]] = {}
    end = time.monotonic() + options.timeout if options.timeout else None
    while end is None or time.monotonic() < end:
        child = kubectl.start("get", "onnxmodels", *([options.model] if options.model else []), "--watch", "-o", "json")
        with _ended(child, end):
            assert child.stdout is not None
            for model in _objects(child.stdout):
                code = _told(model, last, options)
                if code is not None and options.model:
                    return code
            problem = child.stderr.read().strip() if child.stderr else ""
            child.wait()
        if end is not None and time.monotonic() >= end:
            break
        if child.returncode > 0:  # the API server ends each watch after a while, and that is no error
            raise KubectlError(problem)
    return ExitCode.RETRY


@contextmanager
def _ended(child: subprocess.Popen[str], end: float | None) -> Iterator[None]:
    """End a child at a time, or with the block."""
    timer = threading.Timer(max(0.0, end - time.monotonic()), child.terminate) if end is not None else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()
        child.terminate()
        child.wait()
        for stream in (child.stdout, child.stderr):
            if stream:
                stream.close()


def _objects(stream: IO[str]) -> Iterator[dict[str, Any]]:
    """Yield each object of a stream of JSON as soon as it is whole."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if line.rstrip() == "}":  # kubectl indents all that is inside
            yield json.loads("".join(lines))
            lines.clear()


def _told(model: Mapping[str, Any], last: dict[str, tuple[Any, ...]], options: argparse.Namespace) -> int | None:
    """Print a line if the model changed. Returns the exit code once it is Ready or Stalled, for the newest spec."""
    status, metadata = model.get("status") or {}, model["metadata"]
    true = {each["type"] for each in status.get("conditions") or () if each["status"] == "True"}
    state = next((kind for kind in ("Stalled", "Reconciling", "Ready") if kind in true), "")
    said = (status.get("phase", "Pending"), state, status.get("message", "not observed yet"))
    if last.get(metadata["name"]) != said:
        last[metadata["name"]] = said
        print(_line(metadata["name"], said, options.output), flush=True)
    if status.get("observedGeneration") != metadata.get("generation"):
        return None
    return {"Ready": ExitCode.OK, "Stalled": ExitCode.REFUSED}.get(state)


def _line(name: str, said: tuple[str, str, str], output: str) -> str:
    phase, state, message = said
    clock = datetime.now().astimezone().strftime("%H:%M:%S")
    if output == "json":
        return json.dumps({"time": clock, "name": name, "phase": phase, "state": state, "message": message})
    return f"{clock} {name} {paint(_COLORS.get(state, ''), phase)}: {message}"


COMMAND = Command(
    "watch",
    "show what models in a cluster do; with a name, until it is Ready or Stalled",
    _arguments,
    in_cluster(_run),
    formats=(),
    epilog="Exit codes with a name: 0 Ready, 10 Stalled, 11 neither before --timeout.",
)
