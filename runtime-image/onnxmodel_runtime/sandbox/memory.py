"""Memory of this process: what it holds, what it may hold, and what a piece of work adds."""

import ctypes
import gc
import os
import resource
from contextlib import suppress
from pathlib import Path

from onnxmodel_runtime.sandbox.limits import memory_limit


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM, without a GPU's."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Return the maximum memory of this process in bytes: the machine's if nothing is limited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (memory_limit(), 0 if soft == resource.RLIM_INFINITY else soft) if limit > 0]
    return min(limits) if limits else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free() -> None:
    """Return free memory to the kernel: tools leave cycles behind, and the allocator keeps memory of large models."""
    gc.collect()
    with suppress(AttributeError):  # musl has no such function
        ctypes.CDLL(None).malloc_trim(0)


class Peak:
    """Watches what this process adds to its memory from now on.

    What the allocator keeps of earlier work is given back first: else a later model would be found to need less.
    """

    def __init__(self) -> None:
        free()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak begins again here
            self._known = True
        except OSError:  # no such file in gVisor
            self._known = False
        self._before = resident_bytes()

    def added(self) -> int:
        """Return the bytes added at the peak, or now where the kernel does not report the peak."""
        return max(0, (_peak_bytes() if self._known else resident_bytes()) - self._before)


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resident_bytes()
