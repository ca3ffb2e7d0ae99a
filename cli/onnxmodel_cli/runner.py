"""Run the pipeline for a command: say so where the operator is not installed."""

import sys

from onnxmodel_cli.asked import Asked
from onnxmodel_cli.parser import USAGE, Parser

_NO_OPERATOR = (
    "error: a manifest needs the operator's package, which is not installed here: run it in a clone after `make setup`"
)


def run_pipeline(asked: Asked, parser: Parser) -> int:
    """Run the stages and return the exit code. The operator decides; an image of the runtime does not have it."""
    try:
        from onnxmodel_cli import pipeline
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("onnxmodel_operator"):
            raise
        print(_NO_OPERATOR, file=sys.stderr)
        return USAGE
    return pipeline.run(asked, parser)
