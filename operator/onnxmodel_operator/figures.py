"""Format figures for people: significant digits, thousands separated, never an exponent. Pure."""

from decimal import Decimal

_SECOND = 1000.0  # milliseconds


def plain(value: float, digits: int = 3) -> str:
    """Round to significant digits: 4363.2 is "4,360", 0.000034 is "0.000034"."""
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


def milliseconds(value: float) -> str:
    """With its unit, which is seconds from 1,000 ms on: "12.9ms", "4.36s"."""
    rounded = float(f"{value:.3g}")
    return f"{plain(rounded / _SECOND)}s" if rounded >= _SECOND else f"{plain(rounded)}ms"


def rate(value: float) -> str:
    """Rows per second: "1,230/s"."""
    return f"{plain(value)}/s"
