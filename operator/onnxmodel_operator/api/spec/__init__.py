"""Define the spec of an OnnxModel: what users write. `crds/` is generated from here (`make crds`).

Every string, list and map is bounded, so that the API server can bound the cost of the CEL rules. `cel(...)` adds a rule
that the API server checks at apply; the same rule is checked again in Python by `api.resource.parse`, for objects that were
stored before the rule existed.
"""

from pydantic import ConfigDict, Field, model_validator

from onnxmodel_operator.api.base import ApiObject, cel
from onnxmodel_operator.api.spec.benchmark import Benchmark
from onnxmodel_operator.api.spec.optimization import Optimization
from onnxmodel_operator.api.spec.rollout import Rollout
from onnxmodel_operator.api.spec.serving import Serving
from onnxmodel_operator.api.spec.source import Source
from onnxmodel_operator.api.spec.validation import Validation

_CLAIM = "pvc://"
_BATCH_RULE = "self.benchmark.batchSizes.all(size, size <= self.serving.batching.maxBatchSize)"
_BATCH_MESSAGE = "benchmark.batchSizes must not exceed serving.batching.maxBatchSize"
_UNBATCHED_RULE = "self.validation.batch != 'None' || self.serving.batching.maxQueueDelayMicroseconds == 0"
_UNBATCHED_MESSAGE = (
    "validation.batch is None: nothing is batched, so serving.batching.maxQueueDelayMicroseconds must be 0"
)

_COMPARE_RULE = "self.serving.runtime != 'triton' || !has(self.rollout.gates.compare)"
_COMPARE_MESSAGE = (
    "rollout.gates.compare needs serving.runtime onnxruntime: Triton cannot compare its answers with another revision's"
)


class OnnxModelSpec(ApiObject):
    """A bare ONNX file, and what must be true of it before it serves."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (_BATCH_RULE, _BATCH_MESSAGE, ".benchmark.batchSizes"),
            (_UNBATCHED_RULE, _UNBATCHED_MESSAGE, ".validation.batch"),
            (_COMPARE_RULE, _COMPARE_MESSAGE, ".rollout.gates"),
        )
    )
    source: Source
    validation: Validation = Validation()
    optimization: Optimization = Optimization()
    benchmark: Benchmark = Benchmark()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    retain: bool = Field(
        default=False,
        description="True: the model's artifacts stay in the platform's bucket or registry when the model is deleted. "
        "Where each model has a volume instead, the reclaim policy of its StorageClass decides.",
    )
    suspend: bool = Field(
        default=False,
        description="True: no stage and no revision starts; the current revision keeps serving with the replicas in "
        "the spec.",
    )

    def uris(self) -> list[tuple[str, str]]:
        """Return (field, URI) of everything that is fetched."""
        signature, golden = self.source.signature, self.validation.golden
        out = [("spec.source.uri", self.source.uri)]
        out += [("spec.source.signature.uri", signature.uri)] if signature else []
        out += [("spec.validation.golden.uri", golden.uri)] if golden else []
        calibration = self.optimization.calibration.uri
        out += [("spec.optimization.calibration.uri", calibration)] if calibration else []
        return out

    def claims(self) -> dict[str, str]:
        """Return the PersistentVolumeClaims to read from, each with a field that names it."""
        read = [(field, uri.removeprefix(_CLAIM)) for field, uri in self.uris() if uri.startswith(_CLAIM)]
        return {path.partition("/")[0]: field for field, path in read}

    @model_validator(mode="after")
    def _batch_sizes_fit(self) -> "OnnxModelSpec":
        if max(self.benchmark.batch_sizes) > self.serving.batching.max_batch_size:
            raise ValueError(_BATCH_MESSAGE)
        if self.validation.batch == "None" and self.serving.batching.max_queue_delay_microseconds:
            raise ValueError(_UNBATCHED_MESSAGE)
        if self.serving.runtime == "triton" and self.rollout.gates.compare is not None:
            raise ValueError(_COMPARE_MESSAGE)
        return self
