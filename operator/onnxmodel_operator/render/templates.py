"""Jinja templates that read as the YAML they produce.

A template is rendered with a hole in place of each value, parsed as YAML, and then the holes are filled. So no value can end
its place and become structure, and the YAML is parsed once for each course that a template's conditions can take, not for
each object.
"""

import functools
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import jinja2
import yaml
from markupsafe import Markup
from pydantic import BaseModel


def render_template(template: str, **values: Any) -> dict[str, Any]:
    """One object of `templates/`: JSON data, which may share parts with `values`.

    Raises jinja2.UndefinedError for a value that is missing.
    """
    return _templates().render(template, values)


class _Templates:
    """The templates, compiled once. Not reentrant: it notes the values of the one template that is being rendered."""

    def __init__(self) -> None:
        self.environment = jinja2.Environment(
            loader=jinja2.PackageLoader("onnxmodel_operator.render"),
            undefined=jinja2.StrictUndefined,
            finalize=self._hole,
            autoescape=True,  # tells a value from the text of a macro, which is Markup and stays as it is
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._values: list[Any] = []

    def render(self, template: str, values: Mapping[str, Any]) -> dict[str, Any]:
        self._values = []
        text = self.environment.get_template(template).render(values)
        manifest: dict[str, Any] = _skeleton(text)(self._values)
        return manifest

    def _hole(self, value: Any) -> Any:
        if isinstance(value, Markup | jinja2.Undefined):
            return value  # StrictUndefined speaks when it is printed
        self._values.append(_plain(value))
        return Markup(f"{_HOLE} {len(self._values) - 1}")


_templates = functools.cache(_Templates)

_Fill = Callable[[list[Any]], Any]
_HOLE = "!hole"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML with holes."""


@functools.cache
def _skeleton(text: str) -> _Fill:
    """What fills the holes of a rendered template. There are as many texts as courses of the templates' conditions."""
    return _filler(yaml.load(text, Loader=_Loader))


class _Hole(int):
    """The number of the value that belongs there."""


_Loader.add_constructor(_HOLE, lambda _, node: _Hole(node.value))


def _filler(node: Any) -> _Fill:
    match node:
        case _Hole():
            return lambda values: values[node]
        case dict():
            fields = [(key, _filler(value)) for key, value in node.items()]
            return lambda values: {key: fill(values) for key, fill in fields}
        case list():
            items = [_filler(item) for item in node]
            return lambda values: [fill(values) for fill in items]
        case _:
            return lambda _: node


@functools.cache
def read_script(script: str) -> str:
    """A shell script of `templates/`. For hooks alone: the kubelet would replace $(NAME) in a container's arguments."""
    environment = _templates().environment
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, script)
    return source


def _plain(value: Any) -> Any:
    """The value as JSON data."""
    match value:
        case Enum():
            return value.value
        case str() | bool() | int() | float() | None:
            return value
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case BaseModel():
            return value.model_dump(by_alias=True)
    raise TypeError(f"{type(value).__name__} has no place in a template")
