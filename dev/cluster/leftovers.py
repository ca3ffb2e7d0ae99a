"""Find leftovers of ours on the machine: after `down` there must be none."""

from pathlib import Path

from . import cgroups, network
from .processes import Processes


def leftovers(state: Path) -> list[str]:
    """Everything that a cluster with this state folder left behind, one line each."""
    return [
        *(f"process {process.pid} ({process.name})" for process in Processes(state).running()),
        *(f"mount {path}" for path in mounts(state)),
        *network.leftovers(),
        *cgroups.leftovers(),
        *([f"folder {state}"] if state.exists() else []),
    ]


def mounts(state: Path) -> list[str]:
    """Mount points under the state folder, the deepest first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{state}/")), reverse=True)
