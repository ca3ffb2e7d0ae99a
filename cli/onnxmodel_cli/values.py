"""Types of options. Each converts a word of the command line to a value, or raises an error of one sentence."""

import argparse
import math
import re
from collections.abc import Callable, Iterable, Sequence

from onnxmodel_runtime.contract.providers import PROVIDERS, misplaced
from onnxmodel_runtime.contract.text import nearest


def names(value: str) -> tuple[str, ...]:
    """Parse comma-separated names."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def known(what: str, given: Iterable[str], choices: Sequence[str]) -> None:
    """Raise ArgumentTypeError for the first name that is no choice, with the nearest one."""
    for name in given:
        if name not in choices:
            there_are = f"there is no {what} {name!r}; there are {', '.join(choices)}"
            raise argparse.ArgumentTypeError(f"{there_are}{nearest(name, choices)}")


def provider_names(value: str) -> tuple[str, ...]:
    """Parse execution providers in the order of preference."""
    known("execution provider", given := names(value), PROVIDERS)
    if wrong := misplaced(given) if given else f"name at least one of {', '.join(PROVIDERS)}":
        raise argparse.ArgumentTypeError(wrong)
    return given


def host(value: str) -> str:
    """Parse a host name or address without a scheme or port."""
    if "://" in value or value.count(":") == 1:
        raise argparse.ArgumentTypeError(f"{value!r} is more than a host; set the port with its own option")
    return value


def path_segment(value: str) -> str:
    """Parse a name that is one segment of a path: clients ask for /v2/models/NAME."""
    if value in (".", "..") or re.search(r"[/?#%\\\s\x00-\x1f\x7f]", value):
        raise argparse.ArgumentTypeError(
            f"{value!r} is not valid in the path /v2/models/NAME: it must not be '.' or '..', or contain "
            "spaces or any of / \\ ? # %"
        )
    return value


def counts(most: int) -> Callable[[str], tuple[int, ...]]:
    """Return what reads integers from 1 to `most`, separated by commas."""

    def convert(value: str) -> tuple[int, ...]:
        parts = names(value)
        if not parts or not all(part.isascii() and part.isdigit() and len(part) < 20 and int(part) for part in parts):
            raise argparse.ArgumentTypeError(f"{value!r} is not a list of positive integers, such as 1,8")
        if wrong := next((part for part in parts if int(part) > most), ""):
            raise argparse.ArgumentTypeError(f"{wrong!r} is not an integer from 1 to {most}")
        return tuple(map(int, parts))

    return convert


batch_sizes, concurrency = counts(4096), counts(256)
"""Lists within the bounds of spec.benchmark.batchSizes and spec.benchmark.concurrency."""


def sha256(value: str) -> str:
    """Read a SHA-256 digest."""
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise argparse.ArgumentTypeError(f"{value!r} is not a digest: expected 64 lowercase hexadecimal digits")
    return value


def number(*, above: bool = False, most: float = math.inf) -> Callable[[str], float]:
    """Return a type for a finite number of at least 0, or greater than 0 (above), and at most `most`."""
    bounds = ("greater than 0" if above else "of at least 0") if most == math.inf else f"from 0 to {most:g}"

    def convert(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not math.isfinite(found) or found > most or found < 0 or (above and not found):
            raise argparse.ArgumentTypeError(f"{value!r} is not a number {bounds}")
        return found

    return convert


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a type for an integer of at least `least` and at most `most`."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"

    def convert(value: str) -> int:
        if not value.isascii() or not value.isdigit() or int(value) < least or (most is not None and int(value) > most):
            raise argparse.ArgumentTypeError(f"{value!r} is not an integer {bounds}")
        return int(value)

    return convert
