"""The form of a command, and how one that is a stage runs and shows its outcome.

What runs a stage is imported when one runs: the help needs none of it.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from onnxmodel_cli.parser import Parser
from onnxmodel_cli.wording import worded
from onnxmodel_runtime.contract.outcome import Outcome, as_json
from onnxmodel_runtime.contract.stages import COMMANDS

_ON_FILES = {*COMMANDS, "run"}
"""Commands that need the packages of a stage. The extra `cli` has none of them."""


@dataclass(frozen=True)
class Command:
    """A subcommand of `onnxmodel`.

    arguments: adds its options. run: carries it out and returns the exit code. places: the options that name local files
    or folders, which must exist. folder: the option that names a folder to write to. formats: of --output; none for a
    command without it. aliases: other names.
    """

    name: str
    summary: str
    arguments: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int]
    places: tuple[str, ...] = ()
    folder: str = ""
    formats: tuple[str, ...] = ("text", "json")
    description: str = ""
    epilog: str | None = None
    aliases: tuple[str, ...] = ()

    def add_to(self, commands: Any) -> None:
        """Add the command's parser to argparse's subparsers."""
        description = self.description or self.summary[0].upper() + self.summary[1:]
        parser: Parser = commands.add_parser(
            self.name, aliases=self.aliases, help=self.summary, description=description, epilog=self.epilog
        )
        if self.formats:
            parser.add_argument("--output", choices=self.formats, default="text", help="format of the result (text)")
        parser.set_defaults(chosen=self, parser=parser)
        self.arguments(parser)

    def carry_out(self, options: argparse.Namespace) -> int:
        """Check that the places exist, run the command and return the exit code."""
        if self.name in _ON_FILES and find_spec("onnx") is None:
            options.parser.error(
                f"{self.name} works on a model's file, and the Python packages for that are not installed here: pip "
                "install 'onnxmodel-operator[cli,runtime-cpu]'"
            )
        for option in self.places:
            value = getattr(options, option)
            options.parser.needs(*(value if isinstance(value, list) else [value]))
        if self.folder and (folder := getattr(options, self.folder)):
            options.parser.makes(str(folder))
        return self.run(options)


def requested(options: argparse.Namespace, build: Callable[[argparse.Namespace], Any]) -> Any:
    """Build a request from the options. An argument that cannot be used ends the process with exit code 2."""
    try:
        return build(options)
    except (OSError, ValueError) as error:
        options.parser.error(_sentence(error))


def stage(name: str, build: Callable[[argparse.Namespace], Any]) -> Callable[[argparse.Namespace], int]:
    """Return what runs the stage `name` with the request that `build` makes from the options."""

    def run(options: argparse.Namespace) -> int:
        return show(outcome_of(name, requested(options, build), options), options)

    return run


def outcome_of(name: str, request: Any, options: argparse.Namespace) -> Outcome:
    """Run a command of the runtime here, and word its outcome by the options of the person's command."""
    from onnxmodel_runtime import job

    return job.run(name, request, local=True, word=partial(worded, options=options.parser.options()))


def show(outcome: Outcome, options: argparse.Namespace) -> int:
    """Print the outcome in the format that was asked for, and return the exit code."""
    from onnxmodel_runtime.job import print_outcome
    from onnxmodel_runtime.sandbox.termination import exit_code, print_failure

    if options.output == "json":
        print(as_json(outcome))
    elif options.output == "sarif":
        from onnxmodel_runtime.reporting import sarif

        print(sarif.text(outcome, options.model))
    else:
        print_outcome(outcome)
    if outcome.failure is not None:
        print_failure(outcome.failure)
    return exit_code(outcome)


def _sentence(error: Exception) -> str:
    """Say what is wrong with an argument."""
    if isinstance(error, IsADirectoryError):
        return f"{str(error.filename)!r} is a folder; name the .onnx file in it"
    if isinstance(error, OSError) and error.filename:
        return f"cannot read {str(error.filename)!r}: {error.strerror}"
    return str(error)
