"""The proof that a model gets before it is served from the command line."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxmodel_cli import arguments
from onnxmodel_cli.wording import worded
from onnxmodel_runtime import job
from onnxmodel_runtime.contract.outcome import Outcome
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.volume import GOLDEN_FILE, GOLDEN_FOLDER
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sandbox.parent import InternalError
from onnxmodel_runtime.sandbox.termination import exit_code, print_failure
from onnxmodel_runtime.stages import bare

ERRORS = (StageError, InternalError)
"""Exceptions that `proven` raises."""


@contextmanager
def proven(asked: ServeRequest, options: argparse.Namespace) -> Iterator[ServeRequest]:
    """Yield the request, completed with what the stages would find, for a model that no stage has seen."""
    golden = arguments.beside(Path(asked.model), GOLDEN_FILE, GOLDEN_FOLDER)
    with bare.proven(asked, golden=golden, chosen=bool(options.graph_level)) as completed:
        yield completed


def show_error(name: str, error: Exception, options: argparse.Namespace) -> int:
    """Print why the command `name` did not begin, and return the exit code. error: one of ERRORS."""
    failure, retry = (error.failure, error.retry) if isinstance(error, StageError) else (job.defect(error), False)
    left = worded(Outcome(name, 0.0, failure=failure, retry=retry), options.parser.options())
    print_failure(left.failure or failure)
    return exit_code(left)
