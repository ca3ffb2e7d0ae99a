"""`onnxmodel logs`: the log of a model's stage, or of its servers."""

import argparse
from collections.abc import Mapping
from typing import Any

from onnxmodel_cli.cluster.kubectl import Kubectl, KubectlError, add_model, in_cluster
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.stages import Stage

_SERVER = "server"


def _arguments(parser: Parser) -> None:
    add_model(parser)
    parser.add_argument(
        "--stage",
        choices=[*(stage.value for stage in Stage), _SERVER],
        help="the stage (the one that runs or failed last, else server: what receives traffic)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on while it is written")
    parser.add_argument("--tail", default="", metavar="LINES", help="only so many of the last lines of each container")


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    target = _target(kubectl.model(options.model), options.stage)
    flags = ["--all-containers", "--prefix", *(["--follow"] if options.follow else [])]
    flags += [f"--tail={options.tail or -1}"]
    return ExitCode.REFUSED if kubectl.attach("logs", *target, *flags) else ExitCode.OK


def _target(model: Mapping[str, Any], stage: str | None) -> list[str]:
    """The arguments that name the pods. Raises KubectlError where there is nothing."""
    status, name = model.get("status") or {}, model["metadata"]["name"]
    jobs: dict[str, tuple[str, str]] = {}
    for record in status.get("stages") or ():
        jobs.setdefault(record["name"], (record["job"], record["state"]))
    at_work = next((stage for stage, (_, state) in jobs.items() if state != "Succeeded"), None)
    chosen = stage or at_work or _SERVER
    if chosen != _SERVER:
        if chosen not in jobs:
            raise KubectlError(f"stage {chosen} of {name} has not begun")
        return [f"job/{jobs[chosen][0]}"]
    if not status.get("serving"):
        raise KubectlError(f"no revision of {name} receives traffic; choose a stage with --stage")
    return ["--selector", status["serving"]["selector"]]


COMMAND = Command(
    "logs",
    "show the log of a model's stage in a cluster, or of its servers",
    _arguments,
    in_cluster(_run),
    formats=(),
    epilog="An hour after a stage has succeeded its Job is gone, and its log with it.",
)
