"""The benchmark stage: measure the variants where they will be served."""

from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity, Incidental
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN
from onnxmodel_runtime.contract.providers import Providers, ProviderUse


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant to measure. sha256 and data_sha256: of what was proven."""

    name: Identity[str]
    path: Identity[str]
    sha256: Identity[str]
    graph_level: Identity[str] = "All"
    data_sha256: Identity[str] = ""


@dataclass(frozen=True, slots=True)
class BenchmarkRequest:
    """Measure every candidate at every batch size and concurrency, on the first provider.

    A point is measured in windows of `seconds` after its warm-up, until throughput and p50 of the last three are within
    `stable_percent` of their mean, `windows` at most. instances: sessions that share the load, as the server's.
    optimized: the report of the optimize stage, for the page; directory: where the report, its page and the profile go.
    namespace, name: of the resource, for the page alone. attempt: another one measures again.
    left_out: by name, why a candidate is not measured: an earlier try ended because of it. The stage's own.
    batch: as OptimizeResult's. Without a batch axis the probe is measured as it is, as batch size 1.
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


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement. Latencies in milliseconds per call; throughput in rows per second, or in inferences per second for a model
    without a batch axis.

    noisy: it did not become stable in the windows that it had; what depends on it is not certain. spread: by how many percent
    its ratio to the original varies from one turn of the benchmark to the next; a smaller difference tells nothing.
    """

    variant: str
    batch_size: int
    concurrency: int
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
    """What the numbers were measured on."""

    processor: str
    cores: float
    accelerator: str
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """By variant: seconds to load, resident memory that loading and the largest batch added at its peak, provider's use.

    provider: the least that is true of all of them. left_out: why a candidate has no point, by its name.
    batch: "First": throughput counts rows; "None": it counts inferences, of which each is the probe as it is.
    sizes: of dynamic axes besides the batch, as measured.
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
