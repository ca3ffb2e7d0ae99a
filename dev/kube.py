"""kubectl for the demo, the benchmarks and the tests: objects as dictionaries, and waiting for what must become true."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class KubectlError(RuntimeError):
    """kubectl refused; the message is its standard error."""


class Kube:
    """One cluster, through kubectl. namespace: where namespaced commands go."""

    def __init__(self, kubectl: Path | str, kubeconfig: Path | str | None, namespace: str = "default") -> None:
        self.kubectl, self.kubeconfig, self.namespace = str(kubectl), kubeconfig, namespace

    def within(self, namespace: str) -> "Kube":
        """The same cluster, another namespace."""
        return Kube(self.kubectl, self.kubeconfig, namespace)

    def environment(self) -> dict[str, str]:
        """For a process that works on this cluster."""
        return {**os.environ, **({"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {})}

    def run(self, *words: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Standard output of a command. Raises KubectlError."""
        command = [self.kubectl, "--namespace", self.namespace, *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, env=self.environment(), check=False
        )
        if done.returncode:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def apply(self, *objects: Mapping[str, Any], dry_run: bool = False) -> None:
        """kubectl apply."""
        words = ["apply", "-f", "-", *(["--dry-run=server"] if dry_run else [])]
        self.run(*words, stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def create(self, *objects: Mapping[str, Any]) -> None:
        """kubectl create."""
        self.run("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object. Raises KubectlError where there is none."""
        found: dict[str, Any] = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Objects of a kind in the namespace."""
        items: list[dict[str, Any]] = json.loads(self.run("get", kind, "-l", selector, "-o", "json"))["items"]
        return items

    def patch(self, kind: str, name: str, patch: Any, *, subresource: str = "", how: str = "merge") -> None:
        """kubectl patch."""
        words = ["patch", kind, name, "--type", how, "-p", json.dumps(patch)]
        self.run(*words, *([f"--subresource={subresource}"] if subresource else []))

    def delete(self, kind: str, *names: str, wait: bool = True) -> None:
        """kubectl delete; what is not there is fine."""
        self.run("delete", kind, *names, "--ignore-not-found", f"--wait={str(wait).lower()}")


def until(what: str, look: Callable[[], T | None], seconds: float = 30, pause: float | None = None) -> T:
    """The first value that is true. A KubectlError means "not yet". After the time: AssertionError with what was seen.

    What may take long is looked at less often: each kubectl takes a tenth of a second of one of two cores.
    """
    end = time.monotonic() + seconds
    seen: Any = None
    while time.monotonic() < end:
        try:
            if value := look():
                return value
            seen = value
        except KubectlError as error:
            seen = error
        time.sleep(pause or seconds / 300)
    raise AssertionError(f"not reached after {seconds:.0f} s: {what}; last seen: {seen}")


def condition(model: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """A condition of an object, or None."""
    found: list[dict[str, Any]] = model.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), None)


def is_true(model: Mapping[str, Any], kind: str) -> bool:
    """The condition is there and True."""
    return (condition(model, kind) or {}).get("status") == "True"


def found(
    kube: Kube, name: str, *, true: str = "", untrue: str = "", reason: str = ""
) -> Callable[[], dict[str, Any] | None]:
    """For `until`: the OnnxModel once a condition is True of the present spec, another is not, and status.reason is this."""

    def look() -> dict[str, Any] | None:
        model = kube.get("onnxmodel", name)
        told = condition(model, true) or {}
        now = told.get("status") == "True" and told["observedGeneration"] == model["metadata"]["generation"]
        well = (not true or now) and not (untrue and is_true(model, untrue))
        return model if well and (not reason or model["status"].get("reason") == reason) else None

    return look
