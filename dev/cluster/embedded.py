"""The embedded cluster: a Kubernetes with two real nodes out of processes of this machine, without any registry.

node-0 is the default pool. node-1 is a second kubelet with a containerd and a cgroup of its own; it is labelled and
tainted as a GPU pool and offers four pretend GPUs.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import addons, cgroups, controlplane, golang, network, node, packages
from .apiclient import ApiError
from .artifacts import remove
from .controlplane import ControlPlane
from .leftovers import leftovers, mounts
from .locking import exclusive
from .node import NODES
from .paths import state
from .shell import CommandError, run
from .steps import again, say, step


def plane() -> ControlPlane:
    """The cluster's control plane, running or not."""
    folder = state("cluster")
    return ControlPlane(folder, NODES[0].address, in_network=lambda *command: network.inside(folder, *command))


def build() -> None:
    """Install and build all that the cluster is made of. Seconds when the cache has it."""
    packages.ensure(packages.CLUSTER)
    golang.build(*golang.CLUSTER, *golang.TOOLS)  # the tools too: most of them is compiled for the cluster anyway


def up() -> Path:
    """Have the cluster running, and return its kubeconfig. A running, healthy cluster is left alone."""
    _require_root()
    this = plane()
    with exclusive(_lock(this)):
        if not problems():
            say(f"cluster: already up, KUBECONFIG={this.kubeconfig}")
            return this.kubeconfig
        build()
        with step("cluster: starting", "about 10 s"):
            again("the cluster", lambda: _start(this), (CommandError, ApiError))
        say(f"cluster: up, KUBECONFIG={this.kubeconfig}")
    return this.kubeconfig


def down() -> None:
    """End the cluster; fails when anything of it is left on the machine."""
    _require_root()
    this = plane()
    with exclusive(_lock(this)):
        with step("cluster: removing"):
            _clean(this)
        if left := leftovers(this.state):
            raise CommandError("left behind:\n" + "\n".join(left))


def kubeconfig() -> Path:
    """Path of the administrator's kubeconfig, whether the cluster runs or not."""
    return plane().kubeconfig


def audit_log() -> Path:
    """The API server's audit log: one JSON object for every write."""
    return plane().audit_log


def problems() -> list[str]:
    """Return why the cluster is not healthy. Empty if it is."""
    this = plane()
    dead = [process.name for process in this.processes.recorded() if not process.alive]
    if dead or not _complete(this).exists():
        return [f"{name} is not running" for name in dead] or ["not started, or not completely"]
    try:
        found = {item["metadata"]["name"]: item for item in this.api.get("/api/v1/nodes")["items"]}
    except ApiError as error:
        return [str(error)]
    return [
        *(f"{wanted.name} is not ready" for wanted in NODES if not _ready(found.get(wanted.name))),
        # One that an older clone started.
        *(f"{wanted.name} has different labels" for wanted in NODES if not _labelled(found.get(wanted.name), wanted)),
    ]


def load(name: str, archive: Path) -> None:
    """Give both nodes the image of this name out of an archive; nothing happens where they have it."""
    this = plane()
    lacking = [target for target in NODES if name not in node.images(target, this)]
    if lacking:
        with step(f"{name}: loading"), ThreadPoolExecutor() as pool:
            list(pool.map(lambda target: node.load(target, this, archive), lacking))


def _start(this: ControlPlane) -> None:
    _clean(this)
    this.state.mkdir(parents=True)
    this.state.chmod(0o755)
    controlplane.prepare(this)
    network.create([target.address for target in NODES], this.state)
    controlplane.start(this)
    for target in NODES:
        node.start(target, this)
    controlplane.wait_ready(this)
    controlplane.start_controllers(this)
    controlplane.start_scheduler(this)
    addons.start(this)
    addons.apply(this.api)
    for target in NODES:
        _wait_socket(target, this)
        node.load_pause(target, this)
    for target in NODES:
        _wait_ready(target, this)
        if target.extended_resources:
            # As a device plugin would have it: the kubelet keeps resources that it does not know.
            resources = {"capacity": target.extended_resources, "allocatable": target.extended_resources}
            this.api.patch_status(f"/api/v1/nodes/{target.name}", resources)
    _wait_default_account(this)
    _complete(this).touch()


def _clean(this: ControlPlane) -> None:
    """Bring the machine back to what it was, after a `down` or after anything that was killed."""
    # Killed at once: nothing of the cluster is worth a graceful end, and a dead node takes its containers along.
    this.processes.stop()
    for point in mounts(this.state):
        if point != str(this.state / "net"):
            run("umount", "--lazy", point)
    network.remove(this.state)
    cgroups.remove()
    node.remove_mount_points(this.state)
    remove(this.state)


def _wait_socket(target: node.Node, this: ControlPlane, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not target.socket(this).exists():
        if time.monotonic() > deadline:
            raise node.describe_failure(target, this)
        time.sleep(0.02)


def _wait_ready(target: node.Node, this: ControlPlane, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if _ready(this.api.get(f"/api/v1/nodes/{target.name}")):
                return
        except ApiError:
            pass  # the kubelet has not registered it yet
        if time.monotonic() > deadline:
            raise node.describe_failure(target, this)
        time.sleep(0.1)


def _wait_default_account(this: ControlPlane, seconds: float = 30) -> None:
    """A pod created before its namespace's service account exists is refused."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            this.api.get("/api/v1/namespaces/default/serviceaccounts/default")
            return
        except ApiError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _ready(found: dict[str, Any] | None) -> bool:
    conditions = found["status"].get("conditions", []) if found else []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _labelled(found: dict[str, Any] | None, wanted: node.Node) -> bool:
    return found is None or wanted.labels.items() <= found["metadata"].get("labels", {}).items()


def _complete(this: ControlPlane) -> Path:
    """A file that says that `up` came to its end: its parts may all run and yet something be missing."""
    return this.state / "complete"


def _lock(this: ControlPlane) -> Path:
    return this.state.with_name(f"{this.state.name}.lock")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise CommandError("the embedded cluster needs root; use CLUSTER=kind or CLUSTER=current without it")
