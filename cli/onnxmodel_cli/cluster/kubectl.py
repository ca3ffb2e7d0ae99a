"""Run kubectl as a child. All commands that need a cluster go this way."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any, NoReturn

from onnxmodel_cli.parser import Parser
from onnxmodel_runtime.contract.outcome import ExitCode

_UNREACHABLE = (
    "Unable to connect to the server",
    "The connection to the server",
    "(ServiceUnavailable)",
    "(Timeout)",
    "(TooManyRequests)",
    "i/o timeout",
)
"""kubectl's words for a cluster that may answer later. It ends with 1 whatever happened."""
_LASTING = ("getting credentials", "x509:", "tls:", "unsupported protocol scheme", "certificate")
"""Its words, after those, for what no later attempt changes."""


class KubectlError(Exception):
    """kubectl failed. The text is its own."""

    @property
    def code(self) -> int:
        """The exit code for it: whether to try again."""
        said = str(self)
        later = any(words in said for words in _UNREACHABLE) and not any(words in said for words in _LASTING)
        return ExitCode.RETRY if later else ExitCode.REFUSED


class Kubectl:
    """kubectl on the PATH, in the namespace and the context of the options."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._program = shutil.which("kubectl") or _missing(options)
        self._place = [f"--namespace={options.namespace}"] if options.namespace else []
        self._place += [f"--context={options.context}"] if options.context else []

    def run(self, *arguments: str) -> str:
        """Run a command and return what it prints. Raises KubectlError."""
        done = subprocess.run(self._command(*arguments), check=False, capture_output=True, text=True)
        if done.returncode:
            raise KubectlError(_words(done.stderr) or done.stdout.strip())
        return done.stdout

    def bytes(self, *arguments: str) -> bytes:
        """Run a command and return the bytes that it prints. Raises KubectlError."""
        done = subprocess.run(self._command(*arguments), check=False, capture_output=True)
        if done.returncode:
            raise KubectlError(_words(done.stderr.decode(errors="replace")))
        return done.stdout

    def model(self, name: str) -> dict[str, Any]:
        """Get an OnnxModel. Raises KubectlError."""
        found: dict[str, Any] = json.loads(self.run("get", "onnxmodel", name, "-o", "json"))
        return found

    def events(self, model: dict[str, Any]) -> list[dict[str, Any]]:
        """List the Events of an OnnxModel. None where the person may not read any."""
        metadata = model["metadata"]
        about = f"involvedObject.uid={metadata['uid']}"
        words = ("get", "events", f"--namespace={metadata['namespace']}", f"--field-selector={about}", "-o", "json")
        try:
            items: list[dict[str, Any]] = json.loads(self.run(*words))["items"]
        except KubectlError:
            return []
        return items

    def attach(self, *arguments: str) -> int:
        """Run a command that prints and reads for itself, and return its exit code."""
        return subprocess.run(self._command(*arguments), check=False).returncode

    def start(self, *arguments: str, stderr: int | IO[Any] = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command that goes on."""
        return subprocess.Popen(self._command(*arguments), stdout=subprocess.PIPE, stderr=stderr, text=True)

    def _command(self, *arguments: str) -> list[str]:
        verb, *rest = arguments
        return [self._program, verb, *self._place, *rest]


def add_place(parser: Parser) -> None:
    """Add the options by which kubectl finds the cluster and the namespace."""
    parser.add_argument("-n", "--namespace", default="", help="its namespace (the context's)")
    parser.add_argument("--context", default="", help="context of the kubeconfig (the current one)")


def add_model(parser: Parser) -> None:
    """Add the name of an OnnxModel, and where it is."""
    parser.add_argument("model", metavar="name", help="name of the OnnxModel")
    add_place(parser)


def add_form(parser: Parser) -> None:
    """Add -o, as kubectl has it."""
    parser.add_argument(
        "-o", "--output", choices=("text", "json", "yaml"), default="text", help="format of the result (text)"
    )


def in_cluster(work: Callable[[argparse.Namespace, Kubectl], int]) -> Callable[[argparse.Namespace], int]:
    """Return what carries out a command that needs a cluster: kubectl's own words end it where kubectl fails."""

    def run(options: argparse.Namespace) -> int:
        try:
            return work(options, Kubectl(options))
        except KubectlError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.code

    return run


def follow_up(options: argparse.Namespace, *words: str) -> str:
    """Return the command of these words in the same namespace and context."""
    given = {"--namespace": options.namespace, "--context": options.context}
    place = [word for option, value in given.items() if value for word in (option, value)]
    return shlex.join(["onnxmodel", *words, *place])


def shown(data: Any, form: str) -> str:
    """Return plain data as JSON or YAML."""
    if form == "json":
        return json.dumps(data, indent=2)
    try:
        import yaml
    except ModuleNotFoundError:
        raise KubectlError("-o yaml needs PyYAML, which is not installed here: use -o json") from None
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True)).rstrip()


def _words(stderr: str) -> str:
    """The words of kubectl for a person, without the log of its libraries."""
    return "\n".join(line for line in stderr.splitlines() if not re.match(r"[EIW]\d{4} ", line)).strip()


def _missing(options: argparse.Namespace) -> NoReturn:
    options.parser.error("kubectl is not on the PATH: install it, or change the OnnxModel by other means")
    raise AssertionError
