"""Wording that both sides share: figures, sizes of axes, suggestions for misspelled names."""

import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal


def in_words(sizes: Mapping[str, int]) -> str:
    """Format sizes of axes: "height 320, width 320"."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def plain(value: float, digits: int = 4) -> str:
    """Format a figure: significant digits, grouped thousands, no exponent. 45738.2 is "45,740"."""
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown word: the known word that was probably meant; "" if none is similar."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""
