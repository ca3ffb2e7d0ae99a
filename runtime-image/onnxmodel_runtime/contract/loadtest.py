"""The load test stage: measure one server of a revision as its clients see it, before it takes traffic."""

from dataclasses import dataclass

from onnxmodel_runtime.contract.benchmark import Point
from onnxmodel_runtime.contract.identity import Identity
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Tolerance


@dataclass(frozen=True, slots=True)
class Load:
    """So many callers, each of whom sends so many rows again and again."""

    batch_size: Identity[int]
    concurrency: Identity[int]


@dataclass(frozen=True, slots=True)
class LoadTestRequest:
    """Ask one server of this revision for the probe's rows over HTTP, under each of the loads, and prove its answers.

    host: its address, or a name of which the first address is taken. max_batch_size: the rows of which the answers are
    proven too. variant: what serves, for the result alone. unjoined: as in Variant; where rows influence each other, or may,
    answers to several are compared with each other alone.
    seconds, stable_percent, windows and attempt: as in BenchmarkRequest, but all windows count, and there are five at least
    if `windows` allows: a client gets the bad moments too, and a p99 needs its answers. batch: as OptimizeResult's.
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
    """What a client saw of one server, its own time and the network's included: a point for each load.

    batch: as BenchmarkResult's.
    """

    points: tuple[Point, ...]
    batch: str = BATCH_UNKNOWN
