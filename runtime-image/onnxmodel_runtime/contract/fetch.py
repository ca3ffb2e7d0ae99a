"""Fetch: copy a model, or calibration data, onto the model's volume."""

from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity, Incidental

# A Secret's keys become variables of the fetch container with this prefix. Only those of sources.CREDENTIALS are used: the
# Secret is a tenant's, and others (PYTHONPATH, LD_PRELOAD) would decide what the container runs.
SECRET_PREFIX = "ONNXMODEL_SECRET_"
VARIABLES = (
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("STORAGE_EMULATOR_HOST", "AZURE_STORAGE_ENDPOINT", "HF_ENDPOINT", "OCI_AUTH_HOST", "OCI_PLAIN_HTTP_HOSTS"),
    *("CA_CERTIFICATES", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
"""Those of sources.CREDENTIALS that are no secret."""
IDENTITY = "ONNXMODEL_IDENTITY"
"""Variable of a container in a pod whose account may have an identity in a cloud."""
IDENTITY_USED, IDENTITY_REFUSED = "used", "refused"
"""Its values: the fetch uses the identity, and a container that parses the model ends where it has one."""


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """Limit where a fetch may connect. It applies to each redirect, and to each address that a name resolves to.

    schemes: allowed URI schemes; empty allows all.
    hosts: allowed host names, "*.example.com" for all below a domain; empty allows all.
    private_networks: allow private addresses (RFC 1918, RFC 4193), where in-cluster stores are.
    networks: CIDR ranges that are always allowed. Loopback, link-local and metadata addresses are allowed only by these.
    """

    schemes: Identity[tuple[str, ...]] = ()
    hosts: Identity[tuple[str, ...]] = ()
    private_networks: Identity[bool] = True
    networks: Identity[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Copy `uri` into `directory`, atomically: the directory is complete or does not exist.

    Credentials come from the environment. A file becomes `directory`/model.onnx. A URI that ends in "/" is a folder with
    model.onnx and its external data; a .tar.gz or .zip is such a folder, packed.

    sha256: the pinned digest of the model file, lower-case hexadecimal; "" for no pin.
    max_bytes: bound on the total size of all files, unpacked.
    signature_uri: fetched to SIGNATURE_FILE.
    golden_uri: fetched to GOLDEN_FILE, or to GOLDEN_FOLDER if it ends in "/".
    files: pinned digests of the other files of a folder, by path.
    kind: "model", or "calibration" for data that goes to CALIBRATION_FILE or CALIBRATION_FOLDER in the same way.
    home: the URI that the credentials belong to; "" for `uri`.

    max_bytes and policy are incidental: a new rule of the platform neither fetches a model again nor moves what is made of it.
    """

    uri: Identity[str]
    directory: Incidental[str]
    sha256: Identity[str] = ""
    max_bytes: Incidental[int] = 16 << 30
    policy: Incidental[SourcePolicy] = SourcePolicy()
    signature_uri: Identity[str] = ""
    golden_uri: Identity[str] = ""
    files: Identity[dict[str, str]] = field(default_factory=dict)
    kind: Identity[str] = "model"
    home: Identity[str] = ""
