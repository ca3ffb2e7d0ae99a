"""Read the autoscaler of a model: a ScaledObject of KEDA with the HorizontalPodAutoscaler that it makes, or one of ours."""

from collections.abc import Sequence

from onnxmodel_operator.observe.objects import Object, is_deleting, is_owned
from onnxmodel_operator.observe.values import ScalerSeen, Snapshot

_WORKS = ("Ready", "ScalingActive", "AbleToScale")
"""Conditions that must be True: the first of a ScaledObject, the others of a HorizontalPodAutoscaler."""
_AT_REST = "ScalingDisabled"
"""Reason of a HorizontalPodAutoscaler at zero replicas, where KEDA alone decides."""


def read_scaler(snapshot: Snapshot, uid: str) -> ScalerSeen | None:
    """Return the autoscaler that the model owns. KEDA copies our labels to what it makes, so that is here as well."""
    made = next((item for item in snapshot.scaled_objects if _is_ours(item, uid)), None)
    if made is not None:
        theirs = [item for item in snapshot.autoscalers if is_owned(item, made["metadata"]["uid"])]
        return _read("ScaledObject", made, [made, *theirs])
    own = next((item for item in snapshot.autoscalers if _is_ours(item, uid)), None)
    return _read("HorizontalPodAutoscaler", own, [own]) if own else None


def _is_ours(item: Object, uid: str) -> bool:
    return is_owned(item, uid) and not is_deleting(item)


def _read(kind: str, item: Object, objects: Sequence[Object]) -> ScalerSeen:
    conditions = [
        condition
        for each in objects
        for condition in each.get("status", {}).get("conditions", ())
        if condition["type"] in _WORKS and condition.get("reason") != _AT_REST
    ]
    wrong = next((condition for condition in conditions if condition["status"] == "False"), None)
    trouble = (wrong.get("reason") or wrong["type"], wrong.get("message") or "") if wrong else None
    told = any(condition["status"] in ("True", "False") for condition in conditions)
    return ScalerSeen(kind, item["metadata"]["name"], told, trouble)
