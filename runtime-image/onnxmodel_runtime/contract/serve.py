"""Serve: run the inference server for one model."""

from dataclasses import dataclass

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

    name: str
    model: str
    sha256: str
    probe: str = ""
    graph_level: str = "All"
    providers: Providers = Providers()
    tolerance: Tolerance = Tolerance()
    max_batch_size: int = 32
    max_queue_delay_microseconds: int = 0
    preferred_batch_sizes: tuple[int, ...] = ()
    default_timeout_microseconds: int = 0
    max_queue_size: int = MAX_QUEUE_SIZE
    instances: int = 1
    engine_cache: str = ""
    access_log: bool = False
    host: str = "0.0.0.0"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    revision: str = ""
    data_sha256: str = ""
    batch: str = BATCH_UNKNOWN
    unjoined: str | None = None
