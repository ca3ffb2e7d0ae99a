"""`onnxmodel COMMAND …` for people; `onnxmodel STAGE --request JSON`, as a Job calls it, goes to the runtime.

Nothing here imports a heavy package; each stage's module does, in the process that needs it.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from onnxmodel_cli import INTERRUPTED

_BROKEN_PIPE = 141  # as shells have SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    try:
        arguments = list(sys.argv[1:] if argv is None else argv)
        _open_streams()
        if arguments[:1] == ["__complete"]:
            from onnxmodel_cli.completer import complete

            print("\n".join(complete(arguments[1:])))
            return 0
        if len(arguments) > 1 and arguments[1].partition("=")[0] == "--request":
            from onnxmodel_runtime.__main__ import main as job

            return job(arguments)
        return _command(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on, such as `| head`
        _discard()
        return _BROKEN_PIPE
    except OSError as error:
        from onnxmodel_cli.parser import USAGE

        if _takes(sys.stdout) and _takes(sys.stderr):
            raise
        with suppress(OSError):
            print(f"error: cannot write to standard output: {error.strerror}", file=sys.stderr)
        _discard()
        return USAGE
    finally:
        try:
            sys.stderr.flush()  # what it does not take changes no verdict: at exit, Python would end with 120
        except OSError:
            _discard(2)


def _command(arguments: list[str]) -> int:
    from onnxmodel_cli.command import Command
    from onnxmodel_cli.commands import parser

    try:
        options = parser(_prog()).parse_args(arguments)
        chosen: Command = options.chosen
        return chosen.carry_out(options)
    finally:
        sys.stdout.flush()  # here, where an error can be reported, and not at exit


def _prog() -> str:
    """The command as a person types it: `kubectl onnx` runs kubectl-onnx."""
    return "kubectl onnx" if os.path.basename(sys.argv[0]) == "kubectl-onnx" else "onnxmodel"


def _open_streams() -> None:
    """Open /dev/null in place of each closed standard stream. Python has None for it, and the next file its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def _takes(stream: TextIO) -> bool:
    """Return whether a stream takes a line."""
    try:
        print(file=stream, flush=True)
    except OSError:
        return False
    return True


def _discard(number: int = 1) -> None:
    """Let what is left to write go nowhere: the flush at exit must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


if __name__ == "__main__":
    sys.exit(main())
