"""Faults of the machinery itself: etcd that stands still, an API server that is started again."""

import os
import signal
import time
from pathlib import Path

from dev.cluster import controlplane
from dev.cluster.controlplane import ControlPlane
from dev.cluster.processes import Process


def pause_etcd(plane: ControlPlane, seconds: float = 10) -> None:
    """etcd neither answers nor ends for so long."""
    etcd = _process(plane, "etcd")
    os.kill(etcd.pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(etcd.pid, signal.SIGCONT)


def restart_api_server(plane: ControlPlane, how: signal.Signals, seconds: float = 20) -> None:
    """End the API server by a signal, and start it again with the same command."""
    process = _process(plane, "kube-apiserver")
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    os.kill(process.pid, how)
    end = time.monotonic() + seconds
    while process.alive:
        if time.monotonic() > end:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    plane.processes.start(process.name, command)
    controlplane.wait_ready(plane)


def _process(plane: ControlPlane, name: str) -> Process:
    return next(process for process in plane.processes.recorded() if process.name == name)
