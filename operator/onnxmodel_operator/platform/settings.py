"""The platform team's side: node pools, images, storage, defaults and policy, from the chart's values.

One file, validated once at the start: a wrong setting stops the operator with the field's name instead of surprising a
model later.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    StrictBool,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from onnxmodel_operator import quantity
from onnxmodel_operator.api import placeholders
from onnxmodel_operator.api.base import Quantity
from onnxmodel_operator.api.errors import field_errors
from onnxmodel_operator.api.patterns import (
    BUCKET,
    DOMAIN,
    ENDPOINT,
    FOLDER,
    NAMESPACE,
    OBJECT,
    PREFIX,
    REGION,
    REPOSITORY,
    ROLE,
    SECTION,
    SPAN,
)
from onnxmodel_operator.api.spec.pod import Annotations, Labels, TopologySpread, reserved
from onnxmodel_operator.api.spec.serving import Provider
from onnxmodel_operator.api.spec.source import FetchVariable, SecretReference
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS, misplaced
from onnxmodel_runtime.contract.store import Bucket, Repository
from onnxmodel_runtime.contract.uris import SCHEMES

Text = Annotated[str, StringConstraints(max_length=1024)]
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")


def _is_a_size(size: str) -> str:
    if quantity.parse(size) < 1 << 20:
        raise ValueError(f"expected at least 1Mi, such as 20Gi, not {size}")
    return size


Size = Annotated[Quantity, AfterValidator(_is_a_size)]


class SettingsError(ValueError):
    """Invalid settings. The message names each field."""


class _Section(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """All settings by field name, as plain data that digests cover. Computed once: do not modify it."""
        return self.model_dump()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy as pydantic does, without the cached `data`."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("data", None)
        return copied


class Images(_Section):
    """Images of a model's pods. Pools with GPUs use the GPU image; models that ask for Triton use Triton's."""

    runtime_cpu: Text = Field(description="The image for Jobs and servers.")
    runtime_gpu: Text = Field(
        default="",
        description="The same for models whose first provider needs a GPU. Required once a pool offers TensorRT or "
        "CUDA.",
    )
    triton: Text = Field(
        default="",
        description="The server image for models with serving.runtime triton. Empty: no model may use Triton.",
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="Pull policy of these images."
    )
    pull_secrets: tuple[Text, ...] = Field(default=(), description="Names of Secrets in each model's namespace.")


class PoolSource(_Section):
    """Account and variables of the pods that fetch the pool's models, as in a model's source, which wins."""

    service_account_name: str = Field(
        default="",
        description="ServiceAccount of the pods that fetch the pool's models (docs/pods.md#workload-identity).",
    )
    env: dict[FetchVariable, str] = Field(default_factory=dict, description="Variables of their fetch container.")


class Pool(_Section):
    """A node pool that models name in `serving.nodePool`."""

    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes.")
    tolerations: tuple[dict[str, Any], ...] = Field(default=(), description="Tolerations for their taints.")
    affinity: dict[str, Any] = Field(default_factory=dict, description="Constraints that a selector cannot express.")
    runtime_class_name: str = Field(
        default="", description="RuntimeClass of the pods: nvidia if that runtime is not the node's default."
    )
    priority_class_name: str = Field(default="", description="PriorityClass of all pods of the pool's models.")
    gpu_resource: str = Field(
        default="",
        description="The extended resource of its GPUs, such as nvidia.com/gpu or nvidia.com/mig-1g.5gb. Empty: there"
        " are none.",
    )
    resource_claim_template_name: str = Field(
        default="",
        description="Instead of gpuResource: a template in each model's namespace, of which every GPU is a claim "
        "(docs/pods.md#gpus).",
    )
    execution_providers: tuple[Provider, ...] = Field(
        default=("CPU",),
        min_length=1,
        description="The default for models that list none, and the allowed values for all models. CPU is always "
        "allowed.",
    )
    labels: Labels = Field(
        default_factory=dict,
        description="Labels of all pods of the pool's models. Those of a model's serving.pod win (docs/pods.md).",
    )
    annotations: Annotations = Field(
        default_factory=dict,
        description="Annotations of all pods of the pool's models. Those of a model's serving.pod win.",
    )
    service_account_name: str = Field(
        default="", description="ServiceAccount of these pods. Empty: the namespace's default."
    )
    image_pull_secrets: tuple[SecretReference, ...] = Field(
        default=(), description="Secrets in each model's namespace, in addition to runtimeImages.pullSecrets."
    )
    topology_spread_constraints: tuple[TopologySpread, ...] = Field(
        default=(), description="How the replicas of a revision are spread. Their selector is added."
    )
    source: PoolSource = Field(
        default=PoolSource(),
        description="Account and variables of the pods that fetch the pool's models. Those of a model's source win.",
    )

    @property
    def has_gpus(self) -> bool:
        """True if pods can ask for GPUs here."""
        return bool(self.gpu_resource or self.resource_claim_template_name)

    @model_validator(mode="after")
    def _providers_can_be_used(self) -> "Pool":
        gpu = [provider for provider in self.execution_providers if provider in GPU_PROVIDERS]
        if self.gpu_resource and self.resource_claim_template_name:
            raise ValueError("at most one of gpuResource and resourceClaimTemplateName can be set")
        if gpu and not self.has_gpus:
            raise ValueError(
                f"executionProviders contains {gpu[0]}, which needs gpuResource (for example nvidia.com/gpu) "
                "or resourceClaimTemplateName"
            )
        if wrong := misplaced(self.execution_providers):
            raise ValueError(f"executionProviders: {wrong}")
        return self

    @model_validator(mode="after")
    def _keys_are_free(self) -> "Pool":
        for field in ("labels", "annotations"):
            if wrong := reserved(getattr(self, field)):
                raise ValueError(f"{field}: {wrong}")
        return self


class NodeCache(_Section):
    """A folder of each node, where pods of any model leave what they brought from the store for the pods to come."""

    path: Annotated[str, StringConstraints(max_length=1024, pattern=FOLDER)] = Field(
        description="Absolute path of the folder. It must belong to user 10001, and namespaces of models must admit "
        "hostPath volumes."
    )
    size: Size = Field(default="20Gi", description="Of all files together.")


class AuthorityReference(_Section):
    """A ConfigMap in each model's namespace, and its key with certificate authorities in PEM."""

    name: Annotated[str, StringConstraints(max_length=253, pattern=OBJECT)] = Field(
        description="Name of the ConfigMap."
    )
    key: Annotated[str, StringConstraints(max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        default="ca.crt", description="Its key."
    )


_AWS = "sts.amazonaws.com"


def _is_of_aws(host: str) -> bool:
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


class WebIdentity(_Section):
    """A role of the store that a pod takes with a token of its own account, instead of keys."""

    role_arn: Annotated[str, StringConstraints(max_length=2048, pattern=ROLE)] = Field(
        description="The role. $namespace is replaced by the pod's namespace."
    )
    audience: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        default=_AWS, description="Audience of the token."
    )
    endpoint: Annotated[str, StringConstraints(max_length=1024, pattern=ENDPOINT)] = Field(
        default="",
        description="URL of the token service (STS). Empty: the store's own, which is AWS's where the store is.",
    )
    ca_config_map_ref: AuthorityReference | None = Field(
        default=None, description="What both are trusted by besides the usual authorities."
    )

    @field_validator("role_arn")
    @classmethod
    def _knows_its_placeholders(cls, role_arn: str) -> str:
        return placeholders.check(role_arn, ("namespace",), placeholders.ARN)


class S3(_Section):
    """An S3-compatible bucket for the artifacts of all models."""

    bucket: Annotated[str, StringConstraints(pattern=BUCKET)] = Field(description="Name of the bucket.")
    secret_ref: SecretReference | None = Field(
        default=None,
        description="A Secret in each model's namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Either this"
        " or webIdentity.",
    )
    web_identity: WebIdentity | None = Field(
        default=None,
        description="A role that pods take with a token of their account, instead of keys "
        "(docs/artifacts.md#without-keys).",
    )
    endpoint: Annotated[str, StringConstraints(max_length=1024, pattern=ENDPOINT)] = Field(
        default="", description="URL of the store. Empty: AWS."
    )
    region: Annotated[str, StringConstraints(pattern=REGION)] = Field(
        default="us-east-1", description="Region of the bucket."
    )
    prefix: Annotated[str, StringConstraints(max_length=200, pattern=PREFIX)] = Field(
        default="onnxmodels", description="Beginning of all keys. Below it, each model has NAMESPACE/NAME/UID."
    )
    node_cache: NodeCache | None = Field(
        default=None, description="A folder of each node that keeps what pods have brought from the bucket."
    )

    @model_validator(mode="after")
    def _store_knows_who_asks(self) -> "S3":
        if (self.secret_ref is None) == (self.web_identity is None):
            raise ValueError("exactly one of secretRef and webIdentity must be set")
        return self

    @model_validator(mode="after")
    def _token_is_for_this_store(self) -> "S3":
        host = urlsplit(self.token_service).hostname or ""
        if host and self.web_identity and self.web_identity.audience == _AWS and not _is_of_aws(host):
            raise ValueError(
                f"webIdentity.audience must be what {host} expects: it could use a token for {_AWS}, the default, at AWS"
            )
        return self

    @property
    def token_service(self) -> str:
        """The URL of the service that gives keys for a token. "" for AWS's."""
        return (self.web_identity.endpoint if self.web_identity else "") or self.endpoint


class Oci(_Section):
    """A registry for the artifacts of all models, each in REPOSITORY/NAMESPACE/NAME under tags that begin with its uid."""

    repository: Annotated[str, StringConstraints(max_length=120, pattern=REPOSITORY)] = Field(
        description="As HOST/PATH. Below it, each model has NAMESPACE/NAME."
    )
    secret_ref: SecretReference = Field(
        description="A Secret of type kubernetes.io/dockerconfigjson in each model's namespace."
    )
    insecure: StrictBool = Field(default=False, description="Ask the registry by http, with its password.")
    node_cache: NodeCache | None = Field(
        default=None, description="A folder of each node that keeps what pods have brought from the registry."
    )
    image_volumes: StrictBool = Field(
        default=False,
        description="Mount what is served as image volumes, which every node that serves must have "
        "(docs/artifacts.md#image-volumes).",
    )

    @field_validator("repository")
    @classmethod
    def _has_levels(cls, repository: str) -> str:
        """Each model has REPOSITORY/NAMESPACE/NAME."""
        if repository.partition("/")[0] in _DOCKER_HUB:
            raise ValueError(
                "Docker Hub has repositories of two levels only, and each model needs REPOSITORY/NAMESPACE/NAME: "
                "use another registry"
            )
        return repository


class Artifacts(_Section):
    """The place of each model's artifacts: a volume of its own, a part of a bucket, or a repository of a registry."""

    store: Literal["volume", "s3", "oci"] = Field(
        default="volume", description="A volume for each model, a bucket (s3), or a registry (oci): docs/artifacts.md."
    )
    storage_class_name: str = Field(
        default="", description="StorageClass of the volumes. Empty: the cluster's default."
    )
    size: Size = Field(
        default="10Gi",
        description="Size of each model's volume; with s3 and oci, of the folder that each pod has. The volume holds "
        "the models and variants of the current spec, of the revision that serves, and of the two specs "
        "before.",
    )
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce",
        description="ReadWriteOnce ties a model's pods to one node. Use ReadWriteMany, or another store, for replicas"
        " on several.",
    )
    s3: S3 | None = Field(default=None, description="The bucket. Only, and required, with store: s3.")
    oci: Oci | None = Field(default=None, description="The registry. Only, and required, with store: oci.")

    @model_validator(mode="after")
    def _store_is_known(self) -> "Artifacts":
        if self.store == "s3" and self.s3 is None:
            raise ValueError("store is s3, so s3.bucket, and s3.secretRef or s3.webIdentity, are required")
        if self.store == "oci" and self.oci is None:
            raise ValueError("store is oci, so oci.repository and oci.secretRef are required")
        for other in ("s3", "oci"):
            if self.store != other and getattr(self, other) is not None:
                raise ValueError(f"{other} is set, and store is {self.store}: set store to {other}, or remove {other}")
        return self

    @property
    def remote(self) -> "S3 | Oci | None":
        """The store that is reached over the network. None if each model has a volume."""
        return {"volume": None, "s3": self.s3, "oci": self.oci}[self.store]

    def bucket(self, namespace: str, name: str, uid: str) -> Bucket | None:
        """Return a model's own part of the bucket. None with another store."""
        if self.store != "s3" or self.s3 is None:
            return None
        prefix = f"{self.s3.prefix}/{namespace}/{name}/{uid}"
        return Bucket(self.s3.bucket, prefix, self.s3.endpoint, self.s3.region)

    def registry(self, namespace: str, name: str, uid: str) -> Repository | None:
        """Return a model's own repository. None with another store."""
        if self.store != "oci" or self.oci is None:
            return None
        return Repository(f"{self.oci.repository}/{namespace}/{name}", uid, self.oci.insecure)


class Resources(_Section):
    """Requests and limits of a container, in Kubernetes quantities."""

    requests: dict[str, Quantity] = Field(default_factory=dict, description="Requests, in Kubernetes quantities.")
    limits: dict[str, Quantity] = Field(
        default_factory=dict,
        description="Limits. The CPU limit sets the number of threads of ONNX Runtime: use whole cores.",
    )

    @model_validator(mode="after")
    def _requests_are_within_limits(self) -> "Resources":
        for name, limit in self.limits.items():
            request = self.requests.get(name)
            if request is not None and quantity.parse(request) > quantity.parse(limit):
                raise ValueError(f"the request {name}: {request} exceeds the limit {limit}")
        return self


class Jobs(_Section):
    """Bounds of the Jobs of the stages.

    A stage that runs as the server (contract.stages) has the server's resources instead of `resources`.
    """

    backoff_limit: int = Field(
        default=30,
        ge=0,
        le=100,
        description="Attempts before a stage gives up: 10 seconds to 10 minutes apart, so 30 attempts take about 4 "
        "hours.",
    )
    attempt_seconds: int = Field(default=3600, ge=10, le=7 * 86400, description="Time limit of one attempt.")
    keep_succeeded_seconds: int = Field(
        default=3600,
        ge=0,
        le=365 * 86400,
        description="How long a succeeded Job and its pods are kept for their logs after the result is in the status."
        " A failed Job is kept as long as its failure is current.",
    )
    resources: Resources = Field(
        default=Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "2Gi"}),
        description="Resources of fetch, validate, loadtest and probe. Optimize and benchmark get the server's "
        "resources.",
    )


class Defaults(_Section):
    """Values for fields that a model leaves out."""

    pool: str = Field(default="default", description="The pool of models that name none.")
    resources: Resources = Field(
        default=Resources(requests={"cpu": "500m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "2Gi"}),
        description="Requests and limits of models that set none.",
    )


_Scheme = Literal[SCHEMES]  # type: ignore[valid-type]


class Sources(_Section):
    """Allowed locations of models."""

    schemes: tuple[_Scheme, ...] = Field(default=(), description="URI schemes that models may use. Empty: all.")
    hosts: tuple[Text, ...] = Field(
        default=(),
        description="Hosts that a fetch may contact, redirects included. *.example.com matches every name below the "
        "domain. Empty: all.",
    )
    private_networks: StrictBool = Field(
        default=True,
        description="Whether a fetch may contact private addresses, such as the cluster's own object stores. "
        "Loopback, link-local and metadata addresses are always refused, unless networks lists them.",
    )
    networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="CIDR ranges that a fetch may contact in any case."
    )


class Requirement(_Section):
    """Fields that models of some namespaces must set."""

    namespaces: tuple[Text, ...] = Field(min_length=1, description="Shell patterns of namespaces.")
    pin: StrictBool = Field(default=False, description="Whether their models must set source.sha256.")
    signature: StrictBool = Field(default=False, description="Whether their models must set source.signature.")


class Policy(_Section):
    """Limits that the platform sets to models."""

    max_model_bytes: int = Field(
        default=16 << 30, ge=1, description="Maximum size of a model with its external data, unpacked."
    )
    sources: Sources = Field(default=Sources(), description="Where models may come from.")
    require: tuple[Requirement, ...] = Field(default=(), description="Requirements for models in some namespaces.")
    operator_domains: tuple[Text, ...] = Field(
        default=(), description="Allowed operator domains, in addition to ONNX's and ONNX Runtime's."
    )
    min_opset: int = Field(
        default=1,
        ge=1,
        le=100,
        description="The lowest opset that validation.opset.min may accept, and that a model may have in any mode.",
    )
    max_nodes: int = Field(
        default=200_000,
        ge=1,
        le=10_000_000,
        description="Maximum number of nodes of a model, with its functions inlined.",
    )
    max_nesting: int = Field(default=32, ge=1, le=32, description="Maximum nesting depth of subgraphs.")


class Parent(_Section):
    """A Gateway that routes of models attach to."""

    name: Annotated[str, StringConstraints(max_length=253, pattern=OBJECT)] = Field(description="Name of the Gateway.")
    namespace: Annotated[str, StringConstraints(pattern=NAMESPACE)] = Field(description="Its namespace.")
    section_name: Annotated[str, StringConstraints(max_length=253, pattern=SECTION)] = Field(
        default="", description="One of its listeners. Empty: all that fit."
    )


class Routes(_Section):
    """Routes of Gateway API for every model that serves: HTTP at NAME.NAMESPACE.DOMAIN, gRPC at NAME.NAMESPACE.grpc.DOMAIN."""

    parent_refs: Annotated[tuple[Parent, ...], Field(min_length=1, max_length=8)] = Field(
        description="The Gateways that the routes attach to."
    )
    domain: Annotated[str, StringConstraints(max_length=120, pattern=DOMAIN)] = Field(
        description="HTTP is at NAME.NAMESPACE.DOMAIN, gRPC at NAME.NAMESPACE.grpc.DOMAIN."
    )


Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


class MaintenanceWindow(_Section):
    """A span of time in UTC."""

    days: tuple[Day, ...] = Field(default=(), description="Days on which it begins. Empty: every day.")
    start: Text = Field(default="02:00", description="HH:MM in UTC, in quotes.")
    hours: int = Field(default=4, ge=1, le=24, description="Its duration.")

    @field_validator("start")
    @classmethod
    def _is_a_time(cls, start: str) -> str:
        if not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", start):
            raise ValueError("expected a time of day such as 02:00, in quotes")
        return start


class Upgrades(_Section):
    """Rules for the move of proven models to newer runtime images."""

    policy: Literal["OnChange", "Window", "Immediate"] = Field(
        default="OnChange",
        description="OnChange: with the next change of their spec. Window: in the maintenance window. Immediate: at "
        "once.",
    )
    window: MaintenanceWindow = Field(
        default=MaintenanceWindow(), description="The maintenance window. What began in it ends after it."
    )
    max_concurrent: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="Models that move at a time, for Window and Immediate. One that is Stalled with a newer image "
        "keeps its place.",
    )


class LiveTraffic(_Section):
    """Use of the servers' own metrics, which the operator reads from each server's pod on port 8002."""

    read: StrictBool = Field(
        default=True,
        description="Whether the operator reads the servers' own metrics, on port 8002 of their pods. Without, "
        "nothing follows from live traffic.",
    )
    slower_factor: float = Field(
        default=2.0,
        gt=1,
        le=100,
        description="A model is Degraded when executions take so many times as long as its load test proved.",
    )


class Prometheus(_Section):
    """The Prometheus that has the metrics of the models' servers (docs/scaling.md), or what answers as one."""

    address: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=ENDPOINT)] = Field(
        description="Its URL, without /api/v1."
    )
    window: Annotated[str, StringConstraints(pattern=SPAN)] = Field(
        default="2m", description="Window of the rates that KEDA asks for: at least four scrape intervals."
    )

    @field_validator("address")
    @classmethod
    def _is_a_base(cls, address: str) -> str:
        """Its paths are added to it, and every ScaledObject shows it."""
        parts = urlsplit(address)
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("expected a URL without user, password, query and fragment")
        if "/api/v1" in parts.path:
            raise ValueError("expected the URL without /api/v1, which is added")
        return address


class Autoscalers(_Section):
    """The autoscaler of models with serving.autoscaling."""

    backend: Literal["KEDA", "HPA"] = Field(
        description="KEDA, which asks the Prometheus of settings.prometheus, or HPA with a metrics API server."
    )
    polling_interval_seconds: int = Field(default=15, ge=1, le=3600, description="How often KEDA asks.")
    activation_query: Text = Field(
        default="",
        description="PromQL that wakes models with minReplicas 0: above 0 where a model has requests, whether or not "
        "a server runs. $namespace and $model are replaced. Only with KEDA.",
    )

    @field_validator("activation_query")
    @classmethod
    def _has_its_placeholders(cls, query: str) -> str:
        return placeholders.check(query, ("namespace", "model"))

    @model_validator(mode="after")
    def _only_keda_is_woken(self) -> "Autoscalers":
        if self.backend == "HPA" and self.activation_query:
            raise ValueError("backend is HPA, which asks the metrics API: activationQuery is for KEDA")
        return self


class Settings(_Section):
    """All settings of the platform."""

    images: Images = Field(description="Images of the pods of models.")
    pools: dict[str, Pool] = Field(
        default_factory=lambda: {"default": Pool()},
        description="The pools that models name in serving.nodePool, by name (docs/install.md#pools).",
    )
    artifacts: Artifacts = Field(
        default=Artifacts(), description="The place of each model's artifacts (docs/artifacts.md)."
    )
    jobs: Jobs = Field(default=Jobs(), description="Bounds of the Jobs of the stages.")
    defaults: Defaults = Field(default=Defaults(), description="Values for fields that a model leaves out.")
    policy: Policy = Field(default=Policy(), description="Limits that the platform sets to models.")
    upgrades: Upgrades = Field(
        default=Upgrades(),
        description="When proven models move to newer runtime images (docs/install.md#upgrade-and-uninstall).",
    )
    live_traffic: LiveTraffic = Field(
        default=LiveTraffic(), description="Use of the servers' own metrics (docs/live.md)."
    )
    routes: Routes | None = Field(
        default=None,
        description="Routes of Gateway API for every model that serves (docs/install.md#routes). Without it there are"
        " none.",
    )
    autoscaling: Autoscalers | None = Field(
        default=None,
        description="The autoscaler of models with serving.autoscaling (docs/scaling.md#the-platforms-part). Without "
        "it there is none.",
    )
    prometheus: Prometheus | None = Field(
        default=None,
        description="The Prometheus that has the metrics of the models' servers, or what answers as one: KEDA and the"
        " gates of models ask it.",
    )
    progress_deadline_seconds: int = Field(
        default=600, ge=1, description="How long a pod may wait for a node or an image before the model is Stalled."
    )

    @model_validator(mode="after")
    def _default_pool_exists(self) -> "Settings":
        if self.defaults.pool not in self.pools:
            raise ValueError(
                f"defaults.pool is {self.defaults.pool!r}, but the pools are {', '.join(sorted(self.pools))}"
            )
        if self.autoscaling and self.autoscaling.backend == "KEDA" and not self.prometheus:
            raise ValueError("autoscaling.backend is KEDA, so prometheus.address is required")
        if not self.images.runtime_gpu:
            gpu = sorted(name for name, pool in self.pools.items() if GPU_PROVIDERS & set(pool.execution_providers))
            if gpu:
                raise ValueError(f"pools.{gpu[0]} offers a GPU provider, so images.runtimeGpu is required")
        return self


def load(path: Path) -> Settings:
    """Load the settings of a YAML file. Raises SettingsError."""
    try:
        return parse(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{path}: {error}") from error


def parse(data: Any) -> Settings:
    """Parse plain data as Settings. Raises SettingsError."""
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(": ".join(filter(None, pair)) for pair in field_errors(error, Settings))
        ) from error
