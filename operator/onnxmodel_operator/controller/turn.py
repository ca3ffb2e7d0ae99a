"""Define one look at one model, and what it leads to."""

from dataclasses import dataclass

from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.observe import Observed
from onnxmodel_operator.plan.values import Plan
from onnxmodel_operator.render import Manifest


@dataclass(slots=True)
class Turn:
    """One look at one model, and what it leads to.

    error: a defect of the operator, or what the API server refuses. applied: a child was; so there is more to see at once.
    progressed: one was created that was absent, or deleted that nothing needs. To undo what another hand does is no progress.
    deleted: one with pods was, and with them the reason for it; so status comes first.
    news: what was written changed what the cache knows, and was not looked at since. asked: the API server was, so the cache
    alone does not decide.
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
    """Kind and name."""
    return manifest["kind"], manifest["metadata"]["name"]
