"""Protection of what serves from being evicted all at once."""

from onnxmodel_operator.api.resource import Resource
from onnxmodel_operator.plan.values import Traffic

_LEAST = 2


def protected(model: Resource, traffic: Traffic) -> tuple[str, ...]:
    """Return the revisions whose pods leave one by one when nodes are drained: those that take traffic.

    Not a revision that is being proven: as long as its pods are not ready, none of those that serve could leave.
    """
    return tuple(revision for revision, share in traffic if share) if (model.replicas or 0) >= _LEAST else ()
