"""`onnxmodel why`: the story of a model in a cluster."""

import argparse

from onnxmodel_cli.cluster.kubectl import Kubectl, add_form, add_model, in_cluster, shown
from onnxmodel_cli.cluster.paint import paint
from onnxmodel_cli.cluster.story import story, text
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode


def _arguments(parser: Parser) -> None:
    add_model(parser)
    add_form(parser)


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    model = kubectl.model(options.model)
    told = story(model, kubectl.events(model))
    print(text(told, paint) if options.output == "text" else shown(told, options.output))
    return ExitCode.OK


COMMAND = Command(
    "why",
    "tell the story of a model in a cluster: stages, times, the failing check and its fix",
    _arguments,
    in_cluster(_run),
    formats=(),
)
