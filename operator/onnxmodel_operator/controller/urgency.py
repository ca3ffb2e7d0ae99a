"""Tell what a change of an object means for the work queue."""

from onnxmodel_operator import names
from onnxmodel_operator.observe.objects import Object


def is_a_wish(model: Object) -> bool:
    """Whether a model asks for what its status does not know yet."""
    known = (model.get("status") or {}).get("observedGeneration")
    return "deletionTimestamp" in model["metadata"] or known != model["metadata"]["generation"]


def decides(kind: str, item: Object | None) -> bool:
    """Whether a change of it may be what a next step waits for. item: None where it is gone.

    What a pod comes to, its Job or Deployment tells as well, in a moment; what else it tells (no node, no image) is for
    people.
    """
    if kind == "Job" and item is not None:
        conditions = item.get("status", {}).get("conditions") or ()
        return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
    return kind not in ("Pod", names.KIND)
