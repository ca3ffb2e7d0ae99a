"""The validate stage: judge a model before anything is made of it."""

from dataclasses import dataclass, field
from pathlib import PurePath

from onnxmodel_runtime.contract.identity import Identity, Incidental
from onnxmodel_runtime.contract.model import BATCH_UNKNOWN, Parity, Tensor, Tolerance
from onnxmodel_runtime.contract.volume import MODEL_FILE

PUBLIC_KEY_VARIABLE = "ONNXMODEL_PUBLIC_KEY"  # in the validate container: the key that must have signed the model


@dataclass(frozen=True, slots=True)
class SignatureRule:
    """Require a signature: by the key `public_key`, or by an OpenID Connect `identity` of `issuer`.

    public_key: path of a PEM file, or env:NAME of a variable that holds the key.
    origin: where that variable comes from, so that a key from another Secret is another rule.
    """

    public_key: Identity[str] = ""
    identity: Identity[str] = ""
    issuer: Identity[str] = ""
    origin: Identity[str] = ""


@dataclass(frozen=True, slots=True)
class ValidateRequest:
    """Judge the model `file` in `directory`, where fetch left it.

    opset_max: 0 for the newest opset that the image's ONNX Runtime supports.
    dynamic_batch: "Required" or "Allowed".
    inputs, outputs: the signature that the author promises; empty if none is given.
    mode: "Enforce", or "Warn" to report errors without refusing the model.
    sha256: the pinned digest, compared again with the file that is judged; "" for no pin.
    files: pinned digests of other files, by path.
    pin_all: refuse, in either mode, a model that is neither pinned nor signed.
    opset_floor: the platform's oldest opset, enforced in either mode.
    signature: the signature to require, verified in either mode before anything is parsed; None to require none.
    golden: the tolerance of the golden data in `directory`; None if there is none.
    golden_path: where golden data is on a person's machine; "" for where fetch puts it.
    providers: the execution providers that will serve, in order.
    max_batch_size: the largest batch that will be served.
    domains: operator domains to allow besides the standard ones.
    sizes: sizes of dynamic axes, by symbol or INPUT[AXIS], for generated inputs.
    max_nodes, max_depth: bounds on the number of nodes, and on how deeply subgraphs are nested.
    timeout_seconds: refuse a model that takes longer, because a model can loop forever.
    serving_memory: bytes that the server may use; 0 if unknown.
    batch: "None" if the author says that the model has no batch axis; dynamic_batch then has no effect.

    The platform's bounds and the largest batch are incidental: neither a new rule nor a serving field validates a model again.
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


def validation_report(request: ValidateRequest) -> PurePath:
    """Return the path of the report: beside the model's folder, which holds just what was fetched."""
    directory = PurePath(request.directory)
    return directory.with_name(f"{directory.name}.validate.json")


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation of a check. severity: "error", "warning" or "info"; target: the name of the node or tensor."""

    id: str
    severity: str
    target: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts about a model that status shows.

    sha256: of the model file. bytes: size with external data. parameters: number of weights.
    unranked: inputs and outputs of unknown rank; their shape is ().
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
    """A model that passed validation, with the findings.

    uri: the resolved source (an OCI tag by its digest, a branch by its commit).
    signer: who signed the model; "" if no signature was required.
    golden: parity with the golden data; None without golden data.
    data_sha256: the digest of the weights beside the model.
    sizes: sizes of all dynamic axes except the batch, at which generated inputs run; empty with golden data.
    unbatched: why axis 0 is not a batch axis, as far as the signature and golden data show; "" if it is one.
    unjoined: as in Variant.
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
