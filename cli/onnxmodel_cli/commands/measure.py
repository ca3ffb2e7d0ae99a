"""`onnxmodel measure`: measure a model in a cluster again."""

import argparse
from datetime import UTC, datetime

from onnxmodel_cli.cluster.kubectl import Kubectl, add_model, follow_up, in_cluster
from onnxmodel_cli.command import Command
from onnxmodel_runtime.contract.outcome import ExitCode

_NO_OPERATOR = (
    "measure needs the operator's package, which is not installed here: pip install 'onnxmodel-operator[cli]'"
)


def _run(options: argparse.Namespace, kubectl: Kubectl) -> int:
    try:
        from onnxmodel_operator import names
    except ModuleNotFoundError:
        options.parser.error(_NO_OPERATOR)
    order = f"{names.MEASURE}={datetime.now(UTC).isoformat(timespec='milliseconds')}"
    kubectl.run("annotate", "--overwrite", "onnxmodel", options.model, order)
    print(f"{options.model} is measured again; `{follow_up(options, 'watch', options.model)}` shows it")
    return ExitCode.OK


COMMAND = Command(
    "measure",
    "measure a model in a cluster again, for example after its node was busy",
    add_model,
    in_cluster(_run),
    formats=(),
    epilog="It sets an annotation: benchmark and load test run again, and the model serves meanwhile.",
)
