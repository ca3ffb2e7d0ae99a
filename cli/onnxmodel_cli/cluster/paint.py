"""Colors of a terminal, where it is one and nobody has set NO_COLOR."""

import os
import sys

_CODES = {"red": 31, "green": 32, "yellow": 33}


def paint(color: str, text: str) -> str:
    """Return the text in a color, or as it is: for "", for a pipe, a file, TERM=dumb, and with NO_COLOR."""
    if color not in _CODES or not colored():
        return text
    return f"\033[{_CODES[color]}m{text}\033[0m"


def colored() -> bool:
    """Return whether standard output shows colors."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
