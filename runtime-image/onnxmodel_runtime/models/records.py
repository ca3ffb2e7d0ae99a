"""Files that a stage leaves beside a model on its volume for later stages: the record of a fetch, reports, marks."""

import json
import os
from pathlib import Path
from typing import Any

from onnxmodel_runtime.contract.outcome import Outcome, as_json
from onnxmodel_runtime.contract.volume import SOURCE_FILE
from onnxmodel_runtime.sandbox.progress import log


def read_source(directory: Path) -> dict[str, Any]:
    """Read the record that fetch left in `directory`. Empty if there is none, as beside a person's own model."""
    try:
        record = json.loads((directory / SOURCE_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def source_uri(directory: Path) -> str:
    """Return the resolved URI of the files that were fetched into `directory`. "" for a person's own file."""
    record = read_source(directory)
    return str(record.get("resolved") or record.get("uri") or "")


def accept(directory: Path) -> None:
    """Mark the model in `directory` as accepted, by whichever rules: from now on it may be in use."""
    write_beside(_marker(directory), "")


def accepted(directory: Path) -> bool:
    """Return whether a validation has ever accepted the model. A later refusal does not change that."""
    return _marker(directory).exists()


def _marker(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.accepted")


def write_report(outcome: Outcome, path: Path) -> None:
    """Write the whole outcome beside the artifact, unless the volume is mounted read-only."""
    write_beside(path, as_json(outcome))


def write_beside(path: Path, text: str) -> None:
    """Write a file atomically. A failure is logged: no stage fails for lack of a report."""
    partial = path.with_name(f"{path.name}.tmp-{os.uname().nodename}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        log(f"cannot write {path.name} beside the artifact: {error}")
