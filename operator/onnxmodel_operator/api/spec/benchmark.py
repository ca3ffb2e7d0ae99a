"""Define spec.benchmark: how candidates are measured, and what decides."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from onnxmodel_operator.api.base import ApiObject, Name, cel


class Constraints(ApiObject):
    """Constraints that the served variant must meet in the benchmark."""

    p99_milliseconds: Annotated[float, Field(gt=0, le=1e7)] | None = Field(
        default=None, description="Upper limit of p99 at the smallest batch size and the lowest concurrency."
    )
    throughput_per_second: Annotated[float, Field(gt=0, le=1e12)] | None = Field(
        default=None,
        description="Lower limit of the best throughput in the grid, in rows per second, or in inferences per "
        "second if the model has no batch axis.",
    )
    max_regression_percent: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="How much worse than the current revision the winner may be in the figure that objective "
        "selects. Compared only with figures of the same grid, processor and accelerator.",
    )


class Baseline(ApiObject):
    """External measurement of the original framework: status shows the speed-up relative to it."""

    framework: Name
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    p50_milliseconds: Annotated[float, Field(gt=0, le=1e7)]


_BASELINE_RULE = "!has(self.baseline) || (self.baseline.batchSize in self.batchSizes && 1 in self.concurrency)"
_BASELINE_MESSAGE = (
    "benchmark.baseline is compared at its batchSize and concurrency 1: both must be in the benchmark's grid"
)


class Benchmark(ApiObject):
    """Measurement of the candidates, and the criteria that decide which of them serves."""

    model_config = ConfigDict(json_schema_extra=cel((_BASELINE_RULE, _BASELINE_MESSAGE, ".baseline.batchSize")))
    batch_sizes: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=4)] = Field(
        default=[1, 8]
    )
    concurrency: Annotated[list[Annotated[int, Field(ge=1, le=256)]], Field(min_length=1, max_length=4)] = Field(
        default=[1, 4]
    )
    objective: Literal["Latency", "Throughput"] = Field(
        default="Latency",
        description="Latency: the lowest p50 at the smallest batch size and the lowest concurrency wins. "
        "Throughput: the most rows per second anywhere in the grid.",
    )
    constraints: Constraints = Constraints()
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1, description="Increase it to measure again, for example if the node was busy."
    )
    baseline: Baseline | None = None
    gate: Literal["Enforce", "Warn"] = Field(
        default="Enforce", description="Enforce: a model that does not meet its constraints receives no traffic."
    )

    @model_validator(mode="after")
    def _baseline_is_in_the_grid(self) -> "Benchmark":
        baseline = self.baseline
        if baseline and (baseline.batch_size not in self.batch_sizes or 1 not in self.concurrency):
            raise ValueError(_BASELINE_MESSAGE)
        return self
