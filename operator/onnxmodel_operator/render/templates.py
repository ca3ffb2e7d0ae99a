"""Jinja templates that read as the YAML they produce.

A template is rendered with holes in place of its values and parsed once for each course that its conditions take; an object
is that, filled. So no value can end its place and become structure, and to render costs neither Jinja nor YAML.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

_Values = Mapping[str, Any]
_Fill = Callable[[_Values], Any]
_Path = tuple[str, ...]
"""A name among the values, and below it attributes and numbers of items."""


def render_template(template: str, **values: Any) -> dict[str, Any]:
    """Render one object of `templates/` from JSON data. Parts of it are shared: do not mutate it.

    Raises jinja2.UndefinedError if a value is missing.
    """
    known = _courses(template)
    try:
        course = next((course for course in known if course.is_of(values)), None)
        if course is None:
            course = _follow(template, values)
            known.append(course)
        manifest: dict[str, Any] = course.fill(values)
    except KeyError:
        _follow(template, values)  # says which value is missing
        raise
    return manifest


@functools.cache
def read_script(script: str) -> str:
    """Read a shell script of `templates/`. For hooks only: in a container's arguments the kubelet would expand $(NAME)."""
    source, _, _ = jinja2.PackageLoader("onnxmodel_operator.render").get_source(_environment(), script)
    return source


@dataclass(frozen=True, slots=True)
class _Course:
    """The result of a template while its conditions have these outcomes. asked: (place, question, answer), in order."""

    asked: tuple[tuple[_Path, Callable[[Any], int], int], ...]
    fill: _Fill

    def is_of(self, values: _Values) -> bool:
        return all(what(_at(values, path)) == answer for path, what, answer in self.asked)


@functools.cache
def _courses(_template: str) -> list[_Course]:
    """The courses seen so far: one for each combination of conditions that occurs."""
    return []


def _follow(template: str, values: _Values) -> _Course:
    asked: list[tuple[_Path, Callable[[Any], int], int]] = []
    places = {name: _Place((name,), value, asked) for name, value in values.items()}
    text = _environment().get_template(template).render(places)
    return _Course(tuple(asked), _filler(yaml.load(text, Loader=_Loader)))


class _Place:
    """A value as a template sees it: printing it makes a hole, testing it is recorded, and nothing else is possible."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, path: _Path, value: Any, asked: list[tuple[_Path, Callable[[Any], int], int]]) -> None:
        self._path, self._value, self._asked = path, value, asked

    def __getattr__(self, name: str) -> "_Place":
        return _Place((*self._path, name), getattr(self._value, name), self._asked)

    def __bool__(self) -> bool:
        return bool(self._ask(bool))

    def __iter__(self) -> Iterator["_Place"]:
        for index in range(self._ask(len)):
            yield _Place((*self._path, str(index)), self._value[index], self._asked)

    def __eq__(self, other: object) -> bool:
        raise TypeError("a template may only test whether a value exists")

    def _ask(self, what: Callable[[Any], int]) -> int:
        answer = what(self._value)
        self._asked.append((self._path, what, answer))
        return answer

    def hole(self) -> Markup:
        return Markup(f"{_HOLE} {json.dumps('.'.join(self._path))}")


_HOLE = "!hole"


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("onnxmodel_operator.render"),
        undefined=jinja2.StrictUndefined,
        finalize=_printed,
        autoescape=True,  # tells a value from the text of a macro, which is Markup and stays as it is
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printed(value: Any) -> Any:
    match value:
        case _Place():
            return value.hole()
        case Markup() | jinja2.Undefined():
            return value  # StrictUndefined speaks when it is printed
        case bool():
            return Markup(json.dumps(value))  # of a condition, which is noted
    raise TypeError(f"a template may print values, but not {value!r}, which it computed from them")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML with holes."""


class _Hole(str):
    """The path of the value that belongs there."""


_Loader.add_constructor(_HOLE, lambda _, node: _Hole(node.value))


def _filler(node: Any) -> _Fill:
    match node:
        case _Hole():
            path = tuple(node.split("."))
            return lambda values: _plain(_at(values, path))
        case dict():
            fields = [(key, _filler(value)) for key, value in node.items()]
            if not _has_hole(node):
                return lambda _: node
            return lambda values: {key: fill(values) for key, fill in fields}
        case list():
            items = [_filler(item) for item in node]
            if not _has_hole(node):
                return lambda _: node
            return lambda values: [fill(values) for fill in items]
        case _:
            return lambda _: node


def _has_hole(node: Any) -> bool:
    if isinstance(node, dict | list):
        return any(map(_has_hole, node.values() if isinstance(node, dict) else node))
    return isinstance(node, _Hole)


def _at(values: _Values, path: _Path) -> Any:
    value = values[path[0]]
    for step in path[1:]:
        value = value[int(step)] if step.isdigit() else getattr(value, step)
    return value


_ATOMS = frozenset((str, int, float, bool, type(None)))


def _plain(value: Any) -> Any:
    """The value as JSON data."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if issubclass(kind, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is not supported in a template")
