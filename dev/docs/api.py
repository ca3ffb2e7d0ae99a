"""Renders docs/api.md, the reference of every field, from the same models as the CRD."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from onnxmodel_operator.api.crd import crd

_HEAD = """\
# API reference

<!-- Generated from operator/onnxmodel_operator/api by `python -m dev.docs`. Do not edit. -->

`{api_version}`, kind `{kind}`, namespaced, short name `{short}`, category `{category}`. On a cluster, run
`kubectl explain onnxmodel.spec --recursive` for the same information.

Bounds are inclusive unless marked with `>` or `<`. A **required** field is required within its parent. `[]` is an item
of a list, `{{}}` a value of a map with arbitrary keys.
"""
_SPEC = """\
## spec

Written by users. Only `source.uri` is required: every other field has a default.
"""
_RULES = """\
## Rules between fields

The API server checks these rules on apply, also with `--dry-run=server`.
"""
_STATUS = """\
## status

Written only by the operator. [status.md](status.md) explains how the fields work together.
"""


def render() -> str:
    """The whole page."""
    manifest = crd()["spec"]
    version = manifest["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    names = manifest["names"]
    head = _HEAD.format(
        api_version=f"{manifest['group']}/{version['name']}",
        kind=names["kind"],
        short=names["shortNames"][0],
        category=names["categories"][0],
    )
    rules = "\n".join(f"- `{path}`: {rule['message']}" for path, rule in _rules("", schema))
    parts = [head]
    for text, name in ((_SPEC, "spec"), (_STATUS, "status")):
        rows = (_row(path, field, required) for path, field, required in _fields("", schema["properties"][name]))
        table = "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])
        parts.append(f"{text}\n{table}\n")
    parts.insert(2, f"{_RULES}\n{rules}\n")
    return "\n".join(parts)


def _fields(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, field, name in required
        yield from _fields(where, field)
        if "items" in field:
            yield from _fields(f"{where}[]", field["items"])
        if "additionalProperties" in field:
            yield from _fields(f"{where}{{}}", field["additionalProperties"])


def _row(path: str, field: Mapping[str, Any], required: bool) -> str:
    default = field.get("default")
    shown = "**required**" if required else "" if default in (None, {}) else f"`{json.dumps(default)}`"
    meaning = " ".join(field.get("description", "").split()).replace("|", "\\|")
    return f"| `{path}` | {_type(field)} | {shown} | {meaning} |"


def _type(field: Mapping[str, Any]) -> str:
    match field["type"]:
        case "array":
            inner = field["items"]
            kind = "list of objects" if inner["type"] == "object" else f"list of {_type(inner)}"
            return kind + _bounds(field, "minItems", "maxItems", "items")
        case "object" if "additionalProperties" in field:
            return f"map of {_type(field['additionalProperties'])}" + _bounds(field, "", "maxProperties", "entries")
        case "string" if "enum" in field:
            return " \\| ".join(f"`{value}`" for value in field["enum"])
        case "string":
            return str(field.get("format", "string")) + _bounds(field, "minLength", "maxLength", "characters")
        case "integer" | "number":
            low = _limit(field, "minimum", "exclusiveMinimum", "≥", ">")
            high = _limit(field, "maximum", "exclusiveMaximum", "≤", "<")
            return " ".join(part for part in (field["type"], low, high) if part)
        case kind:
            return str(kind)


def _limit(field: Mapping[str, Any], bound: str, exclusive: str, inclusive_sign: str, exclusive_sign: str) -> str:
    if bound not in field:
        return ""
    return f"{exclusive_sign if field.get(exclusive) else inclusive_sign} {field[bound]:.15g}"


def _bounds(field: Mapping[str, Any], least: str, most: str, what: str) -> str:
    low, high = field.get(least), field.get(most)
    if high is None:
        return ""
    return f", {low} to {high} {what}" if low else f", at most {high} {what}"


def _rules(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path or "metadata.name", rule
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield from _rules(where, field)
        yield from _rules(f"{where}[]", field.get("items", {}))
