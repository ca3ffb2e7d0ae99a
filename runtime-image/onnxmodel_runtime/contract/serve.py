"""Serve: run the inference server for one model."""

from dataclasses import dataclass

from onnxmodel_runtime.contract.identity import Identity, Incidental
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tolerance
from onnxmodel_runtime.contract.providers import Providers

MAX_QUEUE_SIZE = 512  # of the ONNX Runtime server where nothing was said


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """Serve one model by the Open Inference Protocol on HTTP 8000 and gRPC 8001, metrics on 8002.

    The file must have this sha256, and the weights beside it data_sha256. Ready only after the probe file's inputs gave the
    expected answers within `tolerance`.
    max_batch_size: larger requests are refused; max_queue_delay_microseconds: how long a request may wait for others;
    preferred_batch_sizes: rows at which a batch waits no longer. default_timeout_microseconds: a request that waits longer
    for its turn is refused, 0 for never; max_queue_size: how many may wait, 0 (Triton alone) for any number.
    access_log: a line of JSON for each inference.
    engine_cache: a folder for what TensorRT builds; "" for none. batch: as OptimizeResult's.
    revision: told to clients as a parameter of the model's configuration.
    unjoined: as in Variant; None: the server looks at its file itself.
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
