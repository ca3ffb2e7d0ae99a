"""The probe stage: ask the Service for an answer that is known, over HTTP and gRPC."""

from dataclasses import dataclass

from onnxmodel_runtime.contract.identity import Identity
from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.providers import ProviderUse


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Ask `host`, the Service, for the probe file's outputs over HTTP and gRPC, and compare them.

    revision: the revision that must answer; for a while after a switch, an older one may. "" for any.
    """

    name: Identity[str]
    host: Identity[str]
    probe: Identity[str]
    tolerance: Identity[Tolerance] = Tolerance()
    http_port: Identity[int] = 8000
    grpc_port: Identity[int] = 8001
    revision: Identity[str] = ""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Observations of a client.

    http_milliseconds, grpc_milliseconds: of one call. provider: the execution provider that the server reports.
    unjoined: why the server batches no requests; "" if it does, None if it does not report it.
    """

    http_milliseconds: float
    grpc_milliseconds: float
    max_absolute: float
    provider: ProviderUse | None = None
    unjoined: str | None = None
