"""The cluster's background processes: started detached, recorded, and found again after any crash.

A process is ours by two proofs. Its record holds pid and start time, so that a pid that was given to another process is
never killed. And its environment carries a mark with the state folder, so that it is found even when the command that
started it was killed before it could write the record.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_MARK = "ONNXMODEL_CLUSTER_PROCESS_OF"


@dataclass(frozen=True)
class Process:
    """A process at one moment of its life: the pid alone may be reused."""

    name: str
    pid: int
    started: int  # clock ticks after boot

    @property
    def alive(self) -> bool:
        """True while this very process runs; a zombie does not."""
        return _start_time(self.pid) == self.started


class Processes:
    """The background processes of one state folder: logs in `log/`, records in `run/`."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._records = state / "run"
        self._logs = state / "log"

    def start(self, name: str, command: Sequence[str | Path]) -> Process:
        """Start a process that outlives this one, with its output in `log/NAME.log`."""
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in command],
                cwd=self._state,
                env={**_environment(), _MARK: str(self._state)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is not for it
            )
        child.returncode = 0  # it is meant to outlive us: no warning when this object is collected
        process = Process(name, child.pid, _start_time(child.pid) or 0)
        (self._records / f"{name}.json").write_text(json.dumps(asdict(process)))
        return process

    def recorded(self) -> list[Process]:
        """The processes that were started, alive or not."""
        found = []
        for record in sorted(self._records.glob("*.json")):
            try:
                found.append(Process(**json.loads(record.read_text())))
            except (ValueError, TypeError):
                continue  # the writer was killed: the mark finds its process
        return found

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The end of a process's log, for an error message."""
        path = self._logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def running(self) -> list[Process]:
        """Every live process of this state folder, recorded or not."""
        mark = f"{_MARK}={self._state}".encode()
        found = {process.pid: process for process in self.recorded() if process.alive}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) in found:
                continue
            try:
                marked = mark in (folder / "environ").read_bytes().split(b"\0")
                name = (folder / "comm").read_text().strip()
            except OSError:
                continue  # it ended meanwhile, or is another user's
            started = _start_time(int(folder.name))
            if marked and started is not None:
                found[int(folder.name)] = Process(name, int(folder.name), started)
        return list(found.values())

    def stop(self, grace: float = 0.0) -> None:
        """End every process of this state folder: politely for `grace` seconds, then not."""
        if grace:
            _signal(self.running(), signal.SIGTERM)
            _wait(self.running(), grace)
        deadline = time.monotonic() + 20
        while (left := self.running()) and time.monotonic() < deadline:
            _signal(left, signal.SIGKILL)
            _wait(left, 2)
        for record in self._records.glob("*.json"):
            record.unlink()


def _environment() -> dict[str, str]:
    # A proxy is for the outside: through it the API server would not reach a kubelet.
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _signal(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        if process.alive:
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue


def _wait(processes: Sequence[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(process.alive for process in processes) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.02)
    for process in processes:
        # Other threads of a zombie may still be ending, and until they have, its time is not known as a child's.
        if not process.alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, 0)


def _reap() -> None:
    # Those that this very command started become zombies of it.
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _start_time(pid: int) -> int | None:
    """Return when the process started, in clock ticks after boot. None if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name may hold spaces and parentheses
    return None if fields[0] in "ZX" else int(fields[19])
