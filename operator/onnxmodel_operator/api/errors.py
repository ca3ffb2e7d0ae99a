"""pydantic's errors as (field, message) in the words of the API: camelCase paths, as in the manifest."""

import re
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from onnxmodel_operator.api.patterns import EXPECTED
from onnxmodel_runtime.contract.text import nearest

_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?"
_WORDS = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "extra_forbidden": "unknown field",
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "expected an integer",
    "int_parsing": "expected an integer",
    "int_parsing_size": "expected a smaller integer",
    "int_type": "expected an integer",
    "invalid_key": "unknown field",
    "ip_any_network": "expected a network such as 10.0.0.0/8",
    "less_than_equal": "must be at most {le}",
    "list_type": "expected a list",
    "literal_error": "expected {expected}",
    "missing": "required, but not set",
    "model_type": "expected a mapping",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "expected a string",
    "string_unicode": "expected valid Unicode",
    "too_long": "must have at most {max_length} items",
    "too_short": "must not be empty",
    "tuple_type": "expected a list",
    "value_error": "{error}",
}
"""Messages by pydantic's error type. The error's context fills in the names in braces."""
_SIZES = re.compile("size|memory|ephemeral-storage|hugepages-.+")
"""Fields of so many bytes."""
_REFERENCES = ({"name"}, {"name", "key"})
"""Fields of what names an object of a model's own namespace."""
_QUOTED = {"bool_type": "true|false", "float_type": _NUMBER, "int_type": r"[-+]?\d+(\.0+)?"}
"""Strings that are a value of the expected type once their quotes are removed."""


def field_errors(error: ValidationError, kind: type[BaseModel]) -> list[tuple[str, str]]:
    """Return one pair for each error, in the order of the fields. kind: the model that was validated."""
    return [_pair(item, kind) for item in error.errors(include_url=False)]


def _pair(item: Any, kind: type[BaseModel]) -> tuple[str, str]:
    *path, last = item["loc"] or [""]
    if last == "[key]":  # of a mapping
        return _path(path[:-1]), f"key {str(path[-1])[:60]!r}: {_text(item, kind)}"
    return _path(item["loc"]), _text(item, kind)


def _path(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        name = part or "''"
        path += f"[{part}]" if isinstance(part, int) else f".{name}" if path else f"{name}"
    return path


def _text(item: Any, kind: type[BaseModel]) -> str:
    """Describe one of pydantic's errors, and suggest the nearest name for a misspelt one."""
    reason, given, context = item["type"], item["input"], item.get("ctx", {})
    if reason == "string_pattern_mismatch":
        return EXPECTED[context["pattern"]]
    message = _WORDS[reason].format(**context) if reason in _WORDS else str(item["msg"])
    if reason == "extra_forbidden":
        known = _names(kind, item["loc"][:-1])
        if item["loc"][-1] == "namespace" and set(known) in _REFERENCES:
            return f"{message}; remove it: it is always the namespace of each model"
        return message + nearest(str(item["loc"][-1]), known)
    if reason == "literal_error" and isinstance(given, str):
        return f"{message}, not {given[:60]!r}" + nearest(given, re.findall(r"'([^']*)'", context["expected"]))
    if isinstance(given, str) and re.fullmatch(_QUOTED.get(reason, "(?!)"), given, re.IGNORECASE):
        return f"{message}; remove the quotes"
    if reason == "string_type" and isinstance(given, int | float) and not isinstance(given, bool):
        if _SIZES.fullmatch(str(item["loc"][-1])) and given < 1 << 20:
            return f"expected a quantity with a unit, such as 512Mi or 20Gi: {given:g} alone means bytes"
        return f"{message}; put it in quotes"
    return message


def _names(kind: type[BaseModel] | None, location: tuple[int | str, ...]) -> list[str]:
    """The fields of the model at this place; none where it cannot be found."""
    is_key = False
    for part in location:
        if is_key or kind is None or isinstance(part, int):
            is_key = False
            continue
        annotations = (
            field.annotation for name, field in kind.model_fields.items() if part == field.alias or part == name
        )
        annotation = next(annotations, None)
        kind, is_key = _model(annotation), typing.get_origin(annotation) is dict
    return [field.alias or name for name, field in kind.model_fields.items()] if kind else []


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation, such as list[Model] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in typing.get_args(annotation) if (found := _model(each))), None)
