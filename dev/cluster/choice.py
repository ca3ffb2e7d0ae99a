"""The cluster of demos and tests.

CLUSTER=current    whatever KUBECONFIG leads to
CLUSTER=kind       kind, on a docker engine
CLUSTER=embedded   processes of this machine; Debian or Ubuntu, root, no docker engine, no registry
unset              kind where a docker engine answers, else embedded
"""

import os
from pathlib import Path
from typing import Protocol

from . import current, embedded, kind
from .builder import docker_answers
from .images import images
from .shell import CommandError


class Cluster(Protocol):
    """Interface of each of the three modules."""

    def up(self) -> Path:
        """Have the cluster running, and return its kubeconfig; a healthy one is left alone."""

    def down(self) -> None:
        """End what `up` started."""

    def kubeconfig(self) -> Path:
        """Path of the kubeconfig, whether the cluster runs or not."""

    def audit_log(self) -> Path | None:
        """Return the API server's audit log, if there is one: one JSON object a line for every write."""

    def problems(self) -> list[str]:
        """Return why the cluster is not healthy. Empty if it is."""

    def load(self, name: str, archive: Path) -> None:
        """Give every node the image of this name out of an archive."""


def chosen() -> Cluster:
    """The cluster that the environment asks for, or the one that fits this machine."""
    clusters: dict[str, Cluster] = {"current": current, "kind": kind, "embedded": embedded}
    name = os.environ.get("CLUSTER") or ("kind" if docker_answers() else "embedded")
    if name not in clusters:
        raise CommandError(f"CLUSTER={name}: use one of {', '.join(clusters)}")
    return clusters[name]


def build_images(*, tests: bool = False) -> None:
    """Build the project's images that are not built; no cluster is needed for it. tests: those too that only tests need."""
    for image in images(tests=tests):
        if image.archive:
            image.archive()


def load_images(cluster: Cluster, *, tests: bool = False) -> dict[str, str]:
    """Build missing images, load missing ones, and return the images' names by their role."""
    wanted = images(tests=tests)
    for image in wanted:
        if image.archive:
            cluster.load(image.name, image.archive())
    return {image.role: image.name for image in wanted}
