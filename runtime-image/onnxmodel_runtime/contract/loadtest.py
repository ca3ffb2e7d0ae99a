"""The load test stage: measure one server of a revision as its clients see it, before it takes traffic."""

from dataclasses import dataclass

from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.contract.identity import Identity
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tolerance


@dataclass(frozen=True, slots=True)
class Load:
    """A number of concurrent clients, each sending requests of the same number of rows."""

    batch_size: Identity[int]
    concurrency: Identity[int]


@dataclass(frozen=True, slots=True)
class LoadTestRequest:
    """Load one server of this revision over HTTP with the probe's rows, under each of the loads, and prove its outputs.

    host: an address, or a name; its first address is used.
    max_batch_size: the number of rows at which outputs are proven as well.
    variant: the name of what serves, for the result only.
    seconds, stable_percent, windows, attempt: as in BenchmarkRequest. But all windows count, and at least five if `windows`
    allows: clients see the bad moments too, and a p99 needs them.
    batch: as in OptimizeResult.
    unjoined: as in Variant. If rows influence each other, or may, outputs of several rows are only compared with one another.
    """

    name: Identity[str]
    host: Identity[str]
    probe: Identity[str]
    loads: Identity[tuple[Load, ...]]
    tolerance: Identity[Tolerance] = Tolerance()
    max_batch_size: Identity[int] = 1
    variant: Identity[str] = ""
    http_port: Identity[int] = 8000
    revision: Identity[str] = ""
    seconds: Identity[float] = 1.0
    stable_percent: Identity[float] = 5.0
    windows: Identity[int] = 10
    attempt: Identity[int] = 1
    batch: Identity[str] = BATCH_UNKNOWN
    unjoined: Identity[str | None] = None


@dataclass(frozen=True, slots=True)
class LoadTestResult:
    """Measurements by a client of one server, a point for each load. Client and network time is included.

    batch: as in BenchmarkResult.
    """

    points: tuple[Point, ...]
    batch: str = BATCH_UNKNOWN
