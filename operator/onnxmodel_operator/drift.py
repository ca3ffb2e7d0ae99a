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


def _contains(live: Any, desired: Any) -> bool:
    """Every desired value is in live. Empty maps and lists are: the API server does not store them."""
    match desired:
        case Mapping():
            live = live or {}
            return isinstance(live, Mapping) and all(_contains(live.get(k), v) for k, v in desired.items())
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
