"""Sizes of axes: a number, or a product of a number and symbols. One symbol is the number of rows of the batch.

Sizes that are no product (a sum, a quotient with a remainder) become symbols of their own, which say whether the number of
rows is in them. Equal expressions are equal symbols.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ROWS = "N"
_OTHER = "d:"
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Symbols:
    """factor * the product of the symbols, of which there is one at least."""

    factor: int
    names: tuple[str, ...]


Size = int | Symbols

ROWS = Symbols(1, (_ROWS,))
"""The number of rows."""


def symbol(name: str) -> Symbols:
    """A size that is not known, and has nothing to do with the number of rows."""
    return Symbols(1, (_OTHER + name,))


def of_batch(size: Size) -> bool:
    """Return whether the size depends on the number of rows."""
    return isinstance(size, Symbols) and any(name.startswith(_ROWS) for name in size.names)


def of_numbers(*sizes: Size) -> bool:
    """Return whether all sizes are plain numbers."""
    return not any(isinstance(size, Symbols) for size in sizes)


def times(one: Size, other: Size) -> Size:
    """The product."""
    factor, names = _parts(one), _parts(other)
    return _made(factor[0] * names[0], (*factor[1], *names[1]))


def product(sizes: Iterable[Size]) -> Size:
    """The product of all of them."""
    made: Size = 1
    for size in sizes:
        made = times(made, size)
    return made


def divided(one: Size, other: Size) -> Size | None:
    """The exact quotient; None where it is not known that there is one."""
    (a, names), (b, divisors) = _parts(one), _parts(other)
    left = Counter(names)
    left.subtract(divisors)
    if not b or a % b or min(left.values(), default=0) < 0:
        return None
    return _made(a // b, tuple(left.elements()))


def over(one: Size, other: Size) -> Size:
    """The quotient, as a symbol where it is not exact."""
    exact = divided(one, other)
    return opaque("/", one, other) if exact is None else exact


def plus(one: Size, other: Size) -> Size:
    """The sum."""
    (a, names), (b, others) = _parts(one), _parts(other)
    if names == others or not a or not b:
        return _made(a + b, names if a else others)
    return opaque("+", one, other)


def minus(one: Size, other: Size) -> Size:
    """The difference."""
    return plus(one, times(-1, other))


def broadcast_pair(one: Sequence[Size], other: Sequence[Size]) -> tuple[Size, ...]:
    """The common shape of two of the same rank. A number says more than a symbol, and of two symbols either may be 1."""
    return tuple(map(_common, one, other))


def _common(one: Size, other: Size) -> Size:
    if one == other or other == 1:
        return one
    if one == 1 or (isinstance(other, int) and isinstance(one, Symbols)):
        return other
    return one if isinstance(one, int) else opaque("max", one, other)


def opaque(what: str, *operands: object) -> Symbols:
    """A result that is not worked out, by what it is made of."""
    text = f"{what}({','.join(map(_text, operands))})"
    if len(text) > _LONGEST:
        text = hashlib.sha256(text.encode()).hexdigest()
    batch = any(of_batch(item) for item in operands if isinstance(item, Symbols))
    return Symbols(1, (f"{_ROWS if batch else _OTHER}?{text}",))


def _parts(size: Size) -> tuple[int, tuple[str, ...]]:
    return (size.factor, size.names) if isinstance(size, Symbols) else (size, ())


def _made(factor: int, names: tuple[str, ...]) -> Size:
    return Symbols(factor, tuple(sorted(names))) if names and factor else factor


def _text(value: object) -> str:
    return f"{value.factor}*{'*'.join(value.names)}" if isinstance(value, Symbols) else repr(value)
