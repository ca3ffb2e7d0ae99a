"""The active revision, which serves while another one is proven."""

import contextlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan import digests
from onnxmodel_operator.plan.values import RECREATE, Kept
from onnxmodel_operator.platform.settings import Settings


def active_revision(seen: Observed) -> str | None:
    """Return the revision that was proven last if it exists or can be restored, else the one that the Service selects.

    A model's first revision takes traffic unproven: it counts only if the status was lost.
    """
    memory = seen.memory
    if memory.active and exists(seen, memory.active.revision):
        return memory.active.revision
    unproven = bool(memory.stages) and not memory.proven
    return seen.routed if not unproven and exists(seen, seen.routed) else None


def kept(
    model: Resource, seen: Observed, active: str | None, *, makes_room: bool = False, least: int = 0
) -> Kept | None:
    """Return the active revision with the replicas of the newest spec: scaling a proven revision needs no proof.

    makes_room: with none, as long as another one needs its place. least: with so many at least.
    """
    record = seen.records.get(active or "")
    if record is None:
        return None
    replicas = model.replicas if model.replicas is not None else _as_before(seen, active)
    return Kept(record, 0 if makes_room else max(replicas, least))


def _as_before(seen: Observed, active: str | None) -> int:
    """The replicas where the spec cannot say them. One that made room has those of the revision that it made room for."""
    serving = seen.revisions.get(active or "")
    if seen.memory.rollout.strategy == RECREATE:
        return max([1, *(revision.wanted for revision in seen.revisions.values())])
    return serving.wanted if serving else 1


def recorded(seen: Observed, revision: str, settings: Settings) -> Mapping[str, Any] | None:
    """Return the Deployment of a revision as its record holds it. None if there is none of these settings.

    A newer operator may render another pod from the same request. That alone must restart no server.
    """
    made_with = seen.made_with.get(revision)
    return seen.records.get(revision) if made_with in (None, digests.of_pod_settings(settings)) else None


def exists(seen: Observed, revision: str | None) -> bool:
    """Return whether the revision has a Deployment, or a record to restore it from."""
    return revision in seen.revisions or revision in seen.records


def serve_request(seen: Observed, revision: str) -> Mapping[str, Any]:
    """Return the request of a revision's server, for either runtime. Empty where it cannot be read."""
    record, deployment = seen.records.get(revision), seen.revisions.get(revision)
    item = record or (seen.live.get(("Deployment", deployment.name)) if deployment else None)
    return _request(tuple(arguments(item))) if item else {}


@lru_cache(maxsize=4096)
def _request(arguments: tuple[str, ...]) -> Mapping[str, Any]:
    """The request among these arguments. Read in every turn of a model that serves, and parsed once."""
    for argument in arguments:
        with contextlib.suppress(ValueError):
            request = json.loads(argument)
            if isinstance(request, dict):
                return dict(request.get("serve", request))
    return {}


def arguments(item: Mapping[str, Any]) -> list[str]:
    """Return the arguments of all containers of a Deployment, or of the one that a ControllerRevision holds."""
    pod = item.get("data", item)["spec"]["template"]["spec"]
    containers = (*pod.get("initContainers", ()), *pod["containers"])
    return [argument for container in containers for argument in container.get("args", ())]
