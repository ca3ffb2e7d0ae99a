"""Complete a command line: commands, options, values, and names of models, namespaces and contexts by kubectl.

`onnxmodel __complete WORDS…` prints one candidate in each line; the last word is the one to complete. kubectl asks
`kubectl_complete-onnx`, whose last line tells it what to do if there is none.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence

from onnxmodel_cli.commands import parser

HIDDEN = "__complete"
"""The word that asks for candidates."""
_FILES, _NO_FILES = 0, 4  # kubectl's, which are those of Cobra
_SECONDS = 3.0
_KUBECTL = {
    "name": ("get", "onnxmodels", "-o", "name"),
    "--namespace": ("get", "namespaces", "-o", "name"),
    "--context": ("config", "get-contexts", "-o", "name"),
}


def complete(words: Sequence[str]) -> list[str]:
    """Return what the last word may become."""
    *before, last = words or [""]
    current: argparse.ArgumentParser = parser()
    given: list[str] = []
    asks: argparse.Action | None = None
    places: dict[str, str] = {}
    for word in before:
        if asks is not None:
            places[asks.dest] = word
            asks = None
        elif word.startswith("-"):
            name, has_value, value = word.partition("=")
            option = current._option_string_actions.get(name)
            if option and has_value:
                places[option.dest] = value
            elif option and option.nargs != 0:
                asks = option
        elif (commands := _commands(current)) is not None:
            current = commands.get(word, current)
        else:
            given.append(word)
    return sorted(word for word in _candidates(current, given, asks, last, places) if word.startswith(last))


def _candidates(
    current: argparse.ArgumentParser,
    given: Sequence[str],
    asks: argparse.Action | None,
    last: str,
    places: dict[str, str],
) -> Iterable[str]:
    if asks is not None:
        return _values(asks, places)
    if last.startswith("-"):
        return [option for option in current._option_string_actions if option.startswith("--")]
    commands = _commands(current)
    if commands is not None:
        return commands
    positionals = current._get_positional_actions()
    return _values(positionals[len(given)], places) if len(given) < len(positionals) else ()


def _values(action: argparse.Action, places: dict[str, str]) -> Iterable[str]:
    """The choices of an option or argument, or what kubectl knows."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    option = next((name for name in action.option_strings if name in _KUBECTL), "")
    if not option and not (action.dest == "model" and action.metavar == "name"):
        return ()
    place = [f"--{key}={places[key]}" for key in ("namespace", "context") if places.get(key)]
    return _kubectl(*_KUBECTL[option or "name"], *place)


def _kubectl(*arguments: str) -> list[str]:
    program = shutil.which("kubectl")
    if program is None:
        return []
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.rpartition("/")[2] for line in done.stdout.splitlines()]


def _commands(current: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser] | None:
    """The subcommands of a parser. None if it has none."""
    found = next((a for a in current._actions if isinstance(a, argparse._SubParsersAction)), None)
    return dict(found.choices) if found else None


def kubectl() -> int:
    """Answer kubectl, which asks with the words after `kubectl onnx`."""
    found = complete(sys.argv[1:])
    print("\n".join([*found, f":{_NO_FILES if found else _FILES}"]))
    return 0
