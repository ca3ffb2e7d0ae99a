"""Format figures of status for people. Pure."""

from onnxmodel_runtime.contract.text import plain

_DIGITS = 3
_SECOND = 1000.0  # milliseconds


def milliseconds(value: float) -> str:
    """Format a latency with its unit, in seconds from 1,000 ms on: "12.9ms", "4.36s"."""
    rounded = float(f"{value:.{_DIGITS}g}")
    return f"{plain(rounded / _SECOND, _DIGITS)}s" if rounded >= _SECOND else f"{plain(rounded, _DIGITS)}ms"


def rate(value: float) -> str:
    """Format rows per second: "1,230/s"."""
    return f"{plain(value, _DIGITS)}/s"
