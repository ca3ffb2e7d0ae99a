"""Define spec.validation: what a model must be, to be served."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from onnxmodel_operator.api.base import ApiObject, Name
from onnxmodel_runtime.contract.uris import SOURCE_URI

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]  # fmt: skip


class Opset(ApiObject):
    """Accepted versions of the default operator set."""

    min: Annotated[int, Field(ge=1, le=100)] = 13


class TensorContract(ApiObject):
    """An input or output as its author declared it. -1 is a dynamic axis."""

    name: Name
    datatype: Datatype
    shape: Annotated[list[Annotated[int, Field(ge=-1, le=2**31 - 1)]], Field(max_length=16)]


class GoldenTolerance(ApiObject):
    """Maximum difference between the model's outputs and the golden outputs: |a-b| <= absolute + relative*|b|, and a minimum
    cosine.
    """

    relative: Annotated[float, Field(ge=0, le=1)] = 0.001
    absolute: Annotated[float, Field(ge=0, le=1)] = 0.0001
    cosine: Annotated[float, Field(ge=0, le=1)] = 0.999


class Golden(ApiObject):
    """Inputs with the outputs of the original framework."""

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] = Field(
        description="An .npz file with one array for each input and output, or a folder, ending in /, with ONNX "
        "test_data_set_* folders. Read with the model's secretRef."
    )
    tolerance: GoldenTolerance = GoldenTolerance()


class Validation(ApiObject):
    """Requirements that a model must meet to be served."""

    mode: Literal["Enforce", "Warn"] = Field(
        default="Enforce", description="Warn: findings are reported in status, and nothing is blocked."
    )
    opset: Opset = Opset()
    dynamic_batch: Literal["Required", "Allowed"] = Field(
        default="Required",
        description="Required: the first axis of every input and output must be dynamic, unless batch is None, or "
        "the inputs show that there is no batch axis (a scalar; first axes of different fixed sizes, of "
        "which a 1 may be the batch of an export; another axis that is named as a batch, or that all "
        "inputs share beside a fixed first axis), or running the model shows it. Allowed: the first axis "
        "may be fixed.",
    )
    batch: Literal["Auto", "None"] = Field(
        default="Auto",
        description="Auto: determine from the graph and by running the model whether the first axis of every input "
        "and output is a batch. None: it is not; set it if this cannot be determined, as in a model "
        "whose first axes all have one fixed size by nature. Each request is then served unchanged, "
        "nothing is batched or limited, and one request counts as one inference.",
    )
    inputs: Annotated[list[TensorContract], Field(max_length=64)] | None = Field(
        default=None, description="The expected inputs and outputs. Any difference from the model is an error."
    )
    outputs: Annotated[list[TensorContract], Field(max_length=64)] | None = None
    golden: Golden | None = None
    sizes: Annotated[dict[Name, Annotated[int, Field(ge=1, le=2**20)]], Field(max_length=64)] = Field(
        default={},
        description="Sizes of dynamic axes for generated inputs, used if there is no golden data: by the axis's "
        "symbol in the model, or INPUT[AXIS] if it has none. All figures are measured at these sizes. "
        "Sizes that are not set are determined automatically.",
    )
