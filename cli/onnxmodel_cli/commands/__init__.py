"""The commands, one module each: a module here with a COMMAND is a command, and nothing else knows of it."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from onnxmodel_cli import VERSION
from onnxmodel_cli.command import Command
from onnxmodel_cli.parser import Parser

_ORDER = [
    "run",
    "fetch",
    "validate",
    "optimize",
    "verify",
    "benchmark",
    "report",
    "serve",
    "repository",
    "loadtest",
    "probe",
    "why",
    "watch",
    "logs",
    "infer",
    "bench",
    "rollout",
    "suspend",
    "resume",
    "measure",
    "render",
    "completion",
]
"""Order of the commands in the help. One that is not named here comes last."""


def commands() -> Iterator[Command]:
    """Return every command, in the order of the help."""
    rank = {name: place for place, name in enumerate(_ORDER)}
    for name in sorted((module.name for module in iter_modules(__path__)), key=lambda name: rank.get(name, len(rank))):
        found: Command = import_module(f"{__name__}.{name}").COMMAND
        yield found


def parser(prog: str = "onnxmodel") -> Parser:
    """Return the parser of the whole command line. options.chosen is the Command. prog: as it was called."""
    made = Parser(
        prog=prog,
        description="Fetch, validate, optimize, verify, benchmark, serve, load-test and probe ONNX models; create "
        "Triton model repositories; look after models in a cluster.",
        epilog="Exit codes: 0 success; 2 the command line is invalid, or names a file that does not exist; 10 "
        "refused, the same input gives the same result; 11 something outside was unavailable, retry; 1 "
        "a bug in onnxmodel; 130 interrupted. A Job passes its whole request as --request JSON.",
    )
    made.add_argument("--version", action="version", version=f"onnxmodel {VERSION}")
    subparsers = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in commands():
        command.add_to(subparsers)
    return made
