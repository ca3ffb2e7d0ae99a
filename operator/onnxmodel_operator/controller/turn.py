"""Define one look at one model, and what it leads to."""

from dataclasses import dataclass

from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan.values import Plan
from onnxmodel_operator.render import Manifest


@dataclass(slots=True)
class Turn:
    """One look at one model, and what follows from it.

    error: a defect of the operator, or a refusal by the API server. applied: a child was applied, so there is more to
    see at once. progressed: a missing child was created, or one that nothing needs was deleted; undoing a change of
    somebody else is no progress. deleted: a child with pods was deleted, and with them the reason, so status is written
    first. news: a write changed what the cache knows, and nobody has looked since. asked: the API server was asked, so
    the turn depends on more than the cache.
    """

    resource: Resource
    seen: Observed
    decided: Plan
    manifests: tuple[Manifest, ...] = ()
    error: Exception | None = None
    applied: bool = False
    progressed: bool = False
    deleted: bool = False
    news: bool = False
    asked: bool = False


def child_of(manifest: Manifest) -> tuple[str, str]:
    """The kind and name of the manifest's object."""
    return manifest["kind"], manifest["metadata"]["name"]
