"""Processes of an add-on: in the network of the embedded cluster, and found again after a crash."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dev.cluster import embedded
from dev.cluster.artifacts import remove
from dev.cluster.paths import state
from dev.cluster.processes import Processes
from dev.cluster.steps import step

T = TypeVar("T")


class AddOn:
    """The processes of one add-on, apart from those of the cluster: its end does not make the cluster unhealthy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = state("addons") / name
        self._processes = Processes(self.state)

    @contextmanager
    def session(self, title: str, start: Callable[[], T]) -> Iterator[T]:
        """Start what belongs to it, and end all of it after the block. title: for the person who waits."""
        self.stop()  # one that was killed
        try:
            with step(f"{title}: starting"):
                started = start()
            yield started
        finally:
            self.stop()

    def start(self, name: str, *command: str | Path, env: dict[str, str] | None = None) -> None:
        """Start a program in the cluster's network, as the cluster's administrator. Its log is in the state folder."""
        plane = embedded.plane()
        variables = {"KUBECONFIG": str(plane.kubeconfig), **(env or {})}
        words = [f"{key}={value}" for key, value in variables.items()]
        self._processes.start(name, plane.in_network("env", *words, *command))

    def running(self) -> bool:
        """Return whether all that was started still runs."""
        recorded = self._processes.recorded()
        return bool(recorded) and all(process.alive for process in recorded)

    def log(self, name: str) -> str:
        """The end of a process's log, for an error message."""
        return self._processes.log_tail(name)

    def logs(self) -> str:
        """The ends of the logs of all its processes, for an error message."""
        return "\n".join(f"{process.name}: {self.log(process.name)}" for process in self._processes.recorded())

    def stop(self) -> None:
        """End its processes, and remove what they left."""
        self._processes.stop(grace=5)
        remove(self.state)
