"""Options for the inputs of an inference."""

import argparse

from onnxmodel_cli import values
from onnxmodel_cli.parser import Parser


def add_inputs(parser: Parser) -> None:
    """Add the options of random inputs."""
    parser.add_argument("--batch", type=values.integer(1), default=1, help="rows, where the first axis is dynamic (1)")
    parser.add_argument("--size", type=values.integer(1), default=16, help="size of each other dynamic axis (16)")
    parser.add_argument("--shape", action="append", metavar="INPUT=1,3,224,224", help="shape of one input instead")
    parser.add_argument("--seed", type=values.integer(0), default=0, help="of the random values (0)")


def shapes_of(options: argparse.Namespace) -> dict[str, list[int]]:
    """Return the shapes of --shape. Ends with exit code 2 where one cannot be read."""
    found = {}
    for given in options.shape or ():
        name, _, axes = given.rpartition("=")
        if not name or not all(axis.isascii() and axis.isdecimal() for axis in axes.split(",")):
            options.parser.error(f"--shape {given!r} is not INPUT=1,3,224,224")
        found[name] = [int(axis) for axis in axes.split(",")]
    return found
