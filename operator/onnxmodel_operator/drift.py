"""Comparison of children with their manifests: a child that is missing, outdated or changed must be applied."""

from collections.abc import Mapping
from typing import Any

from onnxmodel_operator import names, quantity

FIXED = ("Job", "PersistentVolumeClaim", "ControllerRevision")
"""Kinds that are all but immutable: their names, or others' digests of them, carry what they are made from."""

_TYPE = ("apiVersion", "kind")


def needs_apply(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Return whether applying `desired` would change `live`: of the same kind, and with the API server's defaults."""
    if live is None:
        return True
    if desired["kind"] in FIXED:
        return bool(difference(_identifying(desired), live["metadata"].get("labels", {})))
    key = names.ANNOTATION_APPLIED
    if live["metadata"].get("annotations", {}).get(key) != desired["metadata"]["annotations"][key]:
        return True
    return bool(difference({name: desired[name] for name in desired if name not in _TYPE}, live))


def _identifying(desired: Mapping[str, Any]) -> dict[str, str]:
    """The labels by which we select. A queue refuses another label of its own on a Job that it has admitted."""
    labels = desired["metadata"]["labels"]
    return {name: value for name, value in labels.items() if name in names.OWN_LABELS}


def applicable(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the manifest to apply. live: whole, as the API server returned it.

    A live object of an immutable kind keeps its own content, and gains the labels that it lacks. It does not become
    what is desired, so it also keeps the digest of what it was made from.
    """
    if live is None or desired["kind"] not in FIXED:
        return desired
    metadata, key = dict(desired["metadata"]), names.ANNOTATION_APPLIED
    there = live["metadata"].get("labels", {})
    as_they_are = {name: there[name] for name in metadata["labels"] if name in there}
    metadata["labels"] = {**as_they_are, **_identifying(desired)}
    if made_from := live["metadata"].get("annotations", {}).get(key):
        metadata["annotations"] = {**metadata["annotations"], key: made_from}
    content = {field: value for field, value in live.items() if field != "status"}
    return {**content, "apiVersion": desired["apiVersion"], "kind": desired["kind"], "metadata": metadata}


def needs_replacement(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Return whether `live` cannot be changed in place and is made from outdated settings, such as a pull secret.

    That holds for the record of a revision, and for a Job that has not succeeded. Its digest is the same, because it
    would give the same result.
    """
    if live is None or desired["kind"] not in ("Job", "ControllerRevision") or "deletionTimestamp" in live["metadata"]:
        return False
    conditions = live.get("status", {}).get("conditions", ())
    if any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
        return False
    key = names.ANNOTATION_APPLIED
    return bool(live["metadata"].get("annotations", {}).get(key) != desired["metadata"]["annotations"][key])


_EXACT = {"selector", "matchLabels", "nodeSelector"}
_KEYS = ("name", "mountPath", "containerPort", "port", "uid")


def difference(desired: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    """Return the path of the first field whose desired value is not in live. "" if all are."""
    return _difference(live, desired, "")


def fingerprint(desired: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    """Return a digest that changes with the desired manifest and with changes that others made to the object.

    It covers neither status nor fields that cannot change.
    """
    metadata = live["metadata"]
    spec = None if desired["kind"] in FIXED else live.get("spec")
    kept = [spec, metadata.get("labels"), metadata.get("annotations")]
    return names.digest([desired["metadata"]["annotations"][names.ANNOTATION_APPLIED], kept])


def _difference(live: Any, desired: Any, path: str) -> str:
    """Every desired value is in live, or where not. Empty maps and lists are: the API server does not store them.

    A selector is more than what it contains: another hand's extra label in it selects nothing. What another hand adds to a
    list of objects (a container, a toleration) is left to it: server-side apply does not remove most of it.
    """
    if live == desired:
        return ""
    match desired:
        case Mapping():
            live = live or {}
            if not isinstance(live, Mapping):
                return path
            for key, value in desired.items():
                where = f"{path}.{key}" if path else key
                if key in _EXACT and isinstance(value, Mapping) and value:
                    if live.get(key) != value:
                        return where
                elif found := _difference(live.get(key), value, where):
                    return found
            return ""
        case list():
            return _difference_of_lists(live or [], desired, path)
        case _:
            same = live == desired or (live is not None and _same_quantity(live, desired))
            return "" if same else path


def _difference_of_lists(live: Any, desired: list[Any], path: str) -> str:
    if not all(isinstance(item, Mapping) for item in desired):
        return "" if live == desired else path  # words of a command: their order and number count
    for item in desired:
        key = next((key for key in _KEYS if key in item), None)
        where = f"{path}[{item[key]}]" if key else path
        rivals = [one for one in live if key is None or one.get(key) == item[key]]
        found = [_difference(one, item, where) for one in rivals]
        if all(found):  # in none of them, or there is none
            return found[0] if found else where
    return ""


def _same_quantity(live: Any, desired: Any) -> bool:
    """ "1000m" is stored as "1"."""
    try:
        return quantity.parse(live) == quantity.parse(desired)
    except ValueError:
        return False
