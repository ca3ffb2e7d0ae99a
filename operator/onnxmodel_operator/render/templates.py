"""Jinja templates that read as the YAML they produce.

Every value is written as JSON, which is YAML too: no value can end its place and become structure. (Jinja's autoescape
serves to tell a value, which is written as JSON, from the text of a macro, which is markup and written as it is.)
"""

import functools
import json
from dataclasses import dataclass, field
from typing import Any

import jinja2
import yaml
from markupsafe import Markup
from pydantic import BaseModel


def render_template(template: str, **values: Any) -> dict[str, Any]:
    """One object of `templates/`, not to be changed: the last ones are remembered, since each turn of a model asks anew.

    Raises jinja2.UndefinedError for a value that is missing.
    """
    return _rendered(template, _Values(repr(values), values))


@dataclass(frozen=True, slots=True)
class _Values:
    """Values that are equal where all of their text is."""

    text: str
    values: dict[str, Any] = field(compare=False)


@functools.lru_cache(maxsize=1024)
def _rendered(template: str, given: _Values) -> dict[str, Any]:
    text = _environment().get_template(template).render(given.values)
    manifest: dict[str, Any] = yaml.load(text, Loader=_LOADER)
    return manifest


@functools.cache
def read_script(script: str) -> str:
    """A shell script of `templates/`. For hooks alone: the kubelet would replace $(NAME) in a container's arguments."""
    source, _, _ = jinja2.PackageLoader("onnxmodel_operator.render").get_source(_environment(), script)
    return source


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("onnxmodel_operator.render"),
        undefined=jinja2.StrictUndefined,
        finalize=_to_json,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, Markup | jinja2.Undefined):
        return value  # StrictUndefined speaks when it is printed
    text = json.dumps(value, default=_plain, ensure_ascii=False)
    # JSON's escapes of characters beyond U+FFFF are pairs, which YAML does not join; some others are line breaks in YAML.
    return Markup("".join(c if c < "\x7f" else f"\\U{ord(c):08x}" for c in text))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    raise TypeError(f"{type(value).__name__} has no place in a template")
