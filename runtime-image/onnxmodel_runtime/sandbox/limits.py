"""Limits of a process that runs a model: no network, no core file, its share of the container's memory.

Standard library only, for they are set before anything heavy is imported.
"""

import contextlib
import ctypes
import resource
import signal
from pathlib import Path

from onnxmodel_runtime.sandbox.seccomp import without_network

_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD = -3
_RESERVE = 64 << 20  # for what else is counted: the kernel's tables, files in memory, what a parent takes meanwhile


def confine(*, cpu_only: bool) -> None:
    """Make this process the one that dies, without network or a core file on the node, and not outlive its parent."""
    without_network()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel picks the child, so that the parent can tell
    limit = memory_limit()
    if limit and cpu_only:
        # The kubelet lets the kernel kill all processes of a container together, the parent too. An allocation beyond
        # what the container has left fails here first, as an exception. CUDA maps far more than it uses: not there.
        mine, (_, hard) = share(limit, held_above()), resource.getrlimit(resource.RLIMIT_DATA)
        mine = mine if hard == resource.RLIM_INFINITY else min(mine, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (mine, mine))


def give_back_at_once() -> None:
    """Have malloc take large blocks from the kernel one by one, and give each back when it is freed.

    By itself it does so only until the first of them is freed. From then on it keeps them, and a session of ONNX Runtime
    holds its copy of the model, which it needs no more, beside the weights.
    """
    with contextlib.suppress(OSError, AttributeError):  # musl has no such function
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def share(limit: int, held: int) -> int:
    """Return this process's share of the container's limit in bytes.

    held: by waiting processes; half is the minimum.
    """
    return max(limit - held - _RESERVE, limit // 2)


def held_above(proc: Path = Path("/proc"), process: str = "self") -> int:
    """Return the private memory of this process's ancestors in bytes, as far as it is visible."""
    held = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        while (process := (proc / process / "stat").read_text().rpartition(")")[2].split()[1]) != "0":
            _, resident, shared, *_ = map(int, (proc / process / "statm").read_text().split())
            held += (resident - shared) * resource.getpagesize()
    return held


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the container's memory limit in bytes by cgroup v2 or v1. 0 if there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((root / name).read_text())
        except (OSError, ValueError):  # "max" is v2's word for no limit
            continue
        if 0 < limit < 1 << 60:  # v1 says "no limit" with a number near 2**63
            return limit
    return 0
