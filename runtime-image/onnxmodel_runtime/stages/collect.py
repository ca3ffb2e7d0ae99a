"""Garbage collection on a model's volume: remove what no spec can go back to, to make room."""

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path

from onnxmodel_runtime.contract.stages import FOLDERS
from onnxmodel_runtime.sandbox.progress import log

_NAME = 16  # characters of a digest: what stands beside a folder (a report, a marker) begins with the folder's name


def collect(volume: Path, keep: Collection[str]) -> list[str]:
    """Remove the content-addressed folders that `keep` does not name, as "optimize/0123456789abcdef". Returns those.

    What cannot be removed stays: that is no reason for a stage to fail.
    """
    removed = []
    for place in FOLDERS:
        for path in sorted((volume / place).glob("?" * _NAME + "*")):
            if f"{place}/{path.name[:_NAME]}" in keep:
                continue
            removed.append(f"{place}/{path.name}")
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
    if removed:
        log(f"removed artifacts that no spec can return to: {', '.join(removed)}")
    return removed
