"""CLUSTER=kind: the same two nodes as the embedded cluster's, in containers of a docker engine."""

import json
from pathlib import Path
from typing import Any

from .golang import program
from .node import DEFAULT, GPU
from .paths import state
from .shell import CommandError, run
from .steps import say, step

_NAME = "onnxmodel"


def up() -> Path:
    """Have the cluster running, and return its kubeconfig. A running one is left alone."""
    if not problems():
        say(f"cluster: already up, KUBECONFIG={kubeconfig()}")
        return kubeconfig()
    down()
    kubeconfig().parent.mkdir(parents=True, exist_ok=True)
    with step("cluster: starting in kind", "about 1 min"):
        # JSON is YAML, and the standard library writes it.
        run(program("kind"), "create", "cluster", f"--name={_NAME}", f"--kubeconfig={kubeconfig()}", "--wait=120s",
            "--config=-", stdin=json.dumps(_config()))  # fmt: skip
        for number, node in enumerate((DEFAULT, GPU)):
            if resources := node.extended_resources:
                patch = json.dumps({"status": {"capacity": resources, "allocatable": resources}})
                run(program("kubectl"), f"--kubeconfig={kubeconfig()}", "patch", "node", _node(number), "--subresource=status",
                    "--type=merge", f"--patch={patch}")  # fmt: skip
    return kubeconfig()


def down() -> None:
    """End the cluster."""
    run(program("kind"), "delete", "cluster", f"--name={_NAME}", f"--kubeconfig={kubeconfig()}")
    kubeconfig().unlink(missing_ok=True)


def kubeconfig() -> Path:
    """Path of its kubeconfig, apart from the user's own."""
    return state("kind") / "kubeconfig"


def audit_log() -> None:
    """kind's API server keeps none."""


def problems() -> list[str]:
    """Return why the cluster is not healthy. Empty if it is."""
    if not kubeconfig().exists():
        return ["not started"]
    try:
        run(
            program("kubectl"),
            f"--kubeconfig={kubeconfig()}",
            "wait",
            "nodes",
            "--all",
            "--for=condition=Ready",
            "--timeout=5s",
        )
    except CommandError as error:
        return [str(error)]
    return []


def load(name: str, archive: Path) -> None:
    """Give the nodes an image out of an archive."""
    with step(f"{name}: loading"):
        run(program("kind"), "load", "image-archive", archive, f"--name={_NAME}")


def _config() -> dict[str, Any]:
    workers = [
        {
            "role": "worker",
            "labels": node.labels,
            "kubeadmConfigPatches": [
                json.dumps({"kind": "JoinConfiguration", "nodeRegistration": {"taints": node.taints}}),
            ],
        }
        for node in (DEFAULT, GPU)
    ]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane"}, *workers],
    }


def _node(number: int) -> str:
    return f"{_NAME}-worker{number + 1 if number else ''}"  # kind's own names: worker, worker2
