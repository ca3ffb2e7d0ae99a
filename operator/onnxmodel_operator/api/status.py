"""The status of an OnnxModel: what machines and people read. Schema only: `status.summarize` fills it.

Numbers that people compare (milliseconds, rows per second) stand twice: as a number for machines, and rounded with their
unit for `kubectl get`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from onnxmodel_operator.api.base import ApiObject

Short = Annotated[str, StringConstraints(max_length=253)]
Text = Annotated[str, StringConstraints(max_length=2048)]
Time = Annotated[str, StringConstraints(max_length=32), Field(json_schema_extra={"format": "date-time"})]
Number = Annotated[float, Field(ge=0)]
MOST_STAGES = 16
"""Records of stages that status holds."""


class Condition(ApiObject):
    """A Kubernetes condition."""

    type: Annotated[str, StringConstraints(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    message: Text = ""
    last_transition_time: Time
    observed_generation: int


class TensorStatus(ApiObject):
    """An input or output of the model. -1 is a dynamic axis."""

    name: Short
    datatype: Annotated[str, StringConstraints(max_length=16)]
    shape: Annotated[list[int], Field(max_length=16)]


class ModelStatus(ApiObject):
    """The fetched and validated model. uri: with a tag or branch resolved to a digest or commit. batch: First: axis 0 of every
    input and output is a batch, so throughput counts rows. None: there is no batch axis (unbatched says why), so throughput
    counts inferences.
    """

    sha256: Annotated[str, StringConstraints(max_length=64)]
    bytes: int
    ir_version: int
    opset: int
    producer: Short
    nodes: int
    parameters: int
    inputs: Annotated[list[TensorStatus], Field(max_length=64)]
    outputs: Annotated[list[TensorStatus], Field(max_length=64)]
    uri: Text
    signer: Short | None = None
    batch: Literal["First", "None"] | None = None
    unbatched: Text | None = None


class FindingStatus(ApiObject):
    """One finding of the validation."""

    id: Short
    severity: Literal["error", "warning", "info"]
    target: Short
    message: Text
    fix: Text


class ParityStatus(ApiObject):
    """Maximum difference between the variant's outputs and the original's."""

    passed: bool
    max_absolute: Number
    max_relative: Number
    cosine: float
    output: Short
    batch_sizes: Annotated[list[int], Field(max_length=16)]
    top1: float | None = None


class Measured(ApiObject):
    """Measurements of one variant. p50 to p99: at the smallest batch size and the lowest concurrency. throughput_per_second:
    the best of the grid, in rows (in inferences if status.model.batch is None), measured at batch_size and concurrency.
    noisy: one of these had not stabilized when its time was over.
    """

    p50_milliseconds: Number
    p90_milliseconds: Number | None = None
    p95_milliseconds: Number
    p99_milliseconds: Number
    throughput_per_second: Number
    batch_size: int
    concurrency: int
    noisy: bool | None = None


class VariantStatus(ApiObject):
    """A candidate, what was measured of it, and why it was chosen or not. saved_percent: of the original's bytes.

    graph_level: of the sessions that load it; lower than the spec's where a higher level changes the original's outputs.
    """

    name: Short
    sha256: Annotated[str, StringConstraints(max_length=64)] | None = None
    bytes: int | None = None
    nodes: int | None = None
    saved_percent: float | None = None
    graph_level: Short | None = None
    parity: ParityStatus | None = None
    measured: Measured | None = None
    satisfies_constraints: bool | None = None
    selected: bool
    reason: Text


class BenchmarkStatus(ApiObject):
    """The newest benchmark: the winner, the baseline (the original model with ONNX Runtime's own optimization), and the
    hardware. winner and baseline are measured as sessions in one process; active and target have what clients get from a
    revision. speedup: baseline / winner in p50 for the objective Latency, winner / baseline in throughput for Throughput.
    framework_speedup: the spec's own baseline / the winner's p50 at that batch size, if the grid has it. report: path of
    its page on the model's volume. sizes: measured sizes of the dynamic axes other than the batch.
    """

    variant: Short
    speedup: Number
    reason: Text | None = None
    framework: Short | None = None
    framework_speedup: Number | None = None
    report: Short | None = None
    winner: Measured
    baseline: Measured
    sizes: Annotated[dict[Short, int], Field(max_length=64)] | None = None
    processor: Short
    accelerator: Short
    cores: Number
    versions: Annotated[dict[str, Short], Field(max_length=16)]


class BatchingStatus(ApiObject):
    """Batching of concurrent requests, as the server reports it: whether it batches them, and if not, the reason."""

    joined: bool
    reason: Text | None = None


class ServingStatus(ApiObject):
    """The revision that the Service selects, regardless of a revision in progress. variant to sizes: as in active, target or
    history; p99 and throughput come from the load test, rounded and with units. selector: selector of the pods, for the
    scale subresource; ready: "ready/desired" for people.
    """

    url: Text
    grpc: Text
    metrics: Text
    revision: Short
    runtime: Short
    variant: Short | None = None
    provider: Short | None = None
    provider_share_percent: Number | None = None
    opset: int | None = None
    source_sha256: Annotated[str, StringConstraints(max_length=64)] | None = None
    p99: Short | None = None
    throughput: Short | None = None
    batching: BatchingStatus | None = None
    sizes: Short | None = None
    replicas: int
    ready_replicas: int
    ready: Short
    selector: Text


class AgainstStatus(ApiObject):
    """The revision that served when this one was chosen, and its measurements."""

    revision: Short
    measured: Measured
    measured_on: Short


class ImagesStatus(ApiObject):
    """The images that a revision was proven with: of its validation, of its server and other stages, and of Triton."""

    validator: Text
    server: Text
    triton: Text | None = None


class UpgradeStatus(ApiObject):
    """Newer runtime images of the platform. Waiting: the model keeps the images that it was proven with, and why. Running:
    it is proven with the newer ones.
    """

    state: Literal["Waiting", "Running"]
    message: Text


class RevisionStatus(ApiObject):
    """A Deployment of one variant with one serving configuration. sha256: digest of the variant; source_sha256 and opset: of
    the fetched model. served: what a client of one replica measured in the load test, before the revision received traffic.
    provider and batching: as reported by the server to the probe. measured: sessions in the benchmark; measured_on: the
    hardware; sizes: sizes of the dynamic axes other than the batch, for all figures; benchmark: the run, shortened;
    against: what it was compared with. missed: constraints that it did not meet, with gate Warn. capacity: rows per second of
    one replica within the constraints, with serving.autoscaling.
    """

    revision: Short
    variant: Short
    sha256: Annotated[str, StringConstraints(max_length=64)]
    source_sha256: Annotated[str, StringConstraints(max_length=64)] | None = None
    opset: int | None = None
    runtime: Short | None = None
    provider: Short | None = None
    provider_share_percent: Number | None = None
    batching: BatchingStatus | None = None
    time: Time
    served: Measured | None = None
    measured: Measured | None = None
    measured_on: Short | None = None
    sizes: Short | None = None
    benchmark: Short | None = None
    images: ImagesStatus | None = None
    against: AgainstStatus | None = None
    missed: Text | None = None
    capacity: Number | None = None


class StageStatus(ApiObject):
    """One run of a stage. result: the Job's outcome as the contract encodes it, kept so that it never runs again.

    directory: what it read or made on the model's volume, where it stays while this record does.

    seconds: of the stage itself. startTime: of the Job, when it was made, or began if a queue held it back for longer than a
    moment; completionTime: the Job's. Between them are scheduling and the fetch, too.
    """

    name: Short
    digest: Annotated[str, StringConstraints(max_length=64)]
    state: Literal["Running", "Succeeded", "Failed"]
    job: Short
    start_time: Time | None = None
    completion_time: Time | None = None
    seconds: Number | None = None
    directory: Short | None = None
    result: Annotated[str, StringConstraints(max_length=4096)] | None = None


class FailureStatus(ApiObject):
    """The last failure. hint: what to do. Removed once the model is Ready."""

    stage: Short
    reason: Short
    message: Text
    hint: Text
    field: Short | None = None
    exit_code: int | None = None
    job: Short | None = None
    attempts: int | None = None
    time: Time


class RefusedStatus(ApiObject):
    """A revision that takes no traffic any more, until the annotation `retry` of the model has a new value. revision: of a
    stage that found no room the end of its Job's name. hint: what to do about the reason.
    """

    revision: Short
    reason: Short
    message: Text
    hint: Text | None = None
    time: Time


class HandledStatus(ApiObject):
    """The value of each annotation that the operator followed last."""

    promote: Short | None = None
    abort: Short | None = None
    retry: Short | None = None
    measure: Short | None = None


class RolloutStatus(ApiObject):
    """The rollout of a new revision beside the active one. why: the reason for the strategy. backend: what divides the
    traffic between two revisions. step: the number of the current one, from 1. weight: percent of the traffic that the new
    revision shall have now; since: the time from which it has had it, or from which the old one has made room. refused and
    handled stay when a rollout is over.
    """

    revision: Short | None = None
    strategy: Short | None = None
    why: Text | None = None
    backend: Short | None = None
    step: int | None = None
    steps: int | None = None
    weight: int | None = None
    since: Time | None = None
    gate: Text | None = None
    refused: Annotated[list[RefusedStatus], Field(max_length=10)] | None = None
    handled: HandledStatus | None = None


class AutoscalingStatus(ApiObject):
    """The autoscaler of the model. metric: what it counts. target: as much of it as each replica shall have. asleep_since: the
    time from which the model has been scaled to zero. waking_since: the time from which it has had replicas again, and none
    is available. cold_start_seconds: how long that took last.
    """

    backend: Literal["KEDA", "HPA"]
    metric: Literal["RowsPerSecond", "PendingRequests"] | None = None
    target: Number | None = None
    asleep_since: Time | None = None
    waking_since: Time | None = None
    cold_start_seconds: Number | None = None


class TrafficStatus(ApiObject):
    """The share of a revision in the traffic while two revisions share it, in percent. wanted: by the step. ready: share of
    the pods that can answer. measured: share of the requests since the step began, as the servers count them.
    """

    revision: Short
    wanted: int
    ready: int
    measured: int | None = None


class OnnxModelStatus(ApiObject):
    """The whole status. phase, reason and message are for people: nothing branches on them."""

    observed_generation: int | None = None
    phase: Short | None = None
    reason: Short | None = None
    message: Text | None = None
    conditions: (
        Annotated[
            list[Condition],
            Field(
                max_length=16,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
            ),
        ]
        | None
    ) = None
    model: ModelStatus | None = None
    findings: Annotated[list[FindingStatus], Field(max_length=20)] | None = None
    variants: Annotated[list[VariantStatus], Field(max_length=16)] | None = None
    benchmark: BenchmarkStatus | None = None
    serving: ServingStatus | None = None
    active: RevisionStatus | None = None
    target: RevisionStatus | None = None
    history: Annotated[list[RevisionStatus], Field(max_length=5)] | None = None
    upgrade: UpgradeStatus | None = None
    rollout: RolloutStatus | None = None
    traffic: Annotated[list[TrafficStatus], Field(max_length=4)] | None = None
    autoscaling: AutoscalingStatus | None = None
    last_failure: FailureStatus | None = None
    stages: Annotated[list[StageStatus], Field(max_length=MOST_STAGES)] | None = None

    def dump(self) -> dict[str, Any]:
        """As the API server stores it: camelCase, nothing that is not set."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")
