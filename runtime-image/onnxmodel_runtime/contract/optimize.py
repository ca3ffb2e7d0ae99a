"""The optimize stage: make variants of a model and prove each against the original."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import PurePath

from onnxmodel_runtime.contract.identity import Identity, Incidental, Input
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Parity, Tolerance
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.contract.volume import REPORT_FILE

ORIGINAL = "original"  # the name of the model as it was fetched, among the variants


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of int8-static, which determines the ranges of activations.

    method: "MinMax", "Entropy" or "Percentile". samples: the maximum number of rows.
    """

    method: Identity[str] = "MinMax"
    percentile: Identity[float] = 99.99
    samples: Identity[int] = 256


@dataclass(frozen=True, slots=True)
class OptimizeRequest:
    """Make the variants of the model at `model` and prove each against it.

    Writes each variant to `directory`/NAME/, and beside them probe.npz (generated inputs from a fixed seed, and the original
    model's outputs) and manifest.json.

    variants: of fp32, fused, fp16, int8-dynamic, int8-static and ort.
    graph_level: the highest level to try, of None, Basic, Extended and All. The original's outputs decide which one is used.
    batch_sizes: the sizes at which parity is measured, besides max_batch_size, which no byte of a variant depends on.
    calibration_data: the folder with calibration data that fetch left; "" to calibrate with the golden data's inputs.
    golden: prove on the golden data beside the model, whole and cut to these batch sizes, instead of on generated inputs.
    signer: who signed the source, for the manifest.
    data_sha256: the digest of the weights beside the model (models.artifact.data_digest); "" if there are none.
    batch: "None" if the author says that the model has no batch axis, "Auto" to find out.
    sizes: sizes of dynamic axes that validate found; missing ones are searched for.

    max_batch_size is incidental: a serving field makes no variant again. The load test of each revision proves the size that it
    serves.
    """

    model: Input[str]
    sha256: Input[str]
    directory: Incidental[str]
    variants: Identity[tuple[str, ...]] = ("fp32",)
    graph_level: Identity[str] = "All"
    batch_sizes: Identity[tuple[int, ...]] = (1, 3, 8)
    tolerance: Identity[Tolerance] = Tolerance()
    providers: Identity[Providers] = Providers()
    calibration: Identity[Calibration] = Calibration()
    calibration_data: Input[str] = ""
    golden: Identity[bool] = False
    signer: Input[str] = ""
    data_sha256: Input[str] = ""
    max_batch_size: Incidental[int] = 0
    batch: Identity[str] = BATCH_UNKNOWN
    sizes: Identity[dict[str, int]] = field(default_factory=dict)


def optimization_report(request: OptimizeRequest) -> PurePath:
    """Return the path of the report."""
    return PurePath(request.directory, REPORT_FILE)


@dataclass(frozen=True, slots=True)
class Pass:
    """One transformation of the graph.

    nodes, bytes: after the pass; if it was skipped, after the pass before, or of the original.
    note: why it was skipped, failed or changed nothing; "" if it was applied.
    """

    name: str
    nodes: int
    bytes: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A candidate for serving, or the reason why there is none.

    path: the model file, below ARTIFACTS; "" if the variant was skipped.
    graph_level: the level that a session must ask for when it loads the file; "None" if the graph is already optimized.
    skipped: why there is no such variant; "" if there is one.
    passes: in the order in which they ran.
    note: a remark for the reader.
    data_sha256: the digest of the weights beside the file (models.artifact.data_digest); "" if there are none.
    unjoined: why requests must not be batched together, as the graph shows; "" if they may be, None if nobody looked.
    """

    name: str
    path: str = ""
    _: KW_ONLY
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
class OptimizeResult:
    """The candidates: "original" first, then each requested variant.

    probe: path of the probe file.
    lowered: why sessions use a lower graph level than requested; "" if they do not.
    batch: "First" if axis 0 of each input and output is a batch, else "None".
    unbatched: why it is not.
    made_inputs: whether variants were proven on generated inputs only.
    """

    variants: tuple[Variant, ...]
    probe: str
    provider: ProviderUse
    lowered: str = ""
    batch: str = BATCH_UNKNOWN
    unbatched: str = ""
    made_inputs: bool = False
