"""Runs other programs, and turns their failure into an error that a person can act on."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandError(Exception):
    """A program failed; the message holds its command line and the end of what it printed."""


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = "") -> str:
    """Run a program to its end and return its standard output. `env` is added to the present environment."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandError(_explain(command, done.returncode, done.stdout + done.stderr))
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Run a program whose failure is an answer, not an error: nothing is printed, nothing raised."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def _explain(command: Sequence[str | Path], code: int, output: str) -> str:
    end = "\n".join(output.strip().splitlines()[-40:])
    return f"`{' '.join(str(word) for word in command)}` exited with {code}:\n{end}"
