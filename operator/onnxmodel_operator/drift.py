"""Whether a child must be applied: it is not there, was applied from something else, or was changed by another hand."""

from collections.abc import Mapping
from typing import Any

from onnxmodel_operator import names, quantity


def needs_apply(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """True when applying `desired` would change `live`. Both are whole objects; live has the API server's defaults."""
    if live is None:
        return True
    if desired["kind"] in ("Job", "PersistentVolumeClaim"):
        return False  # all but immutable: their names or the digests that others take of them carry what they are made from
    key = names.ANNOTATION_APPLIED
    if live["metadata"].get("annotations", {}).get(key) != desired["metadata"]["annotations"][key]:
        return True
    return not _contains(live, desired)


def needs_replacement(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """True for a Job that has not succeeded and is made from other settings (a pull secret, a deadline) than today's.

    Its digest is the same, for it would give the same result; and a Job's template cannot be changed.
    """
    if live is None or desired["kind"] != "Job" or "deletionTimestamp" in live["metadata"]:
        return False
    conditions = live.get("status", {}).get("conditions", ())
    if any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
        return False
    key = names.ANNOTATION_APPLIED
    return bool(live["metadata"].get("annotations", {}).get(key) != desired["metadata"]["annotations"][key])


_EXACT = {"selector", "matchLabels", "nodeSelector"}


def _contains(live: Any, desired: Any) -> bool:
    """Every desired value is in live. Empty maps and lists are: the API server does not store them.

    A selector is more than what it contains: another hand's extra label in it selects nothing.
    """
    match desired:
        case Mapping():
            live = live or {}
            if not isinstance(live, Mapping):
                return False
            return all(
                live.get(k) == v if k in _EXACT and isinstance(v, Mapping) and v else _contains(live.get(k), v)
                for k, v in desired.items()
            )
        case list():
            live = live or []
            return len(live) == len(desired) and all(map(_contains, live, desired))
        case _:
            return bool(live == desired) or (live is not None and _same_quantity(live, desired))


def _same_quantity(live: Any, desired: Any) -> bool:
    """ "1000m" is stored as "1"."""
    try:
        return quantity.parse(live) == quantity.parse(desired)
    except ValueError:
        return False
