"""The identity of a request: the parts of it that decide the result of its stage.

Each field of a request, and of the dataclasses inside it, declares its part by its type, as in `directory:
Incidental[str]`. The digest of a stage covers the identity, so a stage runs again if that changes, and only then. A
field without a declaration is an error: whoever adds one has to decide.
"""

import dataclasses
import functools
import typing
from enum import Enum
from typing import Annotated, Any, TypeVar

from onnxmodel_runtime.contract.codec import ContractError, as_data


class Part(Enum):
    """Role of a request's field in the result of its stage."""

    IDENTITY = "identity"
    INPUT = "input"
    INCIDENTAL = "incidental"


T = TypeVar("T")
Identity = Annotated[T, Part.IDENTITY]
"""Another value can give another result."""
Input = Annotated[T, Part.INPUT]
"""Identity that names the model and data that the stage works on. A manifest states it apart from the recipe."""
Incidental = Annotated[T, Part.INCIDENTAL]
"""Another value gives the same result: a place, a bound, a name to show. Its default stands in for it in the digest, and the
empty value of its type if it has none. A new default is therefore a new digest for every model."""


def identity_of(value: Any) -> Any:
    """Return a request as plain data for a digest: as `as_data`, with defaults in place of incidental fields.

    Raises ContractError that names a field without a declaration.
    """
    if isinstance(value, tuple | list):
        return [identity_of(item) for item in value]
    if isinstance(value, dict):
        return {key: identity_of(item) for key, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    return {
        name: as_data(neutral) if part is Part.INCIDENTAL else identity_of(getattr(value, name))
        for name, (part, neutral) in _parts(value).items()
    }


def recipe_of(request: Any) -> dict[str, Any]:
    """Return the identity of a request without its input and incidental fields, as plain data."""
    return {
        name: identity_of(getattr(request, name))
        for name, (part, _) in _parts(request).items()
        if part is Part.IDENTITY
    }


def _parts(value: Any) -> dict[str, tuple[Part, Any]]:
    kind: Any = type(value)
    return parts(kind)


@functools.cache
def parts(kind: Any) -> dict[str, tuple[Part, Any]]:
    """Return the part that each field of a dataclass declares, and its stand-in value if it is incidental.

    Raises ContractError that names a field without a declaration.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {}
    for field in dataclasses.fields(kind):
        declared = [mark for mark in getattr(hints[field.name], "__metadata__", ()) if isinstance(mark, Part)]
        if len(declared) != 1:
            raise ContractError(f"{kind.__name__}.{field.name} must be Identity, Input or Incidental")
        found[field.name] = declared[0], _neutral(field) if declared[0] is Part.INCIDENTAL else None
    return found


def _neutral(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return typing.get_args(field.type)[0]()
