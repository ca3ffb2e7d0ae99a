"""Describe the machine of a measurement, as the container sees it: processor, cores, GPUs and versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onnxmodel_runtime.contract.benchmark import Environment

_GPUS = Path("/proc/driver/nvidia/gpus")


def environment(provider: str) -> Environment:
    """Return the processor, its share, the accelerator if `provider` uses one, and the versions."""
    return Environment(processor(), cores(), accelerator() if provider != "CPU" else "", versions())


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, or the architecture where the kernel does not report it."""
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())[:80]
    except OSError:
        pass
    return platform.machine()


def cores(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the usable cores: the fewer of the process's affinity and the cgroup's quota (v2, v1)."""
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
    """Describe the GPUs: "2 x NVIDIA L4"."""
    models = gpus(root)
    names = sorted(set(models))
    return ", ".join(f"{models.count(name)} x {name}" if models.count(name) > 1 else name for name in names)


def gpus(root: Path = _GPUS) -> list[str]:
    """Return the product name of each GPU, by NVIDIA's driver."""
    models = []
    for information in sorted(root.glob("*/information")):
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                models.append(line.partition(":")[2].strip())
    return models


def versions() -> dict[str, str]:
    """Return the versions of all computing libraries."""
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
