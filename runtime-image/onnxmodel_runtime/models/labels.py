"""Labels of outputs, which a model has in its metadata property "labels", and the outputs that can have any."""

import json

from onnxmodel_runtime.contract.model import Tensor

_NUMBERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64"})


def check(tensor: Tensor) -> None:
    """Raise ValueError for an output whose numbers cannot be sorted."""
    if tensor.datatype not in _NUMBERS:
        raise ValueError(
            f"class result not available for output '{tensor.name}' due to unsupported type '{tensor.datatype}'"
        )


def read(text: str) -> dict[str, tuple[str, ...]]:
    """Parse labels by output from a model's metadata property "labels". Raises ValueError."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("expected an object with a list of strings for each output")
    for name, each in found.items():
        if not isinstance(each, list) or not all(isinstance(label, str) for label in each):
            raise ValueError(f"expected a list of strings for {name!r}")
    return {name: tuple(each) for name, each in found.items()}
