"""The argument parser: each error is one sentence, which suggests the nearest option or value."""

import argparse
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from onnxmodel_runtime.contract.text import nearest
from onnxmodel_runtime.contract.volume import MODEL_FILE

USAGE = 2
"""The exit code for arguments, a manifest or settings that cannot be used."""


class Parser(argparse.ArgumentParser):
    """A command line for people: each error is one sentence, which suggests the nearest option or value."""

    def error(self, message: str) -> NoReturn:
        """End with the exit code USAGE."""
        self.exit(USAGE, f"error: {message} ({self.prog} --help)\n")

    def options(self) -> list[str]:
        """Return each option as it is written."""
        return [*self._option_string_actions]

    def needs(self, *places: str, streams: bool = False) -> None:
        """End with an error for the first local file or folder that cannot be read. URIs are not checked.

        streams: whether a pipe or a device will do.
        """
        for place in places:
            if not place or "://" in place:
                continue
            try:
                mode = os.stat(place).st_mode
            except (FileNotFoundError, NotADirectoryError):
                self.error(f"there is no file or folder {place!r}; check the path")
            except OSError as error:
                self.error(f"cannot read {place!r}: {error.strerror}")
            if not os.access(place, os.R_OK | (os.X_OK if os.path.isdir(place) else 0)):
                self.error(f"cannot read {place!r}: Permission denied")
            if not (streams or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
                self.error(f"{place!r} is a {kind}; name a regular file")

    def model(self, given: str) -> Path:
        """Return the model's file. End with an error for a folder without model.onnx, and for what cannot be read."""
        path = Path(given).absolute()
        if path.is_dir():
            path /= MODEL_FILE
            if not path.exists():
                self.error(f"{given!r} is a folder without {MODEL_FILE}; name the .onnx file in it")
        self.needs(str(path))
        return path

    def makes(self, folder: str) -> None:
        """Make a folder to write to. End with an error if that cannot be done."""
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            self.error(f"cannot make the folder {folder!r}: {error.strerror}; choose another")
        try:  # not os.access: to root it calls /proc writable, and a read-only network share too
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            self.error(f"cannot write to the folder {folder!r}: {error.strerror}; choose another")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse arguments as argparse does. A command names its own parser by set_defaults(parser=…)."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            parser: Parser = getattr(found, "parser", self)
            word = rest[0].partition("=")[0]
            what = "unknown option" if word.startswith("-") else "unexpected argument"
            parser.error(f"{what} {word!r}{nearest(word, parser.options())}")
        return found

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Refuse an empty value: it would mean the default, and comes from a variable that is not set."""
        if "" in arg_strings and not isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(action, "the value is empty; is a variable not set?")
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            message = f"{value!r} is not one of {', '.join(known)}{nearest(str(value), known)}"
            raise argparse.ArgumentError(action, message)
