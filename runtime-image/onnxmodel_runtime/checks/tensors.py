"""Check that a constant's dimensions match its data, before native code trusts them."""

from collections.abc import Iterator
from typing import Any

from onnx import TensorProto

from onnxmodel_runtime.checks import TENSOR
from onnxmodel_runtime.contract.validate import Finding
from onnxmodel_runtime.errors import size
from onnxmodel_runtime.models import graph

_INT64_MAX = 2**63 - 1
_MOST = 20

# Where a tensor that has no raw data keeps its elements; what is not here is one to a number of int32_data.
_FIELDS = {1: "float_data", 7: "int64_data", 8: "string_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data"}
_FIELDS |= {14: "float_data", 15: "double_data"}
_COMPLEX = (14, 15)  # two numbers each


def tensor_sizes(model: Any) -> Iterator[Finding]:
    """Check every constant of the model, in the file or beside it."""
    count = 0
    for tensor in graph.tensors(model):
        problem = _problem(tensor)
        if problem and (count := count + 1) <= _MOST:
            yield TENSOR.error(tensor.name, f"tensor {tensor.name!r} {problem}")


def _problem(tensor: Any) -> str:
    dims = list(tensor.dims[: graph.MAX_RANK + 1])
    if len(dims) > graph.MAX_RANK:
        return f"has more than {graph.MAX_RANK} dimensions"
    if tensor.data_type != TensorProto.STRING and tensor.data_type not in graph.BITS:
        return f"has the datatype number {tensor.data_type}, which ONNX does not define"
    if any(dim < 0 for dim in dims):
        return f"has the dimensions {dims}: one is negative"
    count = graph.elements(dims)
    if count > _INT64_MAX or (graph.required_bytes(tensor) or 0) > _INT64_MAX:
        return f"has the dimensions {dims}: their product overflows 64 bits"
    if tensor.data_location == graph.EXTERNAL:
        return "declares that its data is in another file, but contains data" if tensor.HasField("raw_data") else ""
    if tensor.HasField("segment"):
        return "is a segment of a tensor, which nothing reads"
    return _amount(tensor, count)


def _amount(tensor: Any, count: int) -> str:
    if tensor.HasField("raw_data"):
        needed = graph.required_bytes(tensor)
        if needed is None:
            return "has strings, but stores them as raw bytes"
        if len(tensor.raw_data) != needed:
            return f"needs {size(needed)} ({needed} bytes), but has {len(tensor.raw_data)} bytes"
        return ""
    have = len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data")))
    expected = count * 2 if tensor.data_type in _COMPLEX else count
    # Numbers below 8 bits are packed into bytes, and each byte is an element of int32_data.
    packed = (
        (count * graph.BITS.get(tensor.data_type, 8) + 7) // 8 if graph.BITS.get(tensor.data_type, 8) < 8 else expected
    )
    return "" if have in (expected, packed) else f"needs {expected} elements, but has {have}"
