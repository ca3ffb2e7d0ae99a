"""Tell what a change of an object means for the work queue."""

from onnxmodel_operator import names
from onnxmodel_operator.observe.objects import Object


def is_a_wish(model: Object) -> bool:
    """Whether a model has a spec that its status does not cover yet, or is being deleted."""
    known = (model.get("status") or {}).get("observedGeneration")
    return "deletionTimestamp" in model["metadata"] or known != model["metadata"]["generation"]


def decides(kind: str, item: Object | None) -> bool:
    """Whether a next step may be waiting for this change. item: None if the object is gone.

    The Job or Deployment soon reports what a pod came to; the rest of a pod's changes (no node, no image) is for
    people.
    """
    if kind == "Job" and item is not None:
        conditions = item.get("status", {}).get("conditions") or ()
        return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
    return kind not in ("Pod", names.KIND)
