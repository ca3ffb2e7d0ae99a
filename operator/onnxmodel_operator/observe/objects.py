"""Read metadata of Kubernetes objects: labels, owners, deletion and times."""

from collections.abc import Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]


def label(item: Object, key: str) -> str:
    """Return the label's value. "" if the object lacks it."""
    value: str = item["metadata"].get("labels", {}).get(key, "")
    return value


def annotation(item: Object, key: str) -> str:
    """Return the annotation's value. "" if the object lacks it."""
    value: str = item["metadata"].get("annotations", {}).get(key, "")
    return value


def by_label(items: Iterable[Object], key: str) -> dict[str, list[Object]]:
    """Group objects by a label's value."""
    out: dict[str, list[Object]] = {}
    for item in items:
        out.setdefault(label(item, key), []).append(item)
    return out


def by_owner(items: Iterable[Object]) -> dict[str, list[Object]]:
    """Group objects by their owner's uid. A Job that was created again has the old one's name, but none of its pods."""
    out: dict[str, list[Object]] = {}
    for item in items:
        for owner in item["metadata"].get("ownerReferences", ()):
            out.setdefault(owner["uid"], []).append(item)
    return out


def is_owned(item: Object, uid: str) -> bool:
    """Return whether the object with this uid owns the item."""
    return any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))


def is_deleting(item: Object) -> bool:
    """Return whether the item's deletion has begun."""
    return "deletionTimestamp" in item["metadata"]


def container_statuses(pod: Object) -> tuple[Object, ...]:
    """Return the status of each container, init containers first."""
    status = pod.get("status", {})
    return (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
