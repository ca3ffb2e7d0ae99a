"""Resolution of a spec into terms of this platform: a pool, images, providers, threads and resources. Pure."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from onnxmodel_operator import quantity
from onnxmodel_operator.api.resource import OnnxModel, SpecError
from onnxmodel_operator.api.spec import OnnxModelSpec
from onnxmodel_operator.memo import Named
from onnxmodel_operator.platform.pods import Traits, traits
from onnxmodel_operator.platform.policy import PolicyError, violations
from onnxmodel_operator.platform.settings import Pool, Resources, Settings
from onnxmodel_runtime.contract.providers import GPU_PROVIDERS, Providers


@dataclass(frozen=True, slots=True)
class Placement:
    """Image, pool, resources and GPUs of a pod, and what else the pool and the model say of it."""

    image: str
    pool: Pool
    resources: Resources
    gpus: int
    traits: Traits = field(default_factory=Traits)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Providers and placements of a model on this platform.

    server: of its pods, and of what must run as they do. client: of a Job that only asks a server, near it and without
    what the server needs. validator: of the Job that validates, which needs no GPU. triton: the image of Triton where
    that serves, else "".
    """

    providers: Providers
    server: Placement
    client: Placement
    validator: Placement
    triton: str = ""


def resolve(model: OnnxModel, settings: Settings) -> Resolved:
    """Resolve the model's spec on this platform. Raises SpecError, and PolicyError for what the platform forbids."""
    if forbidden := violations(model, settings.policy):
        raise PolicyError(forbidden)
    return _resolved(Named(model.uid, (model.spec, settings)))


@lru_cache(maxsize=1024)
def _resolved(of: Named[tuple[OnnxModelSpec, Settings]]) -> Resolved:
    """Remembered: a spec and the settings seldom change, and digests are compared with what is made here."""
    spec, settings = of.parts
    serving = spec.serving
    _check_claims(spec)
    if spec.retain and settings.artifacts.remote is None:
        raise SpecError(
            [("spec.retain", "the platform keeps artifacts on volumes: the reclaim policy of a StorageClass decides")]
        )
    _check_autoscaling(spec, settings)
    if spec.rollout.gates.prometheus and not settings.prometheus:
        why = "the platform has no Prometheus: set settings.prometheus.address in the chart's values"
        raise SpecError([("spec.rollout.gates.prometheus", why)])
    name, pool = _pool(spec, settings)
    chosen = tuple(serving.execution_providers or pool.execution_providers)
    if refused := [each for each in chosen if each not in pool.execution_providers and each != "CPU"]:
        why = "has no GPUs" if not pool.has_gpus else f"offers {', '.join(pool.execution_providers)}"
        raise SpecError([("spec.serving.executionProviders", f"{refused[0]} is not available: pool {name!r} {why}")])
    needs_gpu = chosen[0] in GPU_PROVIDERS
    gpus = serving.gpus if serving.gpus is not None else int(needs_gpu)
    if gpus and not pool.has_gpus:
        raise SpecError([("spec.serving.gpus", f"pool {name!r} has no GPUs")])
    if needs_gpu and not gpus:
        raise SpecError([("spec.serving.gpus", f"{chosen[0]} needs at least 1 GPU")])
    resources = _resources(spec, settings)
    options = _options(spec, chosen)
    threads = _threads(resources, serving.instances)
    if serving.runtime == "triton" and not settings.images.triton:
        raise SpecError(
            [
                (
                    "spec.serving.runtime",
                    "the platform has no Triton image: set runtimeImages.triton in the chart's values",
                )
            ]
        )
    image = settings.images.runtime_gpu if pool.has_gpus and needs_gpu else settings.images.runtime_cpu
    server = Placement(image, pool, resources, gpus, traits(pool, serving.pod))
    client = replace(server, resources=settings.jobs.resources, gpus=0)
    return Resolved(
        providers=Providers(names=chosen, fallback=serving.fallback, options=options, threads=threads),
        server=server,
        client=client,
        validator=replace(client, image=settings.images.runtime_cpu),
        triton=settings.images.triton if serving.runtime == "triton" else "",
    )


def _check_claims(spec: OnnxModelSpec) -> None:
    """A pod mounts one claim to read from."""
    claims = spec.claims()
    if len(claims) > 1:
        *_, field = claims.values()
        raise SpecError(
            [(field, f"a model can be read from one PersistentVolumeClaim only, but {' and '.join(claims)} are named")]
        )


def _check_autoscaling(spec: OnnxModelSpec, settings: Settings) -> None:
    """Require an autoscaler of the platform for a model that asks for one."""
    asked, offered, where = spec.serving.autoscaling, settings.autoscaling, "spec.serving.autoscaling"
    if asked is None:
        return
    if offered is None:
        why = (
            "the platform has no autoscaler: set settings.autoscaling in the chart's values, or serving.replicas alone"
        )
        raise SpecError([(where, why)])
    if asked.min_replicas == 0 and not offered.activation_query:
        why = (
            "0 needs the backend KEDA with settings.autoscaling.activationQuery in the chart's values: at zero no server "
            "counts requests"
        )
        raise SpecError([(f"{where}.minReplicas", why)])


def _pool(spec: OnnxModelSpec, settings: Settings) -> tuple[str, Pool]:
    name = spec.serving.node_pool or settings.defaults.pool
    if name not in settings.pools:
        known = ", ".join(sorted(settings.pools))
        raise SpecError([("spec.serving.nodePool", f"there is no pool {name!r}; the platform's pools are: {known}")])
    return name, settings.pools[name]


def _resources(spec: OnnxModelSpec, settings: Settings) -> Resources:
    given, default = spec.serving.resources, settings.defaults.resources
    if given is None:
        return default
    limits = given.limits if given.limits is not None else default.limits
    # Limits alone: Kubernetes itself asks for as much then, and a default of ours might be more than the limit.
    requests = given.requests if given.requests is not None else {} if given.limits is not None else default.requests
    for name, limit in limits.items():
        request = requests.get(name)
        if request is not None and quantity.parse(request) > quantity.parse(limit):
            where = f"spec.serving.resources.requests.{name}"
            raise SpecError([(where, f"the request {request} exceeds the limit {limit}")])
    return Resources(requests=requests, limits=limits)


def _options(spec: OnnxModelSpec, chosen: tuple[str, ...]) -> dict[str, dict[str, str]]:
    options = spec.serving.provider_options
    given = options.model_dump(by_alias=True, exclude_none=True) if options else {}
    if unused := [name for name in given if name not in chosen]:
        raise SpecError(
            [(f"spec.serving.providerOptions.{unused[0]}", f"{unused[0]} is not one of {', '.join(chosen)}")]
        )
    return given


def _threads(resources: Resources, instances: int) -> int:
    """An instance's share of the whole cores that the container may use.

    ONNX Runtime itself would count the node's cores for every instance, and be throttled.
    """
    cpu = resources.limits.get("cpu") or resources.requests.get("cpu") or "1"
    return max(1, int(quantity.parse(cpu)) // instances)
