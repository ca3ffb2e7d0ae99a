"""The spec of an OnnxModel: what users write. `crds/` is generated from here (`make crds`).

Every string, list and map is bounded, so that the API server can bound the cost of the CEL rules. `cel(...)` adds a rule
that the API server checks at apply; the same rule is checked again in Python by `parse`, for objects that were stored
before the rule existed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from onnxmodel_operator.api.errors import field_errors
from onnxmodel_operator.api.patterns import QUANTITY, SHA256, SOURCE_URI
from onnxmodel_runtime.contract.providers import CPU_NOT_LAST, PROVIDER_TWICE, misplaced

Provider = Literal["TensorRT", "CUDA", "OpenVINO", "CPU"]
VariantName = Literal["fp32", "fused", "fp16", "int8-dynamic", "int8-static", "ort"]
VARIANTS: tuple[str, ...] = get_args(VariantName)
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]  # fmt: skip

Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
SCHEMES = ("s3", "gs", "az", "http", "https", "oci", "hf", "pvc")
Quantity = Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY)]


def cel(*rules: tuple[str, str, str]) -> dict[str, Any]:
    """CEL rules of the API server, as `json_schema_extra` of the object that they look at: (rule, message, field)."""
    return {
        "x-kubernetes-validations": [
            {"rule": rule, "message": message, "fieldPath": field} for rule, message, field in rules
        ]
    }


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class SecretReference(_Model):
    """A Secret in the model's namespace."""

    name: Name


class SecretKeyReference(_Model):
    """One key of a Secret in the model's namespace."""

    name: Name
    key: Name


class Identity(_Model):
    """Who must have signed: an OpenID Connect identity and its issuer."""

    identity: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Signature(_Model):
    """An OpenSSF model signature."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.publicKeyRef) != has(self.identity)",
                "signature: exactly one of publicKeyRef and identity must be set",
                ".publicKeyRef",
            )
        )
    )
    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)]
    public_key_ref: SecretKeyReference | None = None
    identity: Identity | None = None

    @model_validator(mode="after")
    def _one_key(self) -> "Signature":
        if (self.public_key_ref is None) == (self.identity is None):
            raise ValueError("exactly one of publicKeyRef and identity must be set")
        return self


class Source(_Model):
    """Where the model is."""

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] = Field(
        description="s3://BUCKET/KEY, gs://BUCKET/KEY, az://ACCOUNT/CONTAINER/PATH, https://HOST/PATH, http://HOST/PATH, "
        "oci://REGISTRY/REPOSITORY:TAG or @DIGEST, hf://ORGANIZATION/NAME[@REVISION]/PATH or pvc://CLAIM/PATH: a .onnx file; a "
        "folder, ending in /, that holds model.onnx and its external data (not http); or such a folder as .tar.gz or .zip."
    )
    sha256: Annotated[str, StringConstraints(pattern=SHA256, max_length=64)] | None = Field(
        default=None,
        description="Pin of the model file. What was fetched is recorded in status.model.sha256 in any case.",
    )
    files: Annotated[
        dict[Name, Annotated[str, StringConstraints(pattern=SHA256, max_length=64)]], Field(max_length=64)
    ] = Field(
        default={},
        description="Pins of other files of a folder, such as external data: path -> sha256. What is not here is not pinned.",
    )
    secret_ref: SecretReference | None = Field(
        default=None,
        description="Keys become environment variables of the fetch container alone: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL for s3; HTTP_AUTHORIZATION for http; docs/sources.md has all.",
    )
    signature: Signature | None = Field(
        default=None, description="Who must have signed the model. It is verified before anything of it is parsed."
    )


class Opset(_Model):
    """Which versions of the default operator set are accepted."""

    min: Annotated[int, Field(ge=1, le=100)] = 13


class TensorContract(_Model):
    """An input or output as its author declared it. -1 is a dynamic axis."""

    name: Name
    datatype: Datatype
    shape: Annotated[list[Annotated[int, Field(ge=-1, le=2**31 - 1)]], Field(max_length=16)]


class GoldenTolerance(_Model):
    """How close the model's answers must be to the golden ones: |a-b| <= absolute + relative*|b|, and cosine."""

    relative: Annotated[float, Field(ge=0, le=1)] = 0.001
    absolute: Annotated[float, Field(ge=0, le=1)] = 0.0001
    cosine: Annotated[float, Field(ge=0, le=1)] = 0.999


class Golden(_Model):
    """Inputs and the answers that the original framework gave to them."""

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] = Field(
        description="An .npz file with one array for each input and output, or a folder, ending in /, of ONNX "
        "test_data_set_* folders. Read with the model's secretRef."
    )
    tolerance: GoldenTolerance = GoldenTolerance()


class Validation(_Model):
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


class ParityTolerance(_Model):
    """How close a variant's answers must be to the original's: |a-b| <= absolute + relative*|b|, and cosine."""

    relative: Annotated[float, Field(ge=0, le=1)] = 0.01
    absolute: Annotated[float, Field(ge=0, le=1)] = 0.001
    cosine: Annotated[float, Field(ge=0, le=1)] = 0.999


class Calibration(_Model):
    """How int8-static learns the ranges of activations."""

    uri: Annotated[str, StringConstraints(pattern=SOURCE_URI, max_length=2048)] | None = Field(
        default=None,
        description="Inputs, in the form of golden data; answers in it are not looked at. None: the golden data's inputs. Read "
        "with the model's secretRef.",
    )
    method: Literal["MinMax", "Entropy", "Percentile"] = "MinMax"
    percentile: Annotated[float, Field(gt=50, le=100)] = Field(default=99.99, description="For the method Percentile.")
    samples: Annotated[int, Field(ge=1, le=10000)] = Field(default=256, description="Rows, at most.")


class Optimization(_Model):
    """Which variants compete with the original. fp32 is the graph optimization alone."""

    graph_level: Literal["None", "Basic", "Extended", "All"] = "All"
    variants: Annotated[list[VariantName], Field(max_length=8)] = Field(
        default=["fp32", "fused"],
        description="Each is made, proven against the original and measured; what cannot be made for this model says why.",
    )
    calibration: Calibration = Calibration()
    parity: ParityTolerance = ParityTolerance()


class Constraints(_Model):
    """What the served variant must reach in the benchmark."""

    p99_milliseconds: Annotated[float, Field(gt=0, le=1e7)] | None = Field(
        default=None, description="Upper bound of p99 at the smallest batch size and the lowest concurrency."
    )
    throughput_per_second: Annotated[float, Field(gt=0, le=1e12)] | None = Field(
        default=None,
        description="Lower bound of the best throughput of the grid, in rows per second; in inferences per second "
        "where the model has no batch axis.",
    )
    max_regression_percent: Annotated[float, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="How much worse than the revision that serves now the winner may be in what objective names. Compared only "
        "with figures of the same grid, processor and accelerator.",
    )


class Baseline(_Model):
    """What was measured elsewhere, of the original framework: status shows the speed-up against it."""

    framework: Name
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 1
    p50_milliseconds: Annotated[float, Field(gt=0, le=1e7)]


_BASELINE_RULE = "!has(self.baseline) || (self.baseline.batchSize in self.batchSizes && 1 in self.concurrency)"
_BASELINE_MESSAGE = (
    "benchmark.baseline is compared at its batchSize and one caller: both must be in the benchmark's grid"
)


class Benchmark(_Model):
    """How candidates are measured, and what decides."""

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
        default=1, description="Raise it to measure again, where something else was busy on the node."
    )
    baseline: Baseline | None = None
    gate: Literal["Enforce", "Warn"] = Field(
        default="Enforce", description="Enforce: a model that misses its constraints takes no traffic."
    )

    @model_validator(mode="after")
    def _baseline_is_in_the_grid(self) -> "Benchmark":
        baseline = self.baseline
        if baseline and (baseline.batch_size not in self.batch_sizes or 1 not in self.concurrency):
            raise ValueError(_BASELINE_MESSAGE)
        return self


class ResourceRequirements(_Model):
    """Requests and limits of the server's container. The benchmark runs with the same."""

    requests: Annotated[dict[Name, Quantity], Field(max_length=16)] | None = None
    limits: Annotated[dict[Name, Quantity], Field(max_length=16)] | None = None


_PREFERRED_FIT = "!has(self.preferredBatchSizes) || self.preferredBatchSizes.all(size, size <= self.maxBatchSize)"
_PREFERRED_FIT_MESSAGE = "preferredBatchSizes must not exceed maxBatchSize"
_PREFERRED_NEED_DELAY = (
    "!has(self.preferredBatchSizes) || size(self.preferredBatchSizes) == 0 || self.maxQueueDelayMicroseconds > 0"
)
_PREFERRED_NEED_DELAY_MESSAGE = "preferredBatchSizes needs maxQueueDelayMicroseconds: without it nothing is joined"


class Batching(_Model):
    """Requests that wait at most this long are joined to batches of at most this size. 0 joins nothing."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (_PREFERRED_FIT, _PREFERRED_FIT_MESSAGE, ".preferredBatchSizes"),
            (_PREFERRED_NEED_DELAY, _PREFERRED_NEED_DELAY_MESSAGE, ".preferredBatchSizes"),
        )
    )
    max_batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    preferred_batch_sizes: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(max_length=16)] = Field(
        default=[], description="Rows at which a batch runs without waiting longer; empty: maxBatchSize alone."
    )
    default_timeout_microseconds: Annotated[int, Field(ge=0, le=600_000_000)] = Field(
        default=0,
        description="A request that waits longer for its turn is refused (503); its parameter `timeout` may ask for less. "
        "0: none is.",
    )
    max_queue_size: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None,
        description="Requests that may wait for an instance; the next one is refused (503). Unset: 512, and with Triton no "
        "bound.",
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


class ProviderOptions(_Model):
    """Options of each execution provider, handed to ONNX Runtime as they are. The CPU has none."""

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
_REPLICAS = TypeAdapter(Replicas)


class Serving(_Model):
    """How the model is served."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (_PROVIDERS_DIFFER, PROVIDER_TWICE, ".executionProviders"), (_CPU_LAST, CPU_NOT_LAST, ".executionProviders")
        )
    )
    runtime: Literal["onnxruntime", "triton"] = Field(
        default="onnxruntime",
        description="onnxruntime: this project's server. triton: NVIDIA Triton with its ONNX Runtime backend. Clients see no "
        "difference but for tensors without an axis beside the batch's (docs/serving-triton.md).",
    )
    execution_providers: Annotated[list[Provider], Field(min_length=1, max_length=4)] | None = Field(
        default=None,
        description="The first serves; the others take the nodes that it cannot run. CPU, which runs all, can only be the last. "
        "The default is what the pool offers.",
    )
    provider_options: ProviderOptions | None = None
    fallback: Literal["Forbid", "Allow"] = Field(
        default="Forbid",
        description="Forbid: refuse when the first provider cannot be loaded. Allow: the next one serves, and status says so.",
    )
    node_pool: Name | None = Field(
        default=None, description="A pool of the operator's settings; the default is theirs."
    )
    gpus: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None, description="GPUs of each replica; the default is 1 where the first provider needs one, else 0."
    )
    replicas: Replicas = 1
    resources: ResourceRequirements | None = None
    batching: Batching = Batching()
    instances: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Sessions of each replica, each with its own copy of the weights."
    )
    access_log: bool = Field(default=False, description="True: the server writes a line of JSON for each inference.")

    @model_validator(mode="after")
    def _providers_are_in_order(self) -> "Serving":
        if wrong := misplaced(self.execution_providers or ()):
            raise ValueError(wrong)
        return self


_BATCH_RULE = "self.benchmark.batchSizes.all(size, size <= self.serving.batching.maxBatchSize)"
_BATCH_MESSAGE = "benchmark.batchSizes must not exceed serving.batching.maxBatchSize"
_UNBATCHED_RULE = "self.validation.batch != 'None' || self.serving.batching.maxQueueDelayMicroseconds == 0"
_UNBATCHED_MESSAGE = (
    "validation.batch is None: nothing is joined, so serving.batching.maxQueueDelayMicroseconds must be 0"
)


class OnnxModelSpec(_Model):
    """A bare ONNX file, and what must be true of it before it serves."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (_BATCH_RULE, _BATCH_MESSAGE, ".benchmark.batchSizes"),
            (_UNBATCHED_RULE, _UNBATCHED_MESSAGE, ".validation.batch"),
        )
    )
    source: Source
    validation: Validation = Validation()
    optimization: Optimization = Optimization()
    benchmark: Benchmark = Benchmark()
    serving: Serving = Serving()
    suspend: bool = Field(
        default=False,
        description="True: no stage and no revision is started; what serves goes on serving with the replicas of the spec.",
    )

    def uris(self) -> list[tuple[str, str]]:
        """(field, URI) of everything that is fetched."""
        signature, golden = self.source.signature, self.validation.golden
        out = [("spec.source.uri", self.source.uri)]
        out += [("spec.source.signature.uri", signature.uri)] if signature else []
        out += [("spec.validation.golden.uri", golden.uri)] if golden else []
        calibration = self.optimization.calibration.uri
        out += [("spec.optimization.calibration.uri", calibration)] if calibration else []
        return out

    @model_validator(mode="after")
    def _batch_sizes_fit(self) -> "OnnxModelSpec":
        if max(self.benchmark.batch_sizes) > self.serving.batching.max_batch_size:
            raise ValueError(_BATCH_MESSAGE)
        if self.validation.batch == "None" and self.serving.batching.max_queue_delay_microseconds:
            raise ValueError(_UNBATCHED_MESSAGE)
        return self


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource but for its spec. `status` is the stored status as it is, to compare with what is to be stored.

    replicas: spec.serving.replicas, which holds for what serves even where the rest of the spec cannot be worked on; None
    where it cannot be read.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    status: Mapping[str, Any]
    replicas: int | None


@dataclass(frozen=True, slots=True)
class OnnxModel(Resource):
    """A resource whose spec can be read."""

    spec: OnnxModelSpec


class SpecError(ValueError):
    """A spec that cannot be worked on. fields: (path below the resource, message) pairs, at least one."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields
        super().__init__("; ".join(f"{path}: {message}" for path, message in fields))


def identify(body: Mapping[str, Any]) -> Resource:
    """What can be said of any resource, as the API server gave it."""
    return Resource(*_identity(body), _replicas(body))


def _identity(body: Mapping[str, Any]) -> tuple[str, str, str, int, Mapping[str, Any]]:
    metadata = body["metadata"]
    return metadata["namespace"], metadata["name"], metadata["uid"], metadata["generation"], body.get("status") or {}


def _replicas(body: Mapping[str, Any]) -> int | None:
    spec = body.get("spec") or {}
    serving = (spec.get("serving") or {}) if isinstance(spec, Mapping) else None
    if not isinstance(serving, Mapping):
        return None
    try:
        return _REPLICAS.validate_python(serving.get("replicas", 1))
    except ValidationError:
        return None


def parse(body: Mapping[str, Any]) -> OnnxModel:
    """The whole resource, by the types that the API server checks at apply: "2" is no integer. Raises SpecError."""
    try:
        spec = _read_spec(json.dumps(body.get("spec") or {}))
    except ValidationError as error:
        raise SpecError(
            [(f"spec.{path}" if path else "spec", text) for path, text in field_errors(error, OnnxModelSpec)]
        ) from error
    return OnnxModel(*_identity(body), spec.serving.replicas, spec)


@lru_cache(maxsize=1024)
def _read_spec(text: str) -> OnnxModelSpec:
    """A spec from JSON. Raises ValidationError. A spec is read in each turn of its model, and seldom changes."""
    return OnnxModelSpec.model_validate(_whole(json.loads(text)), strict=True)


def _whole(value: Any) -> Any:
    """The value with 2.0 as 2: for the API server that is an integer too."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case Mapping():
            return {key: _whole(item) for key, item in value.items()}
    return value
