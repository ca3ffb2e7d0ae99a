"""Rate the urgency of a changed object for the work queue."""

from onnxmodel_operator import names
from onnxmodel_operator.observe.objects import Object


def is_a_wish(model: Object) -> bool:
    """Return whether a model is being deleted, or has a spec that its status does not cover yet."""
    known = (model.get("status") or {}).get("observedGeneration")
    return "deletionTimestamp" in model["metadata"] or known != model["metadata"]["generation"]


def decides(kind: str, item: Object | None) -> bool:
    """Return whether a next step may be waiting for this change. item: None if the object is gone.

    The Job or Deployment soon reports the outcome of a pod. The other changes of a pod (no node, no image) only change
    messages.
    """
    if kind == "Job" and item is not None:
        conditions = item.get("status", {}).get("conditions") or ()
        return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
    return kind not in ("Pod", names.KIND)
