"""The stages, which Jobs run: one module for each, and their common code."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def work(command: str) -> Callable[..., Any]:
    """Return the function of a command: the one of its name, in the module of its name, which is imported now."""
    function: Callable[..., Any] = getattr(import_module(f"{__name__}.{command}"), command)
    return function
