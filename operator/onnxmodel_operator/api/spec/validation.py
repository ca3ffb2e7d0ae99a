"""Define spec.validation: what a model must be, to be served."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from onnxmodel_operator.api.base import Model, Name
from onnxmodel_operator.api.patterns import SOURCE_URI

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]  # fmt: skip


class Opset(Model):
    """Which versions of the default operator set are accepted."""

    min: Annotated[int, Field(ge=1, le=100)] = 13


class TensorContract(Model):
    """An input or output as its author declared it. -1 is a dynamic axis."""

    name: Name
    datatype: Datatype
    shape: Annotated[list[Annotated[int, Field(ge=-1, le=2**31 - 1)]], Field(max_length=16)]


class GoldenTolerance(Model):
    """How close the model's answers must be to the golden ones: |a-b| <= absolute + relative*|b|, and cosine."""

    relative: Annotated[float, Field(ge=0, le=1)] = 0.001
    absolute: Annotated[float, Field(ge=0, le=1)] = 0.0001
    cosine: Annotated[float, Field(ge=0, le=1)] = 0.999


class Golden(Model):
    """Inputs and the answers that the original framework gave to them."""

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] = Field(
        description="An .npz file with one array for each input and output, or a folder, ending in /, of ONNX "
        "test_data_set_* folders. Read with the model's secretRef."
    )
    tolerance: GoldenTolerance = GoldenTolerance()


class Validation(Model):
    """What a model must be, to be served."""

    mode: Literal["Enforce", "Warn"] = Field(
        default="Enforce", description="Warn: findings are reported in status, nothing is blocked."
    )
    opset: Opset = Opset()
    dynamic_batch: Literal["Required", "Allowed"] = Field(
        default="Required",
        description="Required: the first axis of every input and output must be dynamic, unless batch is None, or the inputs "
        "show that there is no batch axis: a scalar, first axes of different fixed sizes (of which 1 may be an export's "
        "batch), or another axis that is named the batch, or that all inputs share beside a fixed first axis; or running it "
        "shows that. Allowed: it may be fixed.",
    )
    batch: Literal["Auto", "None"] = Field(
        default="Auto",
        description="Auto: whether the first axis of every input and output is a batch is found from the graph and by running "
        "the model. None: it is not, where that cannot be found, as in a model whose first axes all have one fixed size by "
        "nature: each request is served as it is, nothing is joined or limited, and one request counts as one inference.",
    )
    inputs: Annotated[list[TensorContract], Field(max_length=64)] | None = Field(
        default=None, description="The contract. Any difference from the model is an error."
    )
    outputs: Annotated[list[TensorContract], Field(max_length=64)] | None = None
    golden: Golden | None = None
    sizes: Annotated[dict[Name, Annotated[int, Field(ge=1, le=2**20)]], Field(max_length=64)] = Field(
        default={},
        description="Sizes of dynamic axes, where inputs are made because there are no golden data: by the axis's symbol in the "
        "model, or INPUT[AXIS] where it has none. Every figure is of these sizes. What is not here is found by trying.",
    )
