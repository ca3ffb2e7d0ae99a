"""Digests of stages, revisions and fetched files. The contract declares which fields of a request they cover."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.memo import Named
from onnxmodel_operator.plan.values import Ask
from onnxmodel_operator.platform.resolve import Placement
from onnxmodel_operator.platform.settings import Oci, Settings
from onnxmodel_runtime.contract.fetch import FetchRequest
from onnxmodel_runtime.contract.identity import identity_of
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import Request, Stage


def of_stage(place: str | None, stage: Stage, ask: Ask, placement: Placement) -> str:
    """Return the digest of a stage and the placement of its Job. When it changes, the stage runs again."""
    inputs = _Inputs(place, stage, ask.request, ask.covers or placement, ask.fetch, ask.depends_on, order=ask.order)
    return _digest(inputs)


def of_revision(place: str | None, request: ServeRequest, placement: Placement, triton: str) -> str:
    """Return the digest of a revision. When it changes, its pods are replaced."""
    return _digest(_Inputs(place, "", request, placement, triton=triton))


def of_pod_settings(settings: Settings) -> str:
    """Return the short digest of the settings that affect a server's Deployment and not what it serves.

    A change of them renders the Deployment of a revision anew. Nothing else does, in particular no newer operator.
    """
    images, artifacts = settings.images, settings.artifacts
    covered: list[Any] = [images.pull_policy, list(images.pull_secrets), settings.progress_deadline_seconds]
    if remote := artifacts.remote:  # what of a store the digest of a revision does not cover
        cache, secret = remote.node_cache, remote.secret_ref
        way = remote.insecure if isinstance(remote, Oci) else remote.region
        identity = None if isinstance(remote, Oci) else remote.web_identity
        access: Any = identity.data if identity else secret and secret.name
        covered.append([access, way, artifacts.size])
        covered += [[cache.path, cache.size]] if cache else []
        covered += ["image volumes"] if isinstance(remote, Oci) and remote.image_volumes else []
    return names.short(names.digest(covered))


def of_source(fetch: FetchRequest, secret: str, env: Mapping[str, str]) -> str:
    """Return the digest of a fetch, which names its folder. secret: the name of the Secret with its credentials.

    env: the model's variables, which may name another store. Neither the account, which says who asks and not for
    what, nor what the platform sets for all models of a pool: that must not fetch and validate all of them again.
    """
    return _source(Named(fetch.uri, (fetch, secret, dict(env))))


@lru_cache(maxsize=1024)
def _source(of: Named[tuple[FetchRequest, str, dict[str, str]]]) -> str:
    fetch, secret, env = of.parts
    return names.digest([identity_of(fetch), secret, *([env] if env else [])])


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The inputs of a digest. place: of the artifacts. stage: "" for a revision.

    Python's 1 is equal to 1.0 and to True, and JSON's is not. That does no harm where each field has one type of
    number: `api.spec` and `contract` read 1 as 1.0 where a field is a float, and refuse True.
    """

    place: str | None
    stage: str
    request: Request
    placement: Placement
    fetch: FetchRequest | None = None
    depends_on: str = ""
    triton: str = ""
    order: str = ""

    def __hash__(self) -> int:
        return hash((self.place, self.stage))


@lru_cache(maxsize=1024)
def _digest(inputs: _Inputs) -> str:
    """Remembered: each turn of a model asks for the digest of everything that it is made from."""
    covered = {
        "request": identity_of(inputs.request),
        "placement": _plain(inputs.placement),
        "claim": inputs.place,
    }
    if inputs.stage:
        # Its folder too, which says with which Secret it is fetched.
        fetch = {**identity_of(inputs.fetch), "directory": inputs.fetch.directory} if inputs.fetch else None
        covered |= {"stage": inputs.stage, "fetch": fetch, "dependsOn": inputs.depends_on}
    elif pod := _pod(inputs.placement):
        covered["pod"] = pod
    if inputs.triton:
        covered["triton"] = inputs.triton
    if inputs.order:
        covered["order"] = inputs.order
    return names.digest(covered)


_OF_PODS = {
    "source",
    "labels",
    "annotations",
    "service_account_name",
    "image_pull_secrets",
    "topology_spread_constraints",
}
"""Fields of a pool that say how its pods are dressed, and nothing of where they run: no stage gives another result for them."""
_IF_SET = {"resource_claim_template_name"}
"""Fields that came later, and are not in the digests of pools without them."""


def _pod(placement: Placement) -> dict[str, Any]:
    """The rest of a server's pods, besides their place. Empty where nothing was said.

    A new revision is proven with it before it takes traffic: an account or an injected sidecar may break a server. The
    labels of a queue are on Jobs alone.
    """
    said = asdict(placement.traits)
    return {name: value for name, value in said.items() if value and name != "queue"}


def _plain(placement: Placement) -> dict[str, Any]:
    return {
        "image": placement.image,
        "pool": {
            name: value
            for name, value in placement.pool.data.items()
            if name not in _OF_PODS and (value or name not in _IF_SET)
        },
        "resources": placement.resources.data,
        "gpus": placement.gpus,
    }
