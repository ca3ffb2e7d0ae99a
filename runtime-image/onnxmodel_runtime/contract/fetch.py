"""Fetch: copy a model, or calibration data, onto the model's volume."""

from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity, Incidental

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


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """Where a fetch may go. It holds for every redirect and for every address that a name resolves to.

    schemes: of URIs, empty for all. hosts: names that may be asked, "*.example.com" for all below a domain, empty for all.
    private_networks: whether addresses of private networks (RFC 1918, RFC 4193) may be asked, where in-cluster stores are.
    networks: CIDR ranges that are allowed whatever they are. Loopback, link-local and metadata addresses never are otherwise.
    """

    schemes: Identity[tuple[str, ...]] = ()
    hosts: Identity[tuple[str, ...]] = ()
    private_networks: Identity[bool] = True
    networks: Identity[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Copy `uri` into `directory` (made atomically: it is whole or not there). Credentials come from the environment.

    A file becomes `directory/model.onnx`; a URI that ends in "/" is a folder that holds model.onnx and external data; a
    .tar.gz or .zip is a folder, packed. sha256: pin of the model file, lower-case hexadecimal, or "" for none; files: pins
    of other files of a folder, by their paths.
    max_bytes: bound on the sum of all files, unpacked. signature_uri: goes to SIGNATURE_FILE. golden_uri: goes to
    GOLDEN_FILE, or to GOLDEN_FOLDER when it ends in "/". kind "calibration": no model, but data that go to
    CALIBRATION_FILE or CALIBRATION_FOLDER in the same way. home: the URI that the credentials are for; "" for `uri`.

    The platform's bound and policy are incidental: a new rule neither fetches again nor moves what is made of it.
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
