"""CLUSTER=current: a cluster of yours, whatever KUBECONFIG leads to. Nothing of it is started or stopped here.

It must be able to pull the images that OPERATOR_IMAGE, RUNTIME_IMAGE and VERSITYGW_IMAGE name.
"""

import os
from pathlib import Path

from .golang import program
from .shell import CommandError, run


def up() -> Path:
    """Return its kubeconfig, when it answers."""
    if found := problems():
        raise CommandError("\n".join(found))
    return kubeconfig()


def down() -> None:
    """Leave it alone."""


def kubeconfig() -> Path:
    """Return the path in KUBECONFIG, or kubectl's default."""
    return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def audit_log() -> None:
    """Your API server's audit log is not ours to read."""


def problems() -> list[str]:
    """Return why the cluster cannot be used. Empty if it can."""
    try:
        run(program("kubectl"), f"--kubeconfig={kubeconfig()}", "get", "--raw=/readyz")
    except CommandError as error:
        return [f"the cluster of {kubeconfig()} does not respond: {error}"]
    return []


def load(name: str, archive: Path) -> None:
    """Refuse: a cluster of yours pulls its images."""
    raise CommandError(
        f"{name} cannot be loaded into your cluster: push it, and set its name with the variables in images.py"
    )
