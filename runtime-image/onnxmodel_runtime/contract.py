"""The contract between the operator and the Jobs: requests, results and exit codes.

The operator imports this module and nothing else of the runtime, so it uses the standard library only. A request travels
as one JSON argument (`onnxmodel STAGE --request JSON`), an outcome as the container's termination message.

The exit code alone decides what happens next: Kubernetes' podFailurePolicy sees nothing else.
"""

import argparse
import base64
import binascii
import dataclasses
import difflib
import functools
import json
import operator
import os
import types
import typing
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NoReturn, TypeVar

TERMINATION_LOG = "/dev/termination-log"
TERMINATION_BYTES = 4096  # what the kubelet keeps of a termination message
ARTIFACTS = "/artifacts"  # where every stage finds the model's volume
SOURCE_FOLDER = "source"  # at its top, beside a folder for each stage: what was fetched, by digest
CALIBRATION_DATA_FOLDER = "calibration"  # the same, of calibration data
ENGINE_CACHE_FOLDER = "engines"  # what TensorRT compiled for Triton: it outlives the pod
MODEL_FILE = "model.onnx"
PROBE_FILE = "probe.npz"
SOURCE_FILE = "source.json"  # what was fetched, with the digest of each file
SIGNATURE_FILE = ".signature"  # in the model's directory, as the two below: no part of the model
GOLDEN_FILE = ".golden.npz"
GOLDEN_FOLDER = ".golden"
CALIBRATION_FILE = ".calibration.npz"  # as golden data is kept; inputs alone
CALIBRATION_FOLDER = ".calibration"
OUR_FILES = frozenset(
    (SOURCE_FILE, SIGNATURE_FILE, GOLDEN_FILE, GOLDEN_FOLDER, CALIBRATION_FILE, CALIBRATION_FOLDER)
)  # in the model's directory, and no part of the model
MANIFEST_FILE = "manifest.json"  # beside the variants: what they are made of, and every digest
REPORT_FILE = "report.json"
BENCHMARK_FILE = "benchmark.json"
REPORT_PAGE = "report.html"
PUBLIC_KEY_VARIABLE = "ONNXMODEL_PUBLIC_KEY"  # of the validate container: the key that a signature must fit
# A Secret's keys become variables of the fetch container with this prefix, and only these of them are taken: a Secret is
# a tenant's, and others (PYTHONPATH, LD_PRELOAD) would decide what the container runs.
SECRET_PREFIX = "ONNXMODEL_SECRET_"
CREDENTIALS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("GOOGLE_APPLICATION_CREDENTIALS_JSON", "STORAGE_EMULATOR_HOST"),
    *("AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ENDPOINT"),
    *("HTTP_AUTHORIZATION", "OCI_USERNAME", "OCI_PASSWORD", "OCI_AUTH_HOST", "OCI_PLAIN_HTTP_HOSTS"),
    *("HF_TOKEN", "HF_ENDPOINT", "CA_CERTIFICATES"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
PROVIDERS = ("TensorRT", "CUDA", "OpenVINO", "CPU")
GPU_PROVIDERS = frozenset({"TensorRT", "CUDA"})
MAX_QUEUE_SIZE = 512  # of the ONNX Runtime server where nothing was said
# Whether axis 0 of every input and output is a batch: found from the graph and by running; it is; it is not.
BATCH_UNKNOWN, BATCH_FIRST, BATCH_NONE = "Auto", "First", "None"
ORIGINAL = "original"  # what the variant is called that was not made, but fetched
_PREFIX = "onnxmodel/v1:"

PROVIDER_TWICE = "no execution provider can be named twice"
CPU_NOT_LAST = "CPU must be the last execution provider: it runs every node, and one after it would run none"


def misplaced(providers: Sequence[str]) -> str:
    """What is wrong with a list of execution providers; "" if nothing."""
    if len(set(providers)) < len(providers):
        return PROVIDER_TWICE
    return CPU_NOT_LAST if "CPU" in providers[:-1] else ""


def in_words(sizes: Mapping[str, int]) -> str:
    """Sizes of axes for people: "height 320, width 320"."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def plain(value: float, digits: int = 4) -> str:
    """A figure for people: significant digits, thousands separated, never an exponent. 45738.2 is "45,740"."""
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error about a word: what was probably meant, of what is known; "" for nothing like it."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


class Parser(argparse.ArgumentParser):
    """A command line for people: each error is one sentence, which suggests the nearest option or value."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(2, f"error: {message} ({self.prog} --help)\n")

    def options(self) -> list[str]:
        """Every option, as it is written."""
        return [*self._option_string_actions]

    def needs(self, *places: str) -> None:
        """End with an error for the first local file or folder that does not exist. A URI is none."""
        for place in places:
            if place and "://" not in place and not os.path.exists(place):
                self.error(f"there is no file or folder {place!r}; check the path")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's. A command names its own parser by set_defaults(parser=…)."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            parser: Parser = getattr(found, "parser", self)
            word = rest[0].partition("=")[0]
            what = "there is no option" if word.startswith("-") else "unexpected argument"
            parser.error(f"{what} {word!r}{nearest(word, parser.options())}")
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            message = f"{value!r} is none of {', '.join(known)}{nearest(str(value), known)}"
            raise argparse.ArgumentError(action, message)


class Stage(StrEnum):
    """The stages, in the order in which they run. Each is one Job."""

    VALIDATE = "validate"
    OPTIMIZE = "optimize"
    BENCHMARK = "benchmark"
    LOADTEST = "loadtest"
    PROBE = "probe"


class ExitCode(IntEnum):
    """How a container ends. Everything else is unexpected and retried a bounded number of times."""

    OK = 0
    REFUSED = 10
    """Running again gives the same answer: the model, the request or the data must change."""
    RETRY = 11
    """Something outside was not there (network, storage): it may pass."""


class ContractError(ValueError):
    """A request or an outcome that is not of this contract's shape; the message names the field."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage did not succeed, written for the person who reads it.

    reason: CamelCase and stable, for machines. message: what happened, to which field or tensor. hint: what to do.
    """

    reason: str
    message: str
    hint: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. shape: -1 is a dynamic axis; datatype: Open Inference Protocol names (FP32, INT64, BYTES …)."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Providers:
    """Execution providers in the order of preference: TensorRT, CUDA, OpenVINO, CPU. The first serves.

    fallback "Forbid": fail when the first cannot be loaded. "Allow": the next that loads serves.
    options: provider -> option -> value, handed to ONNX Runtime as they are.
    threads: intra-op threads of a session; 0 lets ONNX Runtime decide, which in a pod means all cores of the node.
    """

    names: tuple[str, ...] = ("CPU",)
    fallback: str = "Forbid"
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    threads: int = 1


# ---- fetch and validate ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """Where a fetch may go. It holds for every redirect and for every address that a name resolves to.

    schemes: of URIs, empty for all. hosts: names that may be asked, "*.example.com" for all below a domain, empty for all.
    private_networks: whether addresses of private networks (RFC 1918, RFC 4193) may be asked, where in-cluster stores are.
    networks: CIDR ranges that are allowed whatever they are. Loopback, link-local and metadata addresses never are otherwise.
    """

    schemes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    private_networks: bool = True
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Copy `uri` into `directory` (made atomically: it is whole or not there). Credentials come from the environment.

    A file becomes `directory/model.onnx`; a URI that ends in "/" is a folder that holds model.onnx and external data; a
    .tar.gz or .zip is a folder, packed. sha256: pin of the model file, lower-case hexadecimal, or "" for none; files: pins
    of other files of a folder, by their paths.
    max_bytes: bound on the sum of all files, unpacked. signature_uri: goes to SIGNATURE_FILE. golden_uri: goes to
    GOLDEN_FILE, or to GOLDEN_FOLDER when it ends in "/". kind "calibration": no model, but data that go to
    CALIBRATION_FILE or CALIBRATION_FOLDER in the same way. home: the URI that the credentials are for; "" for `uri`.
    """

    uri: str
    directory: str
    sha256: str = ""
    max_bytes: int = 16 << 30
    policy: SourcePolicy = SourcePolicy()
    signature_uri: str = ""
    golden_uri: str = ""
    files: dict[str, str] = field(default_factory=dict)
    kind: str = "model"
    home: str = ""


@dataclass(frozen=True, slots=True)
class SignatureRule:
    """Who must have signed.

    public_key: path of a PEM file, or env:NAME of a variable that holds it; or identity and issuer of an OpenID Connect
    signature. origin: where the variable comes from, so that a key from another place is another rule.
    """

    public_key: str = ""
    identity: str = ""
    issuer: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A variant passes when |a-b| <= absolute + relative*|b| for each element and cosine(a, b) >= cosine for each output."""

    relative: float = 1e-2
    absolute: float = 1e-3
    cosine: float = 0.999


@dataclass(frozen=True, slots=True)
class ValidateRequest:
    """Judge the model `file` in `directory` (as fetch left it).

    dynamic_batch: "Required" or "Allowed". inputs, outputs: the author's contract; empty means not given. mode: "Enforce",
    or "Warn", where findings of severity error are reported and do not refuse the model. opset_max: 0 means what
    the ONNX Runtime of this image supports. opset_floor: the platform's bound, which holds in any mode. sha256: the pin,
    compared once more with what is judged; "" for none; files: pins of other files, by their paths; pin_all: what is
    neither pinned nor signed is refused, in any mode.
    signature: None for a model that need not be signed; it is checked in any mode, before anything is parsed.
    golden: the tolerance of golden data in `directory`; None when there is none. golden_path: where they are on a person's
    machine; "" for where fetch puts them. providers: those that will serve, in order.
    max_batch_size: the largest that will be served. serving_memory: bytes that the server may use; 0 where that is not known.
    domains: further operator domains that are allowed. sizes: of dynamic axes, by symbol or INPUT[AXIS], where inputs are made.
    batch: "None" for a model without a batch axis, as its author says; dynamic_batch then asks for nothing.
    max_nodes, max_depth: bounds of the graph, and of subgraphs within each other. timeout_seconds: what takes longer is
    refused: a model can loop without end.
    """

    directory: str
    opset_min: int = 13
    opset_max: int = 0
    dynamic_batch: str = "Required"
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    mode: str = "Enforce"
    file: str = MODEL_FILE
    sha256: str = ""
    files: dict[str, str] = field(default_factory=dict)
    pin_all: bool = False
    opset_floor: int = 0
    signature: SignatureRule | None = None
    golden: Tolerance | None = None
    golden_path: str = ""
    providers: tuple[str, ...] = ("CPU",)
    max_batch_size: int = 0
    domains: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    max_nodes: int = 200_000
    max_depth: int = 32
    timeout_seconds: float = 1800.0
    serving_memory: int = 0
    batch: str = BATCH_UNKNOWN


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check saw. severity: "error", "warning" or "info"; target: the node or tensor by name."""

    id: str
    severity: str
    target: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model is, at a glance. sha256 is of the model file; bytes include external data; parameters: weights' elements.

    unranked: the inputs and outputs of any rank, whose shape () says nothing.
    """

    sha256: str
    bytes: int
    ir_version: int
    opset: int
    producer: str
    nodes: int
    parameters: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    unranked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a variant's answers are from the original's, at their worst. output: the tensor where that was seen.

    note: what a number cannot say, such as NaN where the original has a number, or a shape that differs.
    top1: the share of rows whose best class is the same, where an output looks like class scores; None where none does.
    """

    passed: bool
    max_absolute: float
    max_relative: float
    cosine: float
    output: str
    batch_sizes: tuple[int, ...]
    note: str = ""
    top1: float | None = None


@dataclass(frozen=True, slots=True)
class ValidateResult:
    """A model that may go on to be optimized, with what was found on the way.

    uri: what was fetched, resolved (an OCI tag to its digest, a branch to its commit). signer: who signed it, "" for nobody
    that was asked for. golden: how far the answers are from the golden data, None when there are none. data_sha256: of
    weights beside the model. sizes: of all dynamic axes besides the batch, at which made inputs run; empty with golden data.
    unbatched: why axis 0 is no batch, as far as the signature and golden data tell; "" where it is one. unjoined: as in Variant.
    """

    model: ModelFacts
    findings: tuple[Finding, ...] = ()
    uri: str = ""
    signer: str = ""
    golden: Parity | None = None
    data_sha256: str = ""
    sizes: dict[str, int] = field(default_factory=dict)
    unbatched: str = ""
    unjoined: str | None = None


# ---- optimize --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calibration:
    """How int8-static learns the ranges of activations: "MinMax", "Entropy" or "Percentile". samples: rows, at most."""

    method: str = "MinMax"
    percentile: float = 99.99
    samples: int = 256


@dataclass(frozen=True, slots=True)
class OptimizeRequest:
    """Make the variants of the model at `model`, prove each against it, and write them to `directory`/<variant>/.

    graph_level: None Basic Extended All: the highest that is tried. The original's outputs decide which one is taken.
    batch_sizes: where parity is measured, and at max_batch_size, which decides nothing that is written into a variant.
    golden: on the golden data beside the model, as they are and cut to these sizes, and not on made inputs. data_sha256: of
    weights beside the model (digests.data_digest), "" where there are none.
    sizes: of dynamic axes, as validate found them; what is missing is looked for.
    variants: fp32 fused fp16 int8-dynamic int8-static ort.
    calibration_data: the folder to which fetch brought calibration data; "": the golden data's inputs are taken.
    batch: "None" for a model without a batch axis, as its author says; "Auto": it is found out.
    signer: who signed the source, for the manifest. Also writes `directory`/probe.npz (inputs made with a fixed seed and the
    original model's answers) and `directory`/manifest.json.
    """

    model: str
    sha256: str
    directory: str
    variants: tuple[str, ...] = ("fp32",)
    graph_level: str = "All"
    batch_sizes: tuple[int, ...] = (1, 3, 8)
    tolerance: Tolerance = Tolerance()
    providers: Providers = Providers()
    calibration: Calibration = Calibration()
    calibration_data: str = ""
    golden: bool = False
    signer: str = ""
    data_sha256: str = ""
    max_batch_size: int = 0
    batch: str = BATCH_UNKNOWN
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pass:
    """One transformation. Nodes and bytes after it; of the pass before, or the original, where it was skipped.

    note: why it was skipped, failed or changed nothing; "" when it was applied.
    """

    name: str
    nodes: int
    bytes: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A candidate. path: the file, below the artifacts volume. `skipped` says why there is none; then path is "".

    data_sha256: of weights in files beside it (digests.data_digest); "" where there are none.
    graph_level: what a session must ask for when it loads the file ("None" when the graph is optimized already).
    passes: in the order in which they ran, on the original or on what the pass before left. note: what to know of it.
    unjoined: why requests to it must not be joined to batches, as its graph tells; "" where they may be, None where nobody
    looked.
    """

    name: str
    path: str = ""
    sha256: str = ""
    bytes: int = 0
    nodes: int = 0
    graph_level: str = "All"
    parity: Parity | None = None
    skipped: str = ""
    passes: tuple[Pass, ...] = ()
    note: str = ""
    data_sha256: str = ""
    unjoined: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderUse:
    """The provider that really ran, and its share of the graph's nodes in percent. nodes: provider -> count."""

    name: str
    share_percent: float
    nodes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OptimizeResult:
    """The candidates: "original" first, then every requested variant. probe: path of the probe file.

    lowered: why sessions ask for a lower graph level than the request's; "" where they do not.
    batch: "First", axis 0 of every input and output is a batch, or "None", and unbatched says why it is not.
    made_inputs: whether variants were proven on made inputs alone.
    """

    variants: tuple[Variant, ...]
    probe: str
    provider: ProviderUse
    lowered: str = ""
    batch: str = BATCH_UNKNOWN
    unbatched: str = ""
    made_inputs: bool = False


# ---- benchmark -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant to measure. sha256 and data_sha256: of what was proven."""

    name: str
    path: str
    sha256: str
    graph_level: str = "All"
    data_sha256: str = ""


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

    candidates: tuple[Candidate, ...]
    probe: str
    batch_sizes: tuple[int, ...] = (1, 8)
    concurrency: tuple[int, ...] = (1, 4)
    seconds: float = 0.3
    instances: int = 1
    providers: Providers = Providers()
    stable_percent: float = 5.0
    windows: int = 10
    optimized: str = ""
    directory: str = ""
    namespace: str = ""
    name: str = ""
    attempt: int = 1
    left_out: dict[str, str] = field(default_factory=dict)
    batch: str = BATCH_UNKNOWN


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


# ---- serve, load test and probe --------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class RepositoryRequest:
    """Lay out a model repository for Triton in `directory`, so that it serves what `serve` says.

    gpus: that Triton's container has. image: Triton's, whose libraries compile what TensorRT caches below `engines`; "" for
    no cache.
    """

    serve: ServeRequest
    directory: str
    gpus: int = 0
    image: str = ""
    engines: str = ""


@dataclass(frozen=True, slots=True)
class RepositoryResult:
    """config: path of the configuration; joins: whether Triton joins requests to batches; engines: the cache in use."""

    config: str
    joins: bool
    engines: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """So many callers, each of whom sends so many rows again and again."""

    batch_size: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class LoadTestRequest:
    """Ask one server of this revision for the probe's rows over HTTP, under each of the loads, and prove its answers.

    host: its address, or a name of which the first address is taken. max_batch_size: the rows of which the answers are
    proven too. variant: what serves, for the result alone. unjoined: as in Variant; where rows influence each other, or may,
    answers to several are compared with each other alone.
    seconds, stable_percent, windows and attempt: as in BenchmarkRequest, but all windows count, and there are five at least
    if `windows` allows: a client gets the bad moments too, and a p99 needs its answers. batch: as OptimizeResult's.
    """

    name: str
    host: str
    probe: str
    loads: tuple[Load, ...]
    tolerance: Tolerance = Tolerance()
    max_batch_size: int = 1
    variant: str = ""
    http_port: int = 8000
    revision: str = ""
    seconds: float = 1.0
    stable_percent: float = 5.0
    windows: int = 10
    attempt: int = 1
    batch: str = BATCH_UNKNOWN
    unjoined: str | None = None


@dataclass(frozen=True, slots=True)
class LoadTestResult:
    """What a client saw of one server, its own time and the network's included: a point for each load.

    batch: as BenchmarkResult's.
    """

    points: tuple[Point, ...]
    batch: str = BATCH_UNKNOWN


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Ask `host` (the Service) for the probe file's answer, over HTTP and over gRPC, and compare.

    revision: which one must answer; for a while after a switch, an older one may. "" for any.
    """

    name: str
    host: str
    probe: str
    tolerance: Tolerance = Tolerance()
    http_port: int = 8000
    grpc_port: int = 8001
    revision: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a client saw. Milliseconds are of one call; provider: what the server says it runs on.

    unjoined: why the server joins no requests, as it says; "" where it does, None where it does not say.
    """

    http_milliseconds: float
    grpc_milliseconds: float
    max_absolute: float
    provider: ProviderUse | None = None
    unjoined: str | None = None


# ---- outcome ---------------------------------------------------------------------------------------------------------

Result = ValidateResult | OptimizeResult | BenchmarkResult | LoadTestResult | ProbeResult | RepositoryResult
REPOSITORY = "repository"

REQUESTS: dict[str, type] = {
    "fetch": FetchRequest,
    Stage.VALIDATE: ValidateRequest,
    Stage.OPTIMIZE: OptimizeRequest,
    Stage.BENCHMARK: BenchmarkRequest,
    Stage.LOADTEST: LoadTestRequest,
    Stage.PROBE: ProbeRequest,
    "serve": ServeRequest,
    REPOSITORY: RepositoryRequest,
}
RESULTS: dict[str, type] = {
    Stage.VALIDATE: ValidateResult,
    Stage.OPTIMIZE: OptimizeResult,
    Stage.BENCHMARK: BenchmarkResult,
    Stage.LOADTEST: LoadTestResult,
    Stage.PROBE: ProbeResult,
    REPOSITORY: RepositoryResult,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a container leaves behind: a result or a failure, never both. command: fetch, a Stage, or serve.

    findings: why validation refused the model, all of it (a result has its own).
    """

    command: str
    seconds: float
    result: Result | None = None
    failure: Failure | None = None
    retry: bool = False
    findings: tuple[Finding, ...] = ()


def encode(outcome: Outcome) -> str:
    """The outcome as a termination message.

    Raises ContractError when it does not fit: a stage bounds its own lists, so that is a defect, not an input error.
    """
    packed = zlib.compress(dumps(outcome).encode(), 9)
    text = _PREFIX + base64.b64encode(packed).decode()
    if len(text) > TERMINATION_BYTES:
        raise ContractError(f"the outcome of {outcome.command} needs {len(text)} bytes, {TERMINATION_BYTES} fit")
    return text


@functools.lru_cache(maxsize=512)
def decode(text: str) -> Outcome:
    """The reverse of encode. Raises ContractError on anything else, a message cut short included.

    The outcomes of the last messages are remembered: each turn of a model reads the same ones again. Nobody may change them.
    """
    if not text.startswith(_PREFIX):
        raise ContractError("not an outcome of this version's contract")
    try:
        packed = base64.b64decode(text.removeprefix(_PREFIX).strip(), validate=True)
        # The bound is against a message made to be large: a pod's termination message is written by the pod.
        raw = zlib.decompressobj().decompress(packed, 1 << 20)
        data = json.loads(raw.decode())
        # Status holds no NaN and no infinity, which are no JSON, and no half of a surrogate pair, as in odd names of files.
        data = json.loads(json.dumps(data, allow_nan=False, ensure_ascii=False).encode(errors="replace"))
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise ContractError(f"the outcome cannot be read: {error}") from error
    result = data.pop("result", None) if isinstance(data, dict) else None
    outcome = load(Outcome, data)
    if result is None:
        return outcome
    if outcome.command not in RESULTS:
        raise ContractError(f"{outcome.command!r} has no result")
    return dataclasses.replace(outcome, result=load(RESULTS[outcome.command], result))


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def dumps(value: Any) -> str:
    """A dataclass of this module as JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _JSON.encode(as_data(value))


_ATOMS = frozenset((str, int, float, bool, type(None)))


def as_data(value: Any) -> Any:
    """A dataclass of this module as plain data. As `dataclasses.asdict`, which copies strings and numbers one by one."""
    kind: Any = type(value)
    if kind in _ATOMS:
        return value
    if kind is tuple or kind is list:
        return [as_data(item) for item in value]
    if kind is dict:
        return {key: as_data(item) for key, item in value.items()}
    write = _writer(kind)
    return write(value) if write else value


@functools.cache
def _writer(kind: typing.Hashable) -> Callable[[Any], dict[str, Any]] | None:
    """What makes plain data of a dataclass; None for any other type. Fields that can only be atoms are taken as they are."""
    names = field_names(kind)
    if not names:
        return None
    hints = typing.get_type_hints(kind)
    deep = [name for name in names if hints[name] not in _ATOMS]
    values = operator.attrgetter(*names)

    def write(value: Any) -> dict[str, Any]:
        data = dict(zip(names, values(value), strict=True))
        for name in deep:
            data[name] = as_data(data[name])
        return data

    def write_one(value: Any) -> dict[str, Any]:
        return {names[0]: as_data(values(value))}

    return write if len(names) > 1 else write_one


@functools.cache
def field_names(kind: typing.Hashable) -> tuple[str, ...]:
    """Of a dataclass; () for any other type."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


T = TypeVar("T")


def loads(kind: type[T], text: str) -> T:
    """JSON as `kind`. Raises ContractError that names the field."""
    try:
        return load(kind, json.loads(text))
    except ValueError as error:
        raise error if isinstance(error, ContractError) else ContractError(f"not JSON: {error}") from error


def load(kind: type[T], data: Any, where: str = "") -> T:
    """Plain data as `kind`. Unknown fields are ignored, so that an older side reads what a newer one wrote.

    Raises ContractError that names the field.
    """
    try:
        value: Any = _reader(typing.cast(Any, kind))(data)
    except _Wrong as wrong:
        raise ContractError(f"{where or kind.__name__}{wrong.path}: {wrong}") from None
    return typing.cast(T, value)


class _Wrong(Exception):
    """What is wrong with a value. path: from where it was read down to it."""

    path = ""

    def under(self, step: str) -> "_Wrong":
        self.path = step + self.path
        return self


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of `kind` from plain data. Once for each type: the operator reads results all the time."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        some = _reader(next(option for option in args if option is not types.NoneType))
        return lambda data: None if data is None else some(data)
    if dataclasses.is_dataclass(kind):
        return _object_reader(kind)
    if origin is tuple:
        return _list_reader(_reader(args[0]))
    if origin is dict:
        return _map_reader(_reader(args[1]))

    def read(data: Any) -> Any:
        if kind is float and type(data) is int:
            try:
                return float(data)
            except OverflowError:
                raise _Wrong("the number is too large") from None
        if not isinstance(data, kind) or (type(data) is bool and kind is not bool):
            raise _Wrong(f"{kind.__name__} is expected, not {type(data).__name__}")
        return data

    return read


def _object_reader(kind: Any) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    fields = [(field.name, hints[field.name], _reader(hints[field.name])) for field in dataclasses.fields(kind)]
    needed = {
        field.name: None
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _Wrong("an object is expected")
        if not needed.keys() <= data.keys():
            raise _Wrong("missing").under(f".{next(name for name in needed if name not in data)}")
        values = {}
        for name, exact, reader in fields:
            if name in data:
                value = data[name]
                if (
                    type(value) is not exact
                ):  # a number, a string and a boolean need no reader: it would be a call for each
                    try:
                        value = reader(value)
                    except _Wrong as wrong:
                        raise wrong.under(f".{name}") from None
                values[name] = value
        return kind(**values)

    return read


def _list_reader(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not isinstance(data, list | tuple):
            raise _Wrong("a list is expected")
        values = []
        for index, value in enumerate(data):
            try:
                values.append(item(value))
            except _Wrong as wrong:
                raise wrong.under(f"[{index}]") from None
        return tuple(values)

    return read


def _map_reader(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise _Wrong("an object is expected")
        values = {}
        for key, value in data.items():
            try:
                values[str(key)] = item(value)
            except _Wrong as wrong:
                raise wrong.under(f".{key}") from None
        return values

    return read
