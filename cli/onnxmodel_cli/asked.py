"""A run of the pipeline, as a person asks for it."""

from dataclasses import dataclass
from pathlib import Path

from onnxmodel_runtime.contract.stages import Stage

LAST = [*Stage][-1]


@dataclass(frozen=True)
class Asked:
    """Arguments of a run: the manifest, and the last stage.

    model, golden, calibration, signature: local paths to use in place of the manifest's URIs. public_key: a file, or
    its text. out: where artifacts stay; a temporary folder without it.
    """

    manifest: Path
    name: str = ""
    model: str = ""
    golden: str = ""
    calibration: str = ""
    signature: str = ""
    public_key: str = ""
    out: Path | None = None
    settings: Path | None = None
    until: str = LAST
    output: str = "text"
