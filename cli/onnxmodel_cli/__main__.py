"""`onnxmodel COMMAND …` for people; `onnxmodel STAGE --request JSON`, as a Job calls it, goes to the runtime.

Nothing here imports a heavy package; each stage's module does, in the process that needs it.
"""

import os
import sys
from collections.abc import Sequence

_INTERRUPTED, _BROKEN_PIPE = 130, 141  # as shells have SIGINT and SIGPIPE


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
    try:
        code = chosen.carry_out(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # nobody reads on, such as `| head`; nor may the flush at exit fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
