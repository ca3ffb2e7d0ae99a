"""A model's volume as a folder of this machine, and containers that run on it in this process."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from onnxmodel_cli.wording import worded
from onnxmodel_runtime import job
from onnxmodel_runtime.contract.codec import dumps, load
from onnxmodel_runtime.contract.outcome import ExitCode, Outcome, as_json, decode
from onnxmodel_runtime.contract.stages import FETCH, RESULTS
from onnxmodel_runtime.contract.validate import PUBLIC_KEY_VARIABLE
from onnxmodel_runtime.contract.volume import ARTIFACTS
from onnxmodel_runtime.sandbox.termination import exit_code, fit

T = TypeVar("T")


class Volume:
    """The folder. Requests and outcomes name files below /artifacts, as in a cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def here(self, request: T) -> T:
        """Return the request with paths of this machine."""
        return load(type(request), _replaced(json.loads(dumps(request)), ARTIFACTS, str(self.folder)))

    def forget(self, directory: str) -> None:
        """Remove what was fetched into a directory, because a person's own file may change under its name."""
        path = Path(directory.replace(ARTIFACTS, str(self.folder), 1))
        shutil.rmtree(path, ignore_errors=True)
        for beside in path.parent.glob(f"{path.name}.*"):
            beside.unlink()

    def run(self, command: str, request: Any, public_key: str) -> tuple[int, Outcome]:
        """Run a container of a Job: its exit code, and its outcome as the operator reads it.

        The outcome has passed through the termination message, which holds less than the report. Standard output is for
        the result of the whole run: what a Job's log shows goes to standard error.
        """
        print(f"== {command}", file=sys.stderr, flush=True)
        with redirect_stdout(sys.stderr), _environment(PUBLIC_KEY_VARIABLE, public_key):
            complete = job.complete(command, self.here(request), local=True, word=worded)
        outcome = decode(fit(complete))
        code = exit_code(outcome)
        if command == FETCH and code == ExitCode.OK:
            return code, Outcome(command, 0.0)
        return code, self._there(outcome)

    def _there(self, outcome: Outcome) -> Outcome:
        """Return the outcome with paths of a cluster."""
        data = _replaced(json.loads(as_json(outcome)), str(self.folder), ARTIFACTS)
        result = data.pop("result")
        moved = load(Outcome, data)
        return replace(moved, result=load(RESULTS[moved.command], result) if result else None)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    previous = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if previous is None:
            del os.environ[name]
        else:
            os.environ[name] = previous


def _replaced(value: Any, old: str, new: str) -> Any:
    match value:
        case str() if value == old or value.startswith(f"{old}/"):
            return new + value.removeprefix(old)
        case list():
            return [_replaced(item, old, new) for item in value]
        case dict():
            return {key: _replaced(item, old, new) for key, item in value.items()}
    return value
