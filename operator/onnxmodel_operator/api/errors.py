"""pydantic's errors as (field, message) in the words of the API: camelCase paths, as in the manifest."""

import re
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from onnxmodel_operator.api.patterns import EXPECTED
from onnxmodel_runtime.contract.text import nearest

_NO_TEXT = ("int_type", "float_type", "bool_type")


def field_errors(error: ValidationError, kind: type[BaseModel]) -> list[tuple[str, str]]:
    """One pair for each error, in the order of the fields. kind: the model that was validated."""
    return [(_path(item["loc"]), _text(item, kind)) for item in error.errors(include_url=False)]


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _text(item: Any, kind: type[BaseModel]) -> str:
    """What is wrong in words, with the nearest name where one is misspelt."""
    message: str = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"unknown field{nearest(str(item['loc'][-1]), _names(kind, item['loc'][:-1]))}"
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        return message + nearest(item["input"], re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    if item["type"] == "string_pattern_mismatch":
        return EXPECTED[item["ctx"]["pattern"]]
    if item["type"] in _NO_TEXT and isinstance(item["input"], str):
        return f"{message}; remove the quotes"
    if item["type"] == "string_type" and isinstance(item["input"], int | float):
        return f"{message}; put it in quotes"
    return message


def _names(kind: type[BaseModel] | None, location: tuple[int | str, ...]) -> list[str]:
    """The fields of the model at this place; none where it cannot be found."""
    for part in location:
        if kind is not None and isinstance(part, str):
            annotations = (
                field.annotation for name, field in kind.model_fields.items() if part == field.alias or part == name
            )
            kind = _model(next(annotations, None))
    return [field.alias or name for name, field in kind.model_fields.items()] if kind else []


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation, such as list[Model] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in typing.get_args(annotation) if (found := _model(each))), None)
