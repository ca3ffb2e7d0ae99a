"""What the numbers are measured on, as the container sees it."""

import ctypes
import gc
import os
import platform
import resource
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onnxmodel_runtime.contract.benchmark import Environment
from onnxmodel_runtime.sandbox.limits import memory_limit

_GPUS = Path("/proc/driver/nvidia/gpus")


def environment(provider: str) -> Environment:
    """The processor, its share, the accelerator when `provider` uses one, and the versions."""
    return Environment(processor(), cores(), accelerator() if provider != "CPU" else "", versions())


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name; on architectures whose kernel does not tell, the architecture."""
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())[:80]
    except OSError:
        pass
    return platform.machine()


def cores(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Cores that may be used: the fewer of those the process may run on and the cgroup's quota (v2, v1)."""
    allowed = float(len(os.sched_getaffinity(0)))
    for read in (_quota_v2, _quota_v1):
        try:
            quota = read(root)
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
        if quota > 0:
            return min(allowed, round(quota, 2))
    return allowed


def _quota_v2(root: Path) -> float:
    quota, period = (root / "cpu.max").read_text().split()
    return int(quota) / int(period)


def _quota_v1(root: Path) -> float:
    quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return int(quota) / int(period)


def accelerator(root: Path = _GPUS) -> str:
    """The GPUs in words: "2 x NVIDIA L4"."""
    models = gpus(root)
    names = sorted(set(models))
    return ", ".join(f"{models.count(name)} x {name}" if models.count(name) > 1 else name for name in names)


def gpus(root: Path = _GPUS) -> list[str]:
    """The product name of each GPU, by NVIDIA's driver."""
    models = []
    for information in sorted(root.glob("*/information")):
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                models.append(line.partition(":")[2].strip())
    return models


def versions() -> dict[str, str]:
    """Of everything that computes."""
    found = {"python": platform.python_version()}
    for name, packages in {
        "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
        "onnx": ("onnx",),
        "numpy": ("numpy",),
    }.items():
        for package in packages:
            try:
                found.setdefault(name, version(package))
            except PackageNotFoundError:
                continue
    return found


def resident_bytes() -> int:
    """Memory of this process that is in RAM. A GPU's memory is not in it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Memory that this process may come to have; the machine's where nothing is limited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (memory_limit(), 0 if soft == resource.RLIM_INFINITY else soft) if limit > 0]
    return min(limits) if limits else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free() -> None:
    """Give back what is free: the tools leave cycles behind, and the allocator keeps what large models took."""
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
        """Bytes at the peak; where the kernel does not tell, now."""
        return max(0, (_peak_bytes() if self._known else resident_bytes()) - self._before)


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resident_bytes()
