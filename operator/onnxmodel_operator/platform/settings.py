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

    runtime_cpu: Text
    runtime_gpu: Text = ""
    triton: Text = ""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[Text, ...] = ()


class PoolSource(_Section):
    """Account and variables of the pods that fetch the pool's models, as in a model's source, which wins."""

    service_account_name: str = ""
    env: dict[FetchVariable, str] = Field(default_factory=dict)


class Pool(_Section):
    """A node pool that models name in `serving.nodePool`.

    gpu_resource: the extended resource of its GPUs, or "". resource_claim_template_name: in the model's namespace, of
    which each GPU of a pod is a claim, where a driver of dynamic resource allocation hands them out.

    execution_providers: all that a model may name, and the ones of a model that names none. labels to
    topology_spread_constraints: as in a model's serving.pod, which wins.
    """

    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = Field(default_factory=dict)
    runtime_class_name: str = ""
    priority_class_name: str = ""
    gpu_resource: str = ""
    resource_claim_template_name: str = ""
    execution_providers: tuple[Provider, ...] = Field(default=("CPU",), min_length=1)
    labels: Labels = Field(default_factory=dict)
    annotations: Annotations = Field(default_factory=dict)
    service_account_name: str = ""
    image_pull_secrets: tuple[SecretReference, ...] = ()
    topology_spread_constraints: tuple[TopologySpread, ...] = ()
    source: PoolSource = PoolSource()

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
    """A folder of each node, where pods of any model leave what they brought from the bucket for the pods to come.

    path: it must belong to user 10001, and namespaces of models must admit hostPath volumes. size: of all files together.
    """

    path: Annotated[str, StringConstraints(max_length=1024, pattern=FOLDER)]
    size: Size = "20Gi"


class AuthorityReference(_Section):
    """A ConfigMap in each model's namespace, and its key with certificate authorities in PEM."""

    name: Annotated[str, StringConstraints(max_length=253, pattern=OBJECT)]
    key: Annotated[str, StringConstraints(max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "ca.crt"


_AWS = "sts.amazonaws.com"


def _is_of_aws(host: str) -> bool:
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


class WebIdentity(_Section):
    """A role of the store that a pod takes with a token of its own account, instead of keys.

    role_arn: $namespace is replaced by the pod's. audience: of the token. endpoint: URL of the token service (STS); "" for
    the store's own, which is AWS's where the store is. ca_config_map_ref: what both are trusted by besides the usual.
    """

    role_arn: Annotated[str, StringConstraints(pattern=ROLE)]
    audience: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = _AWS
    endpoint: Annotated[str, StringConstraints(max_length=1024, pattern=ENDPOINT)] = ""
    ca_config_map_ref: AuthorityReference | None = None

    @field_validator("role_arn")
    @classmethod
    def _knows_its_placeholders(cls, role_arn: str) -> str:
        return placeholders.check(role_arn, ("namespace",), placeholders.ARN)


class S3(_Section):
    """An S3-compatible bucket for the artifacts of all models.

    prefix: beginning of all keys; below it, each model has NAMESPACE/NAME/UID. endpoint: URL of the store, "" for AWS.
    secret_ref: a Secret in each model's namespace, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or web_identity.
    """

    bucket: Annotated[str, StringConstraints(pattern=BUCKET)]
    secret_ref: SecretReference | None = None
    web_identity: WebIdentity | None = None
    endpoint: Annotated[str, StringConstraints(max_length=1024, pattern=ENDPOINT)] = ""
    region: Annotated[str, StringConstraints(pattern=REGION)] = "us-east-1"
    prefix: Annotated[str, StringConstraints(max_length=200, pattern=PREFIX)] = "onnxmodels"
    node_cache: NodeCache | None = None

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
    """A registry for the artifacts of all models, each in REPOSITORY/NAMESPACE/NAME under tags that begin with its uid.

    repository: as HOST/PATH. secret_ref: a Secret of type kubernetes.io/dockerconfigjson in each model's namespace.
    insecure: the registry is asked by http, with its password. image_volumes: servers mount what they serve as image
    volumes, which every node that serves must have.
    """

    repository: Annotated[str, StringConstraints(max_length=120, pattern=REPOSITORY)]
    secret_ref: SecretReference
    insecure: StrictBool = False
    node_cache: NodeCache | None = None
    image_volumes: StrictBool = False

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
    """The place of each model's artifacts: a volume of its own, a part of a bucket, or a repository of a registry.

    ReadWriteOnce ties a model's pods to one node: use ReadWriteMany, or another store, for several. size: of the volume;
    with s3 and oci, of the folder that each pod has for the artifacts that it needs.
    """

    store: Literal["volume", "s3", "oci"] = "volume"
    storage_class_name: str = ""
    size: Size = "10Gi"
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    s3: S3 | None = None
    oci: Oci | None = None

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

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _requests_are_within_limits(self) -> "Resources":
        for name, limit in self.limits.items():
            request = self.requests.get(name)
            if request is not None and quantity.parse(request) > quantity.parse(limit):
                raise ValueError(f"the request {name}: {request} exceeds the limit {limit}")
        return self


class Jobs(_Section):
    """Bounds of the Jobs of the stages.

    backoff_limit: attempts after which a stage gives up; Kubernetes waits 10 s after the first and at most 10 minutes,
    so 30 attempts are about 4 hours. attempt_seconds: how long one attempt may take. keep_succeeded_seconds: how long a
    Job and its pods stay after their result is in status, for their logs; a Job that failed stays as long as it counts.
    resources: of the fetch and the stages; a stage that runs as the server (contract.stages) has the server's instead.
    """

    backoff_limit: int = Field(default=30, ge=0, le=100)
    attempt_seconds: int = Field(default=3600, ge=10, le=7 * 86400)
    keep_succeeded_seconds: int = Field(default=3600, ge=0, le=365 * 86400)
    resources: Resources = Resources(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "2Gi"})


class Defaults(_Section):
    """Values for fields that a model leaves out."""

    pool: str = "default"
    resources: Resources = Resources(requests={"cpu": "500m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "2Gi"})


class Sources(_Section):
    """Allowed locations of models.

    schemes: of URIs, empty for all. hosts: that a fetch may ask, "*.example.com" for all below a domain, empty for all.
    private_networks: whether addresses of private networks may be asked. networks: CIDR ranges that always may.
    """

    schemes: tuple[Literal[SCHEMES], ...] = ()  # type: ignore[valid-type]
    hosts: tuple[Text, ...] = ()
    private_networks: StrictBool = True
    networks: tuple[IPvAnyNetwork, ...] = ()


class Requirement(_Section):
    """Fields that models of some namespaces must set: source.sha256 (pin) or source.signature (signature).

    namespaces: shell patterns.
    """

    namespaces: tuple[Text, ...] = Field(min_length=1)
    pin: StrictBool = False
    signature: StrictBool = False


class Policy(_Section):
    """Limits that the platform sets to models.

    max_model_bytes: of a model with its external data. operator_domains: allowed beside ONNX's own and ONNX Runtime's.
    min_opset: the oldest that a model may accept and, in any mode, have. max_nodes: of a model with its functions
    written out; max_nesting: of subgraphs within each other.
    """

    max_model_bytes: int = Field(default=16 << 30, ge=1)
    sources: Sources = Sources()
    require: tuple[Requirement, ...] = ()
    operator_domains: tuple[Text, ...] = ()
    min_opset: int = Field(default=1, ge=1, le=100)
    max_nodes: int = Field(default=200_000, ge=1, le=10_000_000)
    max_nesting: int = Field(default=32, ge=1, le=32)


class Parent(_Section):
    """A Gateway that routes of models attach to. section_name: of one of its listeners; "" for all that fit."""

    name: Annotated[str, StringConstraints(max_length=253, pattern=OBJECT)]
    namespace: Annotated[str, StringConstraints(pattern=NAMESPACE)]
    section_name: Annotated[str, StringConstraints(max_length=253, pattern=SECTION)] = ""


class Routes(_Section):
    """Routes of Gateway API for every model that serves: HTTP at NAME.NAMESPACE.DOMAIN, gRPC at NAME.NAMESPACE.grpc.DOMAIN."""

    parent_refs: Annotated[tuple[Parent, ...], Field(min_length=1, max_length=8)]
    domain: Annotated[str, StringConstraints(max_length=120, pattern=DOMAIN)]


Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


class MaintenanceWindow(_Section):
    """A span of time in UTC. days: on which it begins, empty for all. start: HH:MM. hours: its duration."""

    days: tuple[Day, ...] = ()
    start: Text = "02:00"
    hours: int = Field(default=4, ge=1, le=24)

    @field_validator("start")
    @classmethod
    def _is_a_time(cls, start: str) -> str:
        if not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", start):
            raise ValueError("expected a time of day such as 02:00, in quotes")
        return start


class Upgrades(_Section):
    """Rules for the move of proven models to newer runtime images.

    policy: OnChange with the next change of the model's spec, Window in the maintenance window, Immediate at once.
    max_concurrent: models that move at a time, for Window and Immediate.
    """

    policy: Literal["OnChange", "Window", "Immediate"] = "OnChange"
    window: MaintenanceWindow = MaintenanceWindow()
    max_concurrent: int = Field(default=1, ge=1, le=10_000)


class LiveTraffic(_Section):
    """Use of the servers' own metrics, which the operator reads from each server's pod on port 8002.

    read: False where nothing may connect to the pods; then nothing follows from live traffic. slower_factor: a model is
    Degraded when executions take so many times as long as its load test proved.
    """

    read: StrictBool = True
    slower_factor: float = Field(default=2.0, gt=1, le=100)


class Prometheus(_Section):
    """The Prometheus that has the metrics of the models' servers (docs/scaling.md), or what answers as one.

    address: its URL, without /api/v1. window: of the rates that KEDA asks for; at least four scrape intervals are right.
    """

    address: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=ENDPOINT)]
    window: Annotated[str, StringConstraints(pattern=SPAN)] = "2m"

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
    """The autoscaler of models with serving.autoscaling.

    backend: KEDA, which asks the platform's Prometheus, or HPA with a metrics API server. polling_interval_seconds: of
    KEDA. activation_query: PromQL, above 0 where a model has requests, which a model with minReplicas 0 needs: at zero
    no server counts any. $namespace and $model are replaced.
    """

    backend: Literal["KEDA", "HPA"]
    polling_interval_seconds: int = Field(default=15, ge=1, le=3600)
    activation_query: Text = ""

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
    """Everything above. progress_deadline_seconds: how long a pod may wait (for a node, an image) until that is Stalled."""

    images: Images
    pools: dict[str, Pool] = Field(default_factory=lambda: {"default": Pool()})
    artifacts: Artifacts = Artifacts()
    jobs: Jobs = Jobs()
    defaults: Defaults = Defaults()
    policy: Policy = Policy()
    upgrades: Upgrades = Upgrades()
    live_traffic: LiveTraffic = LiveTraffic()
    routes: Routes | None = None
    autoscaling: Autoscalers | None = None
    prometheus: Prometheus | None = None
    progress_deadline_seconds: int = Field(default=600, ge=1)

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
