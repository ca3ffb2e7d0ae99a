"""Run the pipeline for a command: say so where the operator is not installed, and end quietly on Ctrl-C."""

import sys

from onnxmodel_cli.asked import Asked
from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_INTERRUPTED = 130  # as shells have it


def run_pipeline(asked: Asked, parser: Parser) -> int:
    """Run the stages and return the exit code. The operator decides; an image of the runtime does not have it."""
    try:
        from onnxmodel_cli import pipeline
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("onnxmodel_operator"):
            raise
        print("error: the operator is not installed: pip install onnxmodel-operator[operator]", file=sys.stderr)
        return ExitCode.REFUSED
    try:
        return pipeline.run(asked, parser)
    except KeyboardInterrupt:
        return _INTERRUPTED
