"""The wait stage: do nothing for a while."""

from dataclasses import dataclass

from onnxmodel_runtime.contract.identity import Identity


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """Wait for so many seconds."""

    seconds: Identity[float] = 1.0


@dataclass(frozen=True, slots=True)
class WaitResult:
    """The wait as it was. waited: its length in seconds."""

    waited: float
