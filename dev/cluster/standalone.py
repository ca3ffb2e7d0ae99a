"""A control plane alone, on the loopback address: enough for integration tests of the operator, beside any cluster."""

import os
from pathlib import Path

from . import controlplane, golang, packages
from .artifacts import remove
from .controlplane import ControlPlane
from .leftovers import mounts
from .locking import exclusive
from .paths import state
from .shell import CommandError
from .steps import again, say, step

_PROCESSES = 3  # etcd, the API server, the controller manager


def plane() -> ControlPlane:
    """The control plane, running or not. ONNXMODEL_CONTROL_PLANE_PORT moves it: etcd takes the next two ports."""
    port = int(os.environ.get("ONNXMODEL_CONTROL_PLANE_PORT") or 16443)
    return ControlPlane(state("control-plane"), "127.0.0.1", port=port, etcd_port=port + 1)


def kubeconfig() -> Path:
    """Path of its kubeconfig, whether it runs or not."""
    return plane().kubeconfig


def audit_log() -> Path:
    """The API server's audit log: one JSON object a line for every write."""
    return plane().audit_log


def problems() -> list[str]:
    """Return why the control plane is not healthy. Empty if it is."""
    this = plane()
    processes = this.processes.recorded()
    dead = [f"{process.name} is not running" for process in processes if not process.alive]
    if dead or len(processes) < _PROCESSES or not this.api.ready():
        return dead or ["not started, or not completely"]
    return []


def up() -> Path:
    """Have the control plane running, and return its kubeconfig. A healthy one is left alone."""
    this = plane()
    with exclusive(_lock(this)):
        if not problems():
            say(f"control plane: already up, KUBECONFIG={this.kubeconfig}")
            return this.kubeconfig
        packages.ensure(packages.CONTROL_PLANE)
        golang.build("kube", "kubectl")
        with step("control plane: starting", "about 3 s"):
            again("the control plane", lambda: _start(this), (CommandError,))
        say(f"control plane: up, KUBECONFIG={this.kubeconfig}")
    return this.kubeconfig


def down() -> None:
    """End the control plane; fails when anything of it is left."""
    this = plane()
    with exclusive(_lock(this)):
        with step("control plane: removing"):
            _clean(this)
        if left := [*this.processes.running(), *mounts(this.state)]:
            raise CommandError(f"left behind: {left}")


def _start(this: ControlPlane) -> None:
    _clean(this)
    this.state.mkdir(parents=True)
    controlplane.prepare(this)
    controlplane.start(this)
    controlplane.wait_ready(this)
    # A node that a test makes has no kubelet: without its heartbeats, the pods on it would soon not be ready any more.
    controlplane.start_controllers(this, "--controllers=*,-node-lifecycle-controller")


def _clean(this: ControlPlane) -> None:
    this.processes.stop()
    remove(this.state)


def _lock(this: ControlPlane) -> Path:
    return this.state.with_name(f"{this.state.name}.lock")
