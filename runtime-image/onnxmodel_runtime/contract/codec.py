"""Dataclasses of this contract as JSON, and back."""

import dataclasses
import functools
import json
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar


class ContractError(ValueError):
    """A request or outcome that does not have the contract's shape. The message names the field."""


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def dumps(value: Any) -> str:
    """Serialize a dataclass as JSON with sorted keys and no spaces. Equal values give equal bytes."""
    return _JSON.encode(as_data(value))


_ATOMS = frozenset((str, int, float, bool, type(None)))


def as_data(value: Any) -> Any:
    """Convert a dataclass to plain data, as `dataclasses.asdict` does, without copying each string and number."""
    kind: Any = type(value)
    if kind in _ATOMS:
        return value
    if kind is tuple or kind is list:
        return [as_data(item) for item in value]
    if kind is dict:
        return {key: as_data(item) for key, item in value.items()}
    write = _writer(kind)
    return write(value) if write else value


@functools.cache
def _writer(kind: typing.Hashable) -> Callable[[Any], dict[str, Any]] | None:
    """Return the function that converts a dataclass to plain data; None for any other type. Atoms are taken as they are."""
    names = field_names(kind)
    if not names:
        return None
    hints = typing.get_type_hints(kind)
    deep = [name for name in names if hints[name] not in _ATOMS]
    values = operator.attrgetter(*names)

    def write(value: Any) -> dict[str, Any]:
        data = dict(zip(names, values(value), strict=True))
        for name in deep:
            data[name] = as_data(data[name])
        return data

    def write_one(value: Any) -> dict[str, Any]:
        return {names[0]: as_data(values(value))}

    return write if len(names) > 1 else write_one


@functools.cache
def field_names(kind: typing.Hashable) -> tuple[str, ...]:
    """Return the names of a dataclass's fields; () for any other type."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


T = TypeVar("T")


def loads(kind: type[T], text: str) -> T:
    """Parse JSON as `kind`. Raises ContractError that names the field."""
    try:
        return load(kind, json.loads(text))
    except ValueError as error:
        raise error if isinstance(error, ContractError) else ContractError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ContractError("the JSON is nested too deeply") from error


def load(kind: type[T], data: Any, where: str = "") -> T:
    """Convert plain data to `kind`. Unknown fields are ignored, so that an older side can read what a newer one wrote.

    Raises ContractError that names the field. where: the name of the data in that error, instead of the type's.
    """
    try:
        value: Any = _reader(typing.cast(Any, kind))(data)
    except _Wrong as wrong:
        raise ContractError(f"{where or kind.__name__}{wrong.path}: {wrong}") from None
    return typing.cast(T, value)


class _Wrong(Exception):
    """An invalid value. path: of the value, from where reading began."""

    path = ""

    def under(self, step: str) -> "_Wrong":
        self.path = step + self.path
        return self


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return the function that converts plain data to `kind`, built once for each type: the operator reads results all day."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        some = _reader(next(option for option in args if option is not types.NoneType))
        return lambda data: None if data is None else some(data)
    if dataclasses.is_dataclass(kind):
        return _object_reader(kind)
    if origin is tuple:
        return _list_reader(_reader(args[0]))
    if origin is dict:
        return _map_reader(_reader(args[1]))

    def read(data: Any) -> Any:
        if kind is float and type(data) is int:
            try:
                return float(data)
            except OverflowError:
                raise _Wrong("the number is too large") from None
        if not isinstance(data, kind) or (type(data) is bool and kind is not bool):
            raise _Wrong(f"expected {kind.__name__}, not {type(data).__name__}")
        return data

    return read


def _object_reader(kind: Any) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    fields = [(field.name, hints[field.name], _reader(hints[field.name])) for field in dataclasses.fields(kind)]
    needed = {
        field.name: None
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def read(data: Any) -> Any:
        if not isinstance(data, dict):
            raise _Wrong("expected an object")
        if not needed.keys() <= data.keys():
            raise _Wrong("missing").under(f".{next(name for name in needed if name not in data)}")
        values = {}
        for name, exact, reader in fields:
            if name in data:
                value = data[name]
                if type(value) is not exact:  # atoms need no reader, which would be a call for each
                    try:
                        value = reader(value)
                    except _Wrong as wrong:
                        raise wrong.under(f".{name}") from None
                values[name] = value
        return kind(**values)

    return read


def _list_reader(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not isinstance(data, list | tuple):
            raise _Wrong("expected a list")
        values = []
        for index, value in enumerate(data):
            try:
                values.append(item(value))
            except _Wrong as wrong:
                raise wrong.under(f"[{index}]") from None
        return tuple(values)

    return read


def _map_reader(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise _Wrong("expected an object")
        values = {}
        for key, value in data.items():
            try:
                values[str(key)] = item(value)
            except _Wrong as wrong:
                raise wrong.under(f".{key}") from None
        return values

    return read
