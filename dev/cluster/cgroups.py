"""One cgroup per node, under which its kubelet keeps the pods: their memory limits are real."""

import time
from contextlib import suppress
from pathlib import Path

from .shell import CommandError

_MOUNT = Path("/sys/fs/cgroup")
_PREFIX = "onnxmodel-"


def name(node: str) -> str:
    """The node's cgroup, as the kubelet wants it."""
    return f"/{_PREFIX}{node}"


def create(node: str) -> None:
    """Make the node's cgroup in every hierarchy that there is."""
    if _unified():
        # A child may use a controller only when its parent hands it down.
        for controller in (_MOUNT / "cgroup.controllers").read_text().split():
            try:
                (_MOUNT / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError:
                continue  # not every controller can be handed down; the kubelet names a missing one that it needs
    for hierarchy in _hierarchies():
        folder = hierarchy / name(node)[1:]
        folder.mkdir(exist_ok=True)
        if not _unified() and (folder / "cpuset.cpus").exists():  # a new set is empty, and nothing can run in it
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((hierarchy / file).read_text())


def remove() -> None:
    """Remove the nodes' cgroups and all below them. Their processes must be gone; the kernel may need a moment."""
    deadline = time.monotonic() + 10
    while True:
        for top in _ours():
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                _try_remove(folder)
            _try_remove(top)
        if not _ours():
            return
        if time.monotonic() > deadline:
            raise CommandError(f"cgroups are still in use: {', '.join(leftovers())}")
        time.sleep(0.05)


def leftovers() -> list[str]:
    """The nodes' cgroups that are still there."""
    return [f"cgroup {folder}" for folder in _ours()]


def _ours() -> list[Path]:
    return [folder for hierarchy in _hierarchies() for folder in hierarchy.glob(f"{_PREFIX}*")]


def _hierarchies() -> list[Path]:
    if _unified():
        return [_MOUNT]
    # Version 1 has one per controller, and a "unified" one beside them; two names may be links to one hierarchy.
    return sorted({folder.resolve() for folder in _MOUNT.iterdir() if (folder / "cgroup.procs").exists()})


def _unified() -> bool:
    return (_MOUNT / "cgroup.controllers").exists()


def _try_remove(folder: Path) -> None:
    with suppress(OSError):  # not empty yet
        folder.rmdir()
