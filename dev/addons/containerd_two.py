"""containerd 2.1 under the embedded cluster, which mounts images as volumes; Debian 12 has 1.6, which does not."""

import os
from pathlib import Path

from dev.cluster import embedded
from dev.cluster.golang import module_program
from dev.cluster.node import CONTAINERD
from dev.cluster.steps import step

_FOLDER = Path(__file__).parent / "containerd"
_SHIM = "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
_TAGS = "no_btrfs"


def build() -> None:
    """Build both programs, if the cache has none."""
    _programs()


def use() -> None:
    """Let the nodes run it from now on. A cluster that runs with another one is ended."""
    os.environ[CONTAINERD] = ":".join(str(program.parent) for program in _programs())
    if not embedded.problems() and not _is_used():
        with step("cluster: starting anew with containerd 2.1"):
            embedded.down()


def _programs() -> tuple[Path, Path]:
    return module_program(_FOLDER, ".", _TAGS), module_program(_FOLDER, _SHIM, _TAGS)


def _is_used() -> bool:
    nodes = embedded.plane().api.get("/api/v1/nodes")["items"]
    return all(node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://2.") for node in nodes)
