"""The benchmark stage: measure the variants where they will be served."""

import hashlib
from dataclasses import KW_ONLY, dataclass, field
from pathlib import PurePath

from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.identity import Identity, Incidental
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN
from onnxmodel_runtime.contract.providers import Providers, ProviderUse


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant to measure. sha256 and data_sha256: the digests of the files that were proven."""

    name: Identity[str]
    path: Identity[str]
    sha256: Identity[str]
    graph_level: Identity[str] = "All"
    data_sha256: Identity[str] = ""


@dataclass(frozen=True, slots=True)
class BenchmarkRequest:
    """Measure each candidate at each batch size and concurrency, on the first provider.

    After a warm-up, a point is measured in windows of `seconds`, until throughput and p50 of the last three windows are within
    `stable_percent` of their mean; in `windows` windows at most.

    probe: path of the probe file; measured as it is, as batch size 1, if the model has no batch axis.
    instances: sessions that share the load, as in the server.
    optimized: path of the optimize stage's report, for the page.
    directory: where the report, its page and the profile go.
    namespace, name: of the resource, for the page only.
    attempt: another number measures again.
    left_out: why a candidate is not measured, by name: it ended an earlier try. Set by the stage itself.
    batch: as in OptimizeResult.
    """

    candidates: Identity[tuple[Candidate, ...]]
    probe: Identity[str]
    batch_sizes: Identity[tuple[int, ...]] = (1, 8)
    concurrency: Identity[tuple[int, ...]] = (1, 4)
    seconds: Identity[float] = 0.3
    instances: Identity[int] = 1
    providers: Identity[Providers] = Providers()
    stable_percent: Identity[float] = 5.0
    windows: Identity[int] = 10
    optimized: Identity[str] = ""
    directory: Incidental[str] = ""
    namespace: Incidental[str] = ""
    name: Incidental[str] = ""
    attempt: Identity[int] = 1
    left_out: Incidental[dict[str, str]] = field(default_factory=dict)
    batch: Identity[str] = BATCH_UNKNOWN


def benchmark_report(request: BenchmarkRequest) -> PurePath | None:
    """Return the path of the report; None without a folder to write it to.

    Without a folder of its own it lies beside what is measured, named by the request: one folder of variants is measured with
    many requests.
    """
    if request.directory:
        return PurePath(request.directory, "outcome.json")  # benchmark.json beside it holds a success
    if not request.candidates:
        return None
    short = hashlib.sha256(dumps(request).encode()).hexdigest()[:8]
    return PurePath(request.probe or request.candidates[0].path).with_name(f"benchmark-{short}.json")


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    p50, p90, p95, p99: latency of a call in milliseconds.
    throughput: rows per second, or inferences per second for a model without a batch axis.
    noisy: it did not become stable in the allowed windows, so decisions that depend on it are uncertain.
    spread: by how many percent its ratio to the original varies between rounds; a smaller difference is not significant.
    """

    variant: str
    batch_size: int
    concurrency: int
    _: KW_ONLY
    p50: float
    p95: float
    p99: float
    throughput: float
    samples: int
    p90: float = 0.0
    noisy: bool = False
    spread: int = 0


@dataclass(frozen=True, slots=True)
class Environment:
    """The hardware and software on which figures were measured. cores: as limited by the container."""

    processor: str
    cores: float
    accelerator: str
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The points, and what was seen of each variant while it was measured.

    provider: the weakest use of the provider among the variants.
    load_seconds: time to load, by variant.
    memory_bytes: peak resident memory that loading and the largest batch added, by variant.
    uses: use of the provider, by variant.
    left_out: why a candidate has no points, by name.
    batch: "First" if throughput counts rows, "None" if it counts inferences of the probe as it is.
    sizes: sizes of dynamic axes except the batch, as measured.
    """

    points: tuple[Point, ...]
    provider: ProviderUse
    environment: Environment
    load_seconds: dict[str, float] = field(default_factory=dict)
    memory_bytes: dict[str, int] = field(default_factory=dict)
    uses: dict[str, ProviderUse] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    batch: str = BATCH_UNKNOWN
    sizes: dict[str, int] = field(default_factory=dict)
