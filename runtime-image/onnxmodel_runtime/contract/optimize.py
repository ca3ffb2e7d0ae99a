"""The optimize stage: make variants of a model and prove each against the original."""

from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity, Incidental, Input
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Parity, Tolerance
from onnxmodel_runtime.contract.providers import Providers, ProviderUse

ORIGINAL = "original"  # what the variant is called that was not made, but fetched


@dataclass(frozen=True, slots=True)
class Calibration:
    """How int8-static learns the ranges of activations: "MinMax", "Entropy" or "Percentile". samples: rows, at most."""

    method: Identity[str] = "MinMax"
    percentile: Identity[float] = 99.99
    samples: Identity[int] = 256


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

    max_batch_size is incidental: a serving field makes nothing again. The load test of each revision proves the size that it
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
