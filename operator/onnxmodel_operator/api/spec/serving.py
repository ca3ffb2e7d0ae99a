"""Define spec.serving: where and how the model is served."""

from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from onnxmodel_operator.api.base import ApiObject, Name, Quantity, cel
from onnxmodel_operator.api.spec.autoscaling import Autoscaling
from onnxmodel_operator.api.spec.pod import Pod
from onnxmodel_runtime.contract.providers import CPU_NOT_LAST, PROVIDER_TWICE, misplaced

Provider = Literal["TensorRT", "CUDA", "OpenVINO", "CPU"]


class ResourceRequirements(ApiObject):
    """Requests and limits of the server's container. The benchmark runs with the same."""

    requests: Annotated[dict[Name, Quantity], Field(max_length=16)] | None = None
    limits: Annotated[dict[Name, Quantity], Field(max_length=16)] | None = None


_PREFERRED_FIT = "!has(self.preferredBatchSizes) || self.preferredBatchSizes.all(size, size <= self.maxBatchSize)"
_PREFERRED_FIT_MESSAGE = "preferredBatchSizes must not exceed maxBatchSize"
_PREFERRED_NEED_DELAY = (
    "!has(self.preferredBatchSizes) || size(self.preferredBatchSizes) == 0 || self.maxQueueDelayMicroseconds > 0"
)
_PREFERRED_NEED_DELAY_MESSAGE = "preferredBatchSizes needs maxQueueDelayMicroseconds: without it nothing is batched"


class Batching(ApiObject):
    """Requests are batched up to this size and wait at most this long. A delay of 0 disables batching."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (_PREFERRED_FIT, _PREFERRED_FIT_MESSAGE, ".preferredBatchSizes"),
            (_PREFERRED_NEED_DELAY, _PREFERRED_NEED_DELAY_MESSAGE, ".preferredBatchSizes"),
        )
    )
    max_batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    preferred_batch_sizes: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(max_length=16)] = Field(
        default=[], description="Number of rows at which a batch runs without waiting longer; empty: only maxBatchSize."
    )
    default_timeout_microseconds: Annotated[int, Field(ge=0, le=600_000_000)] = Field(
        default=0,
        description="A request that queues for longer is refused (503); its parameter `timeout` may set a lower "
        "limit. 0: no limit.",
    )
    max_queue_size: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None,
        description="Maximum number of requests that wait for an instance; the next one is refused (503). Unset: "
        "512, and no limit with Triton.",
    )

    @model_validator(mode="after")
    def _preferred_sizes_fit(self) -> "Batching":
        if self.preferred_batch_sizes and max(self.preferred_batch_sizes) > self.max_batch_size:
            raise ValueError(_PREFERRED_FIT_MESSAGE)
        if self.preferred_batch_sizes and not self.max_queue_delay_microseconds:
            raise ValueError(_PREFERRED_NEED_DELAY_MESSAGE)
        return self


OptionMap = Annotated[
    dict[Name, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)
]  # option -> value, as ONNX Runtime names them


class ProviderOptions(ApiObject):
    """Options of each execution provider, passed to ONNX Runtime unchanged. The CPU has none."""

    tensor_rt: OptionMap | None = Field(default=None, alias="TensorRT")
    cuda: OptionMap | None = Field(default=None, alias="CUDA")
    open_vino: OptionMap | None = Field(default=None, alias="OpenVINO")


_PROVIDERS_DIFFER = (
    "!has(self.executionProviders) || self.executionProviders.all(a, self.executionProviders.exists_one(b, a == b))"
)
_CPU_LAST = (
    "!has(self.executionProviders) || !('CPU' in self.executionProviders) "
    "|| self.executionProviders[size(self.executionProviders) - 1] == 'CPU'"
)
Replicas = Annotated[int, Field(ge=0, le=1000)]


class Serving(ApiObject):
    """Configuration of the servers."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (_PROVIDERS_DIFFER, PROVIDER_TWICE, ".executionProviders"), (_CPU_LAST, CPU_NOT_LAST, ".executionProviders")
        )
    )
    runtime: Literal["onnxruntime", "triton"] = Field(
        default="onnxruntime",
        description="onnxruntime: this project's server. triton: NVIDIA Triton with its ONNX Runtime backend. "
        "Clients see no difference, except for tensors that have only a batch axis "
        "(docs/serving-triton.md).",
    )
    execution_providers: Annotated[list[Provider], Field(min_length=1, max_length=len(get_args(Provider)))] | None = (
        Field(
            default=None,
            description="The first provider serves; the others run the nodes that it does not support. CPU supports "
            "every node and can only be the last. The default is the pool's list.",
        )
    )
    provider_options: ProviderOptions | None = None
    fallback: Literal["Forbid", "Allow"] = Field(
        default="Forbid",
        description="Forbid: fail if the first provider cannot be loaded. Allow: the next one serves, and status "
        "reports it.",
    )
    node_pool: Name | None = Field(
        default=None, description="A pool from the operator's settings; the default is set there."
    )
    gpus: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None,
        description="GPUs for each replica; the default is 1 if the first provider needs one, otherwise 0.",
    )
    replicas: Replicas = 1
    autoscaling: Autoscaling | None = None
    resources: ResourceRequirements | None = None
    pod: Pod = Pod()
    batching: Batching = Batching()
    instances: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Sessions in each replica, each with its own copy of the weights."
    )
    access_log: bool = Field(default=False, description="True: the server logs one line of JSON for each inference.")

    @model_validator(mode="after")
    def _providers_are_in_order(self) -> "Serving":
        if wrong := misplaced(self.execution_providers or ()):
            raise ValueError(wrong)
        return self
