"""Wording that both sides share: figures, sizes of axes, suggestions for misspelled names."""

import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal


def in_words(sizes: Mapping[str, int]) -> str:
    """Sizes of axes for people: "height 320, width 320"."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def plain(value: float, digits: int = 4) -> str:
    """A figure for people: significant digits, thousands separated, never an exponent. 45738.2 is "45,740"."""
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error about a word: what was probably meant, of what is known; "" for nothing like it."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""
