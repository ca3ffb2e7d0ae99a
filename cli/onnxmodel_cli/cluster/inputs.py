"""Inputs for one inference: of random values, as the model's metadata asks for them. Pure."""

import random
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MOST = 50_000_000  # values of one request


class InputsError(ValueError):
    """No input can be made."""


def request(metadata: Mapping[str, Any], batch: int, size: int, shapes: Mapping[str, Sequence[int]], seed: int) -> Any:
    """Return the body of an inference. batch: of the first axis where it is dynamic. size: of the other dynamic ones.

    shapes: by input, instead. Raises InputsError.
    """
    names = [each["name"] for each in metadata["inputs"]]
    if unknown := [name for name in shapes if name not in names]:
        raise InputsError(f"the model has no input {unknown[0]!r}; it has {', '.join(names)}")
    chance = random.Random(seed)
    return {"inputs": [_input(each, batch, size, shapes.get(each["name"]), chance) for each in metadata["inputs"]]}


def _input(
    each: Mapping[str, Any], batch: int, size: int, shape: Sequence[int] | None, chance: random.Random
) -> dict[str, Any]:
    asked = [int(axis) for axis in each["shape"]]
    filled = [(size if place else batch) if axis < 0 else axis for place, axis in enumerate(asked)]
    chosen = list(shape) if shape is not None else filled
    if len(chosen) != len(asked):
        raise InputsError(f"input {each['name']!r} has {len(asked)} axes, {asked}, and the shape has {len(chosen)}")
    if prod(chosen) > _MOST:
        raise InputsError(f"input {each['name']!r} would have {prod(chosen):,} values; choose a smaller --shape")
    data = [_value(each["datatype"], chance) for _ in range(prod(chosen))]
    return {"name": each["name"], "shape": chosen, "datatype": each["datatype"], "data": data}


def _value(datatype: str, chance: random.Random) -> Any:
    """A value that most models take: small integers are indices of any vocabulary."""
    if datatype == "BOOL":
        return chance.random() < 0.5
    if datatype == "BYTES":
        return "".join(chance.choices(_LETTERS, k=8))
    return round(chance.random(), 4) if datatype.startswith(("FP", "BF")) else chance.randrange(8)
