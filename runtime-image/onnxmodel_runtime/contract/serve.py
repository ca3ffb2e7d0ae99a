"""Serve: run the inference server for one model."""

from dataclasses import dataclass

from onnxmodel_runtime.contract.identity import Identity, Incidental
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tolerance
from onnxmodel_runtime.contract.providers import Providers

MAX_QUEUE_SIZE = 512  # the default of the ONNX Runtime server


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """Serve one model by the Open Inference Protocol over HTTP and gRPC, with metrics.

    The server is ready once the probe's inputs gave the expected outputs within `tolerance`.

    sha256, data_sha256: digests that the model file and the weights beside it must have.
    max_batch_size: larger requests are refused.
    max_queue_delay_microseconds: how long a request may wait to be batched with others.
    preferred_batch_sizes: numbers of rows at which a batch stops waiting.
    default_timeout_microseconds: a request that waits longer for its turn is refused; 0 for never.
    max_queue_size: how many requests may wait; 0 (Triton only) for no bound.
    engine_cache: a folder for the engines that TensorRT builds; "" for none.
    access_log: log one line of JSON for each inference.
    revision: shown to clients as a parameter of the model's configuration.
    batch: as in OptimizeResult.
    unjoined: as in Variant; None makes the server look at the file itself.
    """

    name: Identity[str]
    model: Identity[str]
    sha256: Identity[str]
    probe: Identity[str] = ""
    graph_level: Identity[str] = "All"
    providers: Identity[Providers] = Providers()
    tolerance: Identity[Tolerance] = Tolerance()
    max_batch_size: Identity[int] = 32
    max_queue_delay_microseconds: Identity[int] = 0
    preferred_batch_sizes: Identity[tuple[int, ...]] = ()
    default_timeout_microseconds: Identity[int] = 0
    max_queue_size: Identity[int] = MAX_QUEUE_SIZE
    instances: Identity[int] = 1
    engine_cache: Identity[str] = ""
    access_log: Identity[bool] = False
    host: Identity[str] = "0.0.0.0"
    http_port: Identity[int] = 8000
    grpc_port: Identity[int] = 8001
    metrics_port: Identity[int] = 8002
    revision: Incidental[str] = ""
    data_sha256: Identity[str] = ""
    batch: Identity[str] = BATCH_UNKNOWN
    unjoined: Identity[str | None] = None
