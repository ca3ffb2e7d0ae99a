"""Kubernetes quantities ("500m", "2Gi") as numbers."""

from decimal import Decimal, InvalidOperation
from functools import lru_cache

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip


def parse(text: str | int | float) -> Decimal:
    """Return the quantity's value. Raises ValueError on anything that is not one."""
    if type(text) not in (str, int, float):
        raise ValueError(f"{text!r} is not a quantity")
    return _parse(str(text))


@lru_cache(maxsize=1024)
def _parse(raw: str) -> Decimal:
    number = raw.rstrip("numkMGTPEi")
    suffix = raw[len(number) :]
    try:
        return Decimal(number) * _SUFFIXES[suffix]
    except (InvalidOperation, KeyError):
        raise ValueError(f"{raw!r} is not a quantity") from None
