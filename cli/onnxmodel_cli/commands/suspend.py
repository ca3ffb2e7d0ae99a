"""`onnxmodel suspend`."""

import argparse

from onnxmodel_cli.cluster.kubectl import Kubectl, add_model, in_cluster
from onnxmodel_cli.command import Command
from onnxmodel_runtime.contract.outcome import ExitCode

_HELD = '{"spec": {"suspend": true}}'


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    kubectl.run("patch", "onnxmodel", options.model, "--type=merge", f"--patch={_HELD}")
    print(f"{options.model} is suspended: no stage and no revision starts, and what serves keeps serving")
    return ExitCode.OK


COMMAND = Command(
    "suspend",
    "hold a model in a cluster back: nothing new starts",
    add_model,
    in_cluster(_run),
    formats=(),
    epilog="It sets spec.suspend. Where Git has this field, change it there: a GitOps tool sets it back.",
)
