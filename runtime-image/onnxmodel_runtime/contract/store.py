"""Pull and push: bring folders of artifacts from a bucket or a registry, and leave them there."""

from dataclasses import dataclass, field

from onnxmodel_runtime.contract.identity import Identity, Incidental

# Keys of the platform's Secret that a container of the store reads. Others (PYTHONPATH, LD_PRELOAD) would decide what it runs.
DOCKER_CONFIG = ".dockerconfigjson"  # as Kubernetes has it
STORE_CREDENTIALS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *(DOCKER_CONFIG, "OCI_AUTH_HOST", "CA_CERTIFICATES"),
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The part of a bucket that belongs to one model.

    endpoint: URL of the store; "" for AWS. prefix: beginning of all keys of the model, without a slash at the end.
    """

    bucket: Identity[str]
    prefix: Identity[str]
    endpoint: Identity[str] = ""
    region: Identity[str] = "us-east-1"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a registry, in which all tags that begin with `uid` belong to one model.

    repository: as HOST/PATH. insecure: it is asked by http.
    """

    repository: Identity[str]
    uid: Identity[str] = ""
    insecure: Identity[bool] = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stored folder, as "optimize/0123456789abcdef".

    paths: the files to bring, relative to the folder; one that ends in "/" stands for all below it, and "./" for the model
    that was fetched, without the data beside it. () for the whole folder, with what stands beside it.
    sha256: digests that files must have, by path.
    optional: it need not be in the store.
    """

    folder: Identity[str]
    paths: Identity[tuple[str, ...]] = ()
    sha256: Identity[dict[str, str]] = field(default_factory=dict)
    optional: Incidental[bool] = False


@dataclass(frozen=True, slots=True)
class PullRequest:
    """Bring stored folders into `directory`. Each byte is verified by its digest.

    bucket, registry: one of them is the store. cache: a folder of the node, for what other pods may bring there; "" for
    none. cache_bytes: that it may hold.
    """

    bucket: Identity[Bucket | None]
    folders: Identity[tuple[Wanted, ...]]
    directory: Incidental[str]
    cache: Incidental[str] = ""
    cache_bytes: Incidental[int] = 0
    registry: Identity[Repository | None] = None


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Store these folders of `directory`, as "optimize/0123456789abcdef", with what stands beside them.

    A folder appears in the store whole or not at all. bucket, registry: one of them is the store. keep: other stored
    folders that stay; () removes none. Set by the command itself, from its option. retain: the model's artifacts stay
    when the model is deleted.
    """

    bucket: Identity[Bucket | None]
    folders: Identity[tuple[str, ...]]
    directory: Incidental[str]
    keep: Incidental[tuple[str, ...]] = ()
    retain: Incidental[bool] = False
    registry: Identity[Repository | None] = None


@dataclass(frozen=True, slots=True)
class PushResult:
    """The images that a server can mount instead of pulling files.

    images: digests of their manifests. "optimize/0123456789abcdef/fp32" is a variant with the probe, the folder alone is
    the probe; "source/0123456789abcdef" is the fetched model without the data beside it.
    """

    images: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """Remove from the store what belongs to models that no longer exist.

    bucket, registry: one of them is the store, of all models. models: path of an inventory, JSON of all models of the
    cluster with the uid of each, and whether its artifacts stay without it. seconds: a model's part is removed once its
    newest object is older; in a registry, once it was seen without its model for longer.
    """

    bucket: Identity[Bucket | None]
    models: Incidental[str]
    seconds: Incidental[float] = 86400.0
    registry: Identity[Repository | None] = None
