"""Renders docs/api.md, the reference of every field, from the same models as the CRD."""

from collections.abc import Iterator, Mapping
from typing import Any

from dev.docs import table
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
        parts.append(f"{text}\n{table.of_fields(schema['properties'][name])}\n")
    parts.insert(2, f"{_RULES}\n{rules}\n")
    return "\n".join(parts)


def _rules(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path or "metadata.name", rule
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield from _rules(where, field)
        yield from _rules(f"{where}[]", field.get("items", {}))
