"""A way to a model's server from this machine: kubectl port-forward, and HTTP through it."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any

from onnxmodel_cli.cluster.kubectl import Kubectl, KubectlError

_HTTP_PORT = 8000


class TunnelError(Exception):
    """The server refused a request, or did not answer."""


@contextmanager
def tunnel(kubectl: Kubectl, name: str) -> Iterator[int]:
    """Forward a port of this machine to one pod of the model's Service. Yields the port. Raises KubectlError."""
    with tempfile.TemporaryFile("w+") as said:
        child = kubectl.start("port-forward", f"service/{name}", f":{_HTTP_PORT}", "--address=127.0.0.1", stderr=said)
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+) ->", line)
            if found is None:
                child.wait()
                said.seek(0)
                raise KubectlError(said.read().strip() or "kubectl port-forward ended without a word")
            yield int(found[1])
        finally:
            _end(child)


def ask(connection: HTTPConnection, path: str, body: bytes | None = None) -> Any:
    """Send one request and return the JSON of the answer. Raises TunnelError."""
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, HTTPException) as error:
        raise TunnelError(f"the server did not answer: {error or type(error).__name__}") from error
    try:
        data = json.loads(content)
    except ValueError:
        data = {"error": content[:200].decode(errors="replace")}
    if answer.status != 200:
        raise TunnelError(
            f"the server answered {answer.status}: {data.get('error') if isinstance(data, dict) else data}"
        )
    return data


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    child.wait()
    if child.stdout:
        child.stdout.close()
