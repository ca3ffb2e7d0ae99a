"""The input of a pass, and the exception by which it reports that it has nothing to do."""

from dataclasses import dataclass
from pathlib import Path

from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.variants import Case


@dataclass(frozen=True, slots=True)
class Task:
    """Read the model `source`, and write what becomes of it to `target`, in the same folder.

    cases: on which the variant is compared with the original. large: it will have its weights in a file of its own.
    """

    request: OptimizeRequest
    source: Path
    target: Path
    cases: tuple[Case, ...]
    large: bool = False


class Skip(Exception):
    """A pass does not fit this model. The message says why, and what to do if that helps."""
