"""`onnxmodel resume`."""

import argparse

from onnxmodel_cli.cluster.kubectl import Kubectl, add_model, follow_up, in_cluster
from onnxmodel_cli.command import Command
from onnxmodel_runtime.contract.outcome import ExitCode

_GOES_ON = '{"spec": {"suspend": false}}'


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    kubectl.run("patch", "onnxmodel", options.model, "--type=merge", f"--patch={_GOES_ON}")
    print(f"{options.model} goes on; `{follow_up(options, 'watch', options.model)}` shows it")
    return ExitCode.OK


COMMAND = Command(
    "resume",
    "let a suspended model in a cluster go on",
    add_model,
    in_cluster(_run),
    formats=(),
    epilog="It sets spec.suspend to false. For a rollout that is paused: onnxmodel rollout resume.",
)
