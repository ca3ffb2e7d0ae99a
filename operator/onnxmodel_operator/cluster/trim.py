"""Projection of objects onto the fields that something reads. The cache ignores a change of any other field.

To read another field, add it here, and a case that reads it to tests/unit/operator/cluster/test_trim.py, which fails
otherwise.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from onnxmodel_operator import names
from onnxmodel_operator.cluster.kinds import (
    AUTOSCALER,
    BUDGET,
    CLAIM,
    DEPLOYMENT,
    JOB,
    MODEL,
    POD,
    RECORD,
    ROUTES,
    SCALED_OBJECT,
    SERVICE,
    Kind,
)
from onnxmodel_operator.observe.objects import Object

_Fields = Mapping[str, Any]
"""The fields of an object, and of each of a list of objects. {} keeps all that is below a field."""

_ALL: _Fields = {}
_IDENTITY: _Fields = {
    "name": _ALL,
    "namespace": _ALL,
    "uid": _ALL,
    "resourceVersion": _ALL,
    "deletionTimestamp": _ALL,
}
_CHILD: _Fields = {**_IDENTITY, "labels": _ALL, "annotations": _ALL, "ownerReferences": {"uid": _ALL}}
_COMPARED: _Fields = {**_CHILD, "ownerReferences": _ALL}  # with what is desired, field by field
_CONDITIONS: _Fields = {"type": _ALL, "status": _ALL, "reason": _ALL, "message": _ALL, "lastTransitionTime": _ALL}
_TOLD: _Fields = {name: fields for name, fields in _CONDITIONS.items() if name != "lastTransitionTime"}
_CONTAINER: _Fields = {"name": _ALL, "resources": {"limits": {"memory": _ALL}}}
_ENDED: _Fields = {"exitCode": _ALL, "reason": _ALL, "message": _ALL, "finishedAt": _ALL}
_CONTAINER_STATUS: _Fields = {
    "name": _ALL,
    "image": _ALL,
    "ready": _ALL,
    "started": _ALL,
    "state": {"waiting": _ALL, "running": _ALL, "terminated": _ENDED},
    "lastState": {"terminated": _ENDED},
}
_ORDERS: _Fields = dict.fromkeys((names.PROMOTE, names.ABORT, names.RETRY, names.PAUSE, names.MEASURE), _ALL)
_ROUTE: _Fields = {
    "kind": _ALL,
    "metadata": {**_COMPARED, "creationTimestamp": _ALL, "managedFields": {"manager": _ALL, "time": _ALL}},
    "spec": _ALL,
    "status": {
        "parents": {
            "parentRef": {"name": _ALL, "namespace": _ALL, "sectionName": _ALL},
            "conditions": {"type": _ALL, "status": _ALL, "reason": _ALL, "message": _ALL},
        }
    },
}
KEPT: Mapping[str, _Fields] = {
    MODEL.name: {"metadata": {**_IDENTITY, "generation": _ALL, "annotations": _ORDERS}, "spec": _ALL, "status": _ALL},
    JOB.name: {
        "metadata": {**_CHILD, "creationTimestamp": _ALL},
        "spec": {"suspend": _ALL},
        "status": {"startTime": _ALL, "completionTime": _ALL, "failed": _ALL, "conditions": _CONDITIONS},
    },
    POD.name: {
        "metadata": {
            **_IDENTITY,
            "creationTimestamp": _ALL,
            "labels": _ALL,
            "ownerReferences": {"uid": _ALL},
        },
        "spec": {
            "nodeName": _ALL,
            "affinity": {
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"labelSelector": _ALL}}
            },
            "resourceClaims": {"resourceClaimTemplateName": _ALL},
            "initContainers": _CONTAINER,
            "containers": _CONTAINER,
        },
        "status": {
            "phase": _ALL,
            "reason": _ALL,
            "message": _ALL,
            "startTime": _ALL,
            "podIP": _ALL,
            "conditions": _CONDITIONS,
            "initContainerStatuses": _CONTAINER_STATUS,
            "containerStatuses": _CONTAINER_STATUS,
        },
    },
    DEPLOYMENT.name: {
        "metadata": {**_COMPARED, "generation": _ALL, "creationTimestamp": _ALL},
        "spec": _ALL,
        "status": {
            "observedGeneration": _ALL,
            "replicas": _ALL,
            "updatedReplicas": _ALL,
            "readyReplicas": _ALL,
            "availableReplicas": _ALL,
            "conditions": _CONDITIONS,
        },
    },
    SERVICE.name: {"metadata": _COMPARED, "spec": _ALL},
    CLAIM.name: {"metadata": _CHILD, "status": {"phase": _ALL}},
    RECORD.name: {"metadata": _CHILD, "data": _ALL},
    BUDGET.name: {"metadata": _COMPARED, "spec": _ALL},
    **dict.fromkeys((kind.name for kind in ROUTES), _ROUTE),
    SCALED_OBJECT.name: {"metadata": _COMPARED, "spec": _ALL, "status": {"conditions": _TOLD}},
    AUTOSCALER.name: {"metadata": _COMPARED, "spec": _ALL, "status": {"conditions": _TOLD}},
}


def trim(kind: Kind, item: Object) -> Object:
    """Return the object without the fields that nothing reads."""
    kept: Object = _trimmed(KEPT[kind.name], item, lambda value: value)
    return kept


def share(kind: Kind, item: Object) -> Object:
    """Return an equal object that shares its parts with other objects where they are equal. Do not modify it."""
    kept: Object = _trimmed(KEPT[kind.name], item, _shared)
    return kept


def _trimmed(fields: _Fields, value: Any, whole: Callable[[Any], Any]) -> Any:
    if not fields:
        return whole(value)
    if isinstance(value, list | tuple):
        return [_trimmed(fields, item, whole) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {name: _trimmed(below, value[name], whole) for name, below in fields.items() if name in value}


_LONG = 64
_PARTS = 4096
_parts: OrderedDict[tuple[Any, ...], Any] = OrderedDict()


def _shared(value: Any) -> Any:
    """An equal value, of parts that were seen lately. Most of a pod template is the same for all models.

    A part is known by the identities of what it holds, which it keeps alive.
    """
    kind = type(value)
    if kind is str:
        return _text(value) if len(value) <= _LONG else value
    if kind is dict:
        value = {_text(name): _shared(item) for name, item in value.items()}
        known: tuple[Any, ...] = (kind, *value, *map(id, value.values()))
    elif kind is list:
        value = [_shared(item) for item in value]
        known = (kind, *map(id, value))
    else:
        return value
    if (part := _parts.get(known)) is not None:
        _parts.move_to_end(known)
        return part
    _parts[known] = value
    if len(_parts) > _PARTS:
        _parts.popitem(last=False)
    return value


@lru_cache(maxsize=8192)
def _text(text: str) -> str:
    return text
