"""Facts of a model that several stages exchange: its tensors, its batch axis, and the tolerance for its outputs."""

from dataclasses import KW_ONLY, dataclass

from onnxmodel_runtime.contract.identity import Identity

# Whether axis 0 of every input and output is a batch: not known yet, it is, it is not.
BATCH_UNKNOWN, BATCH_FIRST, BATCH_NONE = "Auto", "First", "None"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. shape: -1 is a dynamic axis. datatype: as in the Open Inference Protocol (FP32, INT64, BYTES …)."""

    name: Identity[str]
    datatype: Identity[str]
    shape: Identity[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Maximum difference between outputs.

    |a - b| <= absolute + relative * |b| for each element, and cosine(a, b) >= cosine for each output.
    """

    relative: Identity[float] = 1e-2
    absolute: Identity[float] = 1e-3
    cosine: Identity[float] = 0.999


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest difference between a variant's outputs and the original's.

    output: the tensor with that difference.
    note: what a number cannot express, such as NaN where the original has a number, or another shape.
    top1: the share of rows with the same best class, if an output looks like class scores; else None.
    """

    passed: bool
    _: KW_ONLY
    max_absolute: float
    max_relative: float
    cosine: float
    output: str
    batch_sizes: tuple[int, ...]
    note: str = ""
    top1: float | None = None
