"""`onnxmodel COMMAND …` for people; `onnxmodel STAGE --request JSON`, as a Job calls it, goes to the runtime.

Nothing here imports a heavy package; each stage's module does, in the process that needs it.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) > 1 and arguments[1].partition("=")[0] == "--request":
        from onnxmodel_runtime.__main__ import main as job

        return job(arguments)
    from onnxmodel_cli.command import Command
    from onnxmodel_cli.commands import parser

    options = parser().parse_args(arguments)
    chosen: Command = options.chosen
    return chosen.carry_out(options)


if __name__ == "__main__":
    sys.exit(main())
