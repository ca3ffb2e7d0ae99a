"""Folders of the cluster. Nothing is written into the clone.

cache   what was built, keyed by its recipe; survives `down`, and serves every clone   ONNXMODEL_CACHE
state   what a running cluster needs; one cluster per machine; gone after `down`       ONNXMODEL_STATE

The state's path must be short: a Unix socket's path ends at 107 bytes.
"""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def cache() -> Path:
    """Folder of built binaries and images."""
    return Path(os.environ.get("ONNXMODEL_CACHE") or Path.home() / ".cache" / "onnxmodel-operator")


def state(name: str) -> Path:
    """Folder of one running thing: `cluster` or `control-plane`."""
    default = Path("/var/lib/onnxmodel") if os.geteuid() == 0 else Path.home() / ".local" / "state" / "onnxmodel"
    return Path(os.environ.get("ONNXMODEL_STATE") or default) / name
