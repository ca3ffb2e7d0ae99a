"""The validate stage: judge a model before anything is made of it."""

from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity, Incidental
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Parity, Tensor, Tolerance
from onnxmodel_runtime.contract.volume import MODEL_FILE

PUBLIC_KEY_VARIABLE = "ONNXMODEL_PUBLIC_KEY"  # of the validate container: the key that a signature must fit


@dataclass(frozen=True, slots=True)
class SignatureRule:
    """Who must have signed.

    public_key: path of a PEM file, or env:NAME of a variable that holds it; or identity and issuer of an OpenID Connect
    signature. origin: where the variable comes from, so that a key from another place is another rule.
    """

    public_key: Identity[str] = ""
    identity: Identity[str] = ""
    issuer: Identity[str] = ""
    origin: Identity[str] = ""


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

    The platform's bounds and the largest batch are incidental: neither a new rule nor a serving field validates again.
    """

    directory: Identity[str]
    opset_min: Identity[int] = 13
    opset_max: Identity[int] = 0
    dynamic_batch: Identity[str] = "Required"
    inputs: Identity[tuple[Tensor, ...]] = ()
    outputs: Identity[tuple[Tensor, ...]] = ()
    mode: Identity[str] = "Enforce"
    file: Identity[str] = MODEL_FILE
    sha256: Identity[str] = ""
    files: Identity[dict[str, str]] = field(default_factory=dict)
    pin_all: Identity[bool] = False
    opset_floor: Identity[int] = 0
    signature: Identity[SignatureRule | None] = None
    golden: Identity[Tolerance | None] = None
    golden_path: Incidental[str] = ""
    providers: Identity[tuple[str, ...]] = ("CPU",)
    max_batch_size: Incidental[int] = 0
    domains: Identity[tuple[str, ...]] = ()
    sizes: Identity[dict[str, int]] = field(default_factory=dict)
    max_nodes: Incidental[int] = 200_000
    max_depth: Incidental[int] = 32
    timeout_seconds: Incidental[float] = 1800.0
    serving_memory: Identity[int] = 0
    batch: Identity[str] = BATCH_UNKNOWN


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
