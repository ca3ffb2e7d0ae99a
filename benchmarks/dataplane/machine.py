"""Account for the machine's time during a run: this benchmark, other processes, or the host of the virtual machine."""

import resource
from dataclasses import dataclass
from os import sysconf
from pathlib import Path


@dataclass(frozen=True)
class Ticks:
    """Of all cores since the machine started; mine: of this process and of all that it started and that ended."""

    stolen: int
    busy: int
    total: int
    mine: int

    @classmethod
    def now(cls) -> "Ticks":
        """As Linux counts them."""
        return cls.parse(Path("/proc/stat").read_text(), _mine())

    @classmethod
    def parse(cls, text: str, mine: int) -> "Ticks":
        """From the text of /proc/stat."""
        # Guests' time, behind these, is within user and nice.
        user, nice, system, idle, wait, irq, softirq, steal = map(int, text.split("\n", 1)[0].split()[1:9])
        busy = user + nice + system + irq + softirq
        return cls(steal, busy, busy + idle + wait + steal, mine)


@dataclass(frozen=True)
class Shares:
    """Of the time of all cores: what the host gave to other machines, and what other processes took."""

    stolen: float
    others: float


def shares(before: Ticks, after: Ticks) -> Shares:
    """Between two moments at which nothing that this process started runs."""
    total = max(1, after.total - before.total)
    others = (after.busy - before.busy) - (after.mine - before.mine)
    return Shares((after.stolen - before.stolen) / total, max(0, others) / total)


def _mine() -> int:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(usage.ru_utime + usage.ru_stime for usage in used) * sysconf("SC_CLK_TCK"))
