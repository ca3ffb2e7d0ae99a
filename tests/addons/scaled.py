"""What the tests of autoscalers share: documented configurations, a client that counts, and replicas to wait for."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dev.kube import Kube, until
from dev.platform import Platform

SECONDS = 300

_ROOT = Path(__file__).parents[2]
_LOAD = (_ROOT / "tests" / "e2e" / "load.py").read_text()
_STOP = "import os, signal; os.kill(1, signal.SIGUSR1)"


def documented(key: str, name: str = "scaling.md") -> Any:
    """The example that has this key, of a page of docs/."""
    page = (_ROOT / "docs" / name).read_text()
    (text,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if f"{key}:" in block]
    return yaml.safe_load(text)


def replicas(kube: Kube, count: int) -> dict[str, Any]:
    """Wait for so many of the model magika, all of them available."""

    def reached() -> dict[str, Any] | None:
        shown = kube.get("onnxmodel", "magika")
        there = shown["status"]["serving"]["ready"] == f"{count}/{count}"
        return shown if there and shown["spec"]["serving"]["replicas"] == count else None

    return until(f"{count} replicas", reached, seconds=SECONDS)


@contextmanager
def asked(kube: Kube, platform: Platform) -> Iterator[list[str]]:
    """Ask the model magika all the time. In the end the list has what the client printed."""
    printed: list[str] = []
    arguments = (f"magika.{kube.namespace}.svc", "magika", "900", "stopped")
    asking = threading.Thread(
        target=lambda: printed.append(platform.client(kube, "load", _LOAD, {}, *arguments, seconds=960))
    )
    kube.delete("job", "load")
    asking.start()
    until("the load runs", lambda: kube.get("job", "load")["status"].get("ready"), seconds=120)
    try:
        yield printed
    finally:
        kube.run("exec", "job/load", "--", "python3", "-c", _STOP)
        asking.join()


def counts(printed: list[str]) -> tuple[int, int]:
    """How many requests of the slowest kind of client were answered, and how many failed."""
    print(printed[0])
    answered, failed = (int(word) for word in printed[0].split()[:3:2])
    return answered, failed
