"""Tables of the fields of a structural schema, as Markdown."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_LINK = re.compile(r"docs/([-a-z]+)\.md(#[-a-z]+)?")


def of_fields(schema: Mapping[str, Any]) -> str:
    """Return a table with a row for each field, those of its fields included."""
    rows = (_row(path, field, required) for path, field, required in _fields("", schema))
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])


def _fields(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, field, name in required
        yield from _fields(where, field)
        if "items" in field:
            yield from _fields(f"{where}[]", field["items"])
        if field.get("additionalProperties"):
            yield from _fields(f"{where}{{}}", field["additionalProperties"])


def _row(path: str, field: Mapping[str, Any], required: bool) -> str:
    default = field.get("default")
    shown = "**required**" if required else "" if default in (None, {}) else f"`{json.dumps(default)}`"
    meaning = _LINK.sub(r"[\1](\1.md\2)", " ".join(field.get("description", "").split()).replace("|", "\\|"))
    return f"| `{path}` | {_type(field)} | {shown} | {meaning} |"


def _type(field: Mapping[str, Any]) -> str:
    match field.get("type"):
        case None:
            return "anything"
        case list(kinds):
            return " or ".join(kinds)
        case "array":
            inner = field["items"]
            kind = "list of objects" if inner.get("type") == "object" else f"list of {_type(inner)}"
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
