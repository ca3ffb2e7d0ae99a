"""The commands of docs/kubectl-onnx.md, section by section, and the plugin as a person runs it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from dev.kube import Kube

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "kubectl-onnx.md"


def sections() -> dict[str, list[list[str]]]:
    """Each section of the page with its commands, in words."""
    found = {}
    for part in PAGE.read_text().split("\n## ")[1:]:
        blocks = re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        if lines := "".join(blocks).splitlines():
            found[part.partition("\n")[0]] = [shlex.split(line) for line in lines]
    return found


def run(kube: Kube, *words: str, folder: Path | None = None) -> tuple[int, str]:
    """Run `kubectl onnx` on a cluster. Returns the exit code, and what it printed. words: of the page, or after onnx.

    The namespace is the test's.
    """
    given = [kube.namespace if word == "demo" else word for word in words]
    given = given[2:] if given[:2] == ["kubectl", "onnx"] else given
    if "-n" not in given:
        given += ["-n", kube.namespace]
    done = subprocess.run(
        [kube.kubectl, "onnx", *given],
        env=environment(kube), cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def environment(kube: Kube) -> dict[str, str]:
    """With kubectl and the plugin on the PATH."""
    return {
        **kube.environment(),
        "PATH": f"{Path(sys.executable).parent}:{Path(kube.kubectl).parent}:{os.environ['PATH']}",
    }
