"""`onnxmodel COMMAND --request JSON`, as containers call it: a request in, an outcome in the termination message.

Nothing here imports a heavy package; each stage's module does, in the process that needs it.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxmodel_runtime.contract.codec import ContractError, loads
from onnxmodel_runtime.contract.outcome import Failure, Outcome
from onnxmodel_runtime.contract.stages import COMMANDS, PUSH, SERVE
from onnxmodel_runtime.errors import clip
from onnxmodel_runtime.job import complete
from onnxmodel_runtime.sandbox.termination import exit_code, print_failure, write_termination_message


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="onnxmodel", description="Run a stage as a Job does.")
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--request", required=True, metavar="JSON")
    parser.add_argument(
        "--keep", default="", metavar="FOLDER,…", help="remove all other folders from the volume or the store"
    )
    options = parser.parse_args(argv)
    try:
        request: Any = loads(COMMANDS[options.command].request, options.request)
    except ContractError as error:
        failure = Failure("RequestInvalid", clip(str(error)), "Operator and image must be from the same release.")
        print_failure(failure)
        outcome = Outcome(options.command, 0.0, failure=failure)
    else:
        if options.command == SERVE:
            from onnxmodel_runtime.server.main import serve

            return serve(request)
        if options.keep and options.command == PUSH:
            request = replace(request, keep=tuple(options.keep.split(",")))
        elif options.keep:
            from onnxmodel_runtime.stages.collect import collect

            collect(Path(request.directory).parent.parent, options.keep.split(","))
        outcome = complete(options.command, request)
    return exit_code(write_termination_message(outcome))


if __name__ == "__main__":
    sys.exit(main())
