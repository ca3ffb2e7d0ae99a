"""A controller as a process: what it takes of the processor and of memory, and what it asks the API server for."""

import json
import os
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_WRITES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True)
class Memory:
    """In bytes. resident: VmRSS. own: what no other process shares, from smaps_rollup."""

    resident: int
    own: int


@dataclass(frozen=True)
class Spent:
    """Between two moments. requests: by verb; leases aside."""

    seconds: float
    cpu_seconds: float
    requests: Counter[str]

    @property
    def count(self) -> int:
        """All requests."""
        return self.requests.total()

    @property
    def writes(self) -> int:
        """Requests that write."""
        return sum(self.requests[verb] for verb in _WRITES)


@dataclass(frozen=True)
class Many:
    """The cost of so many lives or services."""

    count: int
    spent: Spent

    @property
    def cpu_ms(self) -> float:
        """Of one."""
        return 1000 * self.spent.cpu_seconds / self.count

    @property
    def requests(self) -> float:
        """Of one."""
        return self.spent.count / self.count


class Audit:
    """The audit log, read from where it was read to."""

    def __init__(self, path: Path, user: str) -> None:
        self._path, self._user, self._at = path, user, 0
        self.requests: Counter[str] = Counter()
        """By verb, up to now. A watch counts when it begins."""

    def read(self) -> Counter[str]:
        """Return the counts so far."""
        if self._path.exists():
            with self._path.open("rb") as log:
                log.seek(self._at)
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    self._at += len(line)
                    self._count(json.loads(line))
        return Counter(self.requests)

    def _count(self, event: Mapping[str, object]) -> None:
        verb, stage, user, thing = (event.get(key) for key in ("verb", "stage", "user", "objectRef"))
        if not isinstance(user, Mapping) or user["username"] != self._user:
            return
        if isinstance(thing, Mapping) and thing.get("resource") == "leases":
            return
        if stage == ("ResponseStarted" if verb == "watch" else "ResponseComplete"):
            self.requests[str(verb)] += 1


class Subject:
    """A running controller. metrics: the address of its metrics in Prometheus's format."""

    def __init__(self, process: subprocess.Popen[bytes], audit: Audit, metrics: str, ready: str) -> None:
        self.process, self.audit = process, audit
        self._metrics, self._ready = metrics, ready

    def cpu_seconds(self) -> float:
        """User and system time since it started."""
        return cpu_seconds(self.process.pid)

    def memory(self) -> Memory:
        """As it is now."""
        folder = Path(f"/proc/{self.process.pid}")
        own = _kilobytes(folder / "smaps_rollup", "Private_Clean", "Private_Dirty")
        return Memory(_kilobytes(folder / "status", "VmRSS"), own)

    def ready(self) -> bool:
        """Return whether the subject reports that it is ready. Raises RuntimeError if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended with {self.process.returncode}")
        try:
            with urllib.request.urlopen(self._ready, timeout=5):
                return True
        except OSError:
            return False

    def metrics(self) -> dict[str, float]:
        """Every sample, by name and labels as they are written."""
        with urllib.request.urlopen(self._metrics, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value) for name, _, value in (ln.rpartition(" ") for ln in lines if ln[:1] not in ("", "#"))
        }

    def wait_ready(self, seconds: float = 900) -> None:
        """Until it says that it is ready."""
        end = time.monotonic() + seconds
        while not self.ready():
            if time.monotonic() > end:
                raise TimeoutError(f"not ready after {seconds:.0f} s")
            time.sleep(0.02)

    def wait_idle(self, seconds: float = 1800, quiet: float = 2.0) -> None:
        """Until for so long it has asked for nothing and has taken less than 5 % of a core."""
        end = time.monotonic() + seconds
        while True:
            requests, cpu = self.audit.read(), self.cpu_seconds()
            time.sleep(quiet)
            if self.audit.read() == requests and self.cpu_seconds() - cpu < 0.05 * quiet:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"not idle after {seconds:.0f} s")

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that is not enough."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Meter:
    """Meter of what a subject spends from now on. `read` may be called repeatedly."""

    def __init__(self, subject: Subject, before: Counter[str] | None = None) -> None:
        """before: the requests at the start of the process, to measure from there; without it, from now."""
        self._subject = subject
        self._requests = subject.audit.read() if before is None else before
        self._cpu = subject.cpu_seconds() if before is None else 0.0
        self._began = time.monotonic()

    def read(self) -> Spent:
        """Up to now."""
        requests = self._subject.audit.read()
        requests.subtract(self._requests)
        return Spent(time.monotonic() - self._began, self._subject.cpu_seconds() - self._cpu, +requests)


@contextmanager
def started(
    command: Sequence[str | Path], log: Path, audit: Audit, metrics: str, ready: str, env: Mapping[str, str]
) -> Iterator[Subject]:
    """The controller as a process, until the end of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **env}
        )
    subject = Subject(process, audit, metrics, ready)
    try:
        yield subject
    finally:
        subject.end()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _kilobytes(path: Path, *fields: str) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    return sum(int(words[1]) * 1024 for words in lines if words[0].rstrip(":") in fields)
