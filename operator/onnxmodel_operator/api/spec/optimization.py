"""Define spec.optimization: which variants compete with the original."""

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from onnxmodel_operator.api.base import ApiObject
from onnxmodel_runtime.contract.uris import SOURCE_URI

VariantName = Literal["fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"]
VARIANTS: tuple[str, ...] = get_args(VariantName)
INEXACT = ("fp16", "int8-dynamic", "int8-static")
"""Variants that compute with fewer bits: how they differ from the original depends on the inputs."""


class ParityTolerance(ApiObject):
    """Maximum difference between a variant's outputs and the original's: |a-b| <= absolute + relative*|b|, and a minimum
    cosine.
    """

    relative: Annotated[float, Field(ge=0, le=1)] = 0.01
    absolute: Annotated[float, Field(ge=0, le=1)] = 0.001
    cosine: Annotated[float, Field(ge=0, le=1)] = 0.999


class Calibration(ApiObject):
    """Calibration data of int8-static, which determines the ranges of activations."""

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] | None = Field(
        default=None,
        description="Inputs in the format of golden data; outputs in it are ignored. Unset: the golden data's "
        "inputs. Read with the model's secretRef.",
    )
    method: Literal["MinMax", "Entropy", "Percentile"] = "MinMax"
    percentile: Annotated[float, Field(gt=50, le=100)] = Field(
        default=99.99, description="Percentile for the method Percentile."
    )
    samples: Annotated[int, Field(ge=1, le=10000)] = Field(default=256, description="Maximum number of rows.")


class Optimization(ApiObject):
    """Variants that compete with the original. fp32 is graph optimization only."""

    graph_level: Literal["None", "Basic", "Extended", "All"] = "All"
    variants: Annotated[list[VariantName], Field(max_length=8)] = Field(
        default=["fp32", "fused"],
        description="Each variant is built, compared with the original and measured; if one cannot be built for "
        "this model, the status says why.",
    )
    calibration: Calibration = Calibration()
    parity: ParityTolerance = ParityTolerance()
