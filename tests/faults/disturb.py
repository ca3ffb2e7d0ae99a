"""Faults of the machinery itself: etcd that stands still, an API server that is started again."""

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.cluster import controlplane
from tests.cluster.controlplane import ControlPlane
from tests.cluster.processes import Process


def pause_etcd(plane: ControlPlane, seconds: float = 10) -> None:
    """etcd neither answers nor ends for so long."""
    etcd = _process(plane, "etcd")
    os.kill(etcd.pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(etcd.pid, signal.SIGCONT)


def restart_api_server(plane: ControlPlane, how: signal.Signals) -> None:
    """End the API server by a signal, and start it again with the same command.

    The controller manager begins anew with it. Else it finds no CRD while the API server starts, stops to follow the models,
    and for minutes nothing collects the children of one that is deleted then.
    """
    _restart(plane, "kube-apiserver", how)
    controlplane.wait_ready(plane)
    _restart(plane, "kube-controller-manager", signal.SIGKILL)


def _restart(plane: ControlPlane, name: str, how: signal.Signals, seconds: float = 20) -> None:
    process = _process(plane, name)
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    os.kill(process.pid, how)
    end = time.monotonic() + seconds
    while process.alive:
        if time.monotonic() > end:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, 0)  # its last thread holds the port
    plane.processes.start(name, command)


def _process(plane: ControlPlane, name: str) -> Process:
    return next(process for process in plane.processes.recorded() if process.name == name)
