"""What a pass is given, and how it says that it has nothing to do."""

from dataclasses import dataclass
from pathlib import Path

from onnxmodel_runtime.contract.optimize import OptimizeRequest


@dataclass(frozen=True, slots=True)
class Task:
    """Read the model `source`, and write what becomes of it to `target`, in the same folder.

    cases: the files with inputs, and the original's answers, on which variants are proven. large: the variant will have
    its weights in a file of its own.
    """

    request: OptimizeRequest
    source: Path
    target: Path
    cases: tuple[Path, ...]
    large: bool = False


class Skip(Exception):
    """A pass does not fit this model. The message says why, and what to do where that helps."""
