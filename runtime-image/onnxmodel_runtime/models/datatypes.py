"""One table of tensor datatypes: Open Inference Protocol, ONNX, ONNX Runtime and numpy. No heavy import."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from onnxmodel_runtime.contract.model import Tensor


class Datatype(NamedTuple):
    """One datatype under its four names. onnx: the number of TensorProto.DataType; numpy "" where numpy has none."""

    name: str
    onnx: int
    runtime: str
    numpy: str


DATATYPES = (
    Datatype("FP32", 1, "tensor(float)", "float32"),
    Datatype("UINT8", 2, "tensor(uint8)", "uint8"),
    Datatype("INT8", 3, "tensor(int8)", "int8"),
    Datatype("UINT16", 4, "tensor(uint16)", "uint16"),
    Datatype("INT16", 5, "tensor(int16)", "int16"),
    Datatype("INT32", 6, "tensor(int32)", "int32"),
    Datatype("INT64", 7, "tensor(int64)", "int64"),
    Datatype("BYTES", 8, "tensor(string)", "object"),
    Datatype("BOOL", 9, "tensor(bool)", "bool"),
    Datatype("FP16", 10, "tensor(float16)", "float16"),
    Datatype("FP64", 11, "tensor(double)", "float64"),
    Datatype("UINT32", 12, "tensor(uint32)", "uint32"),
    Datatype("UINT64", 13, "tensor(uint64)", "uint64"),
    Datatype("BF16", 16, "tensor(bfloat16)", ""),
)
BY_NAME = {datatype.name: datatype for datatype in DATATYPES}
BY_ONNX = {datatype.onnx: datatype for datatype in DATATYPES}
BY_RUNTIME = {datatype.runtime: datatype for datatype in DATATYPES}


def tensors(values: Iterable[Any]) -> tuple[Tensor, ...]:
    """Return the inputs or outputs of a session as ONNX Runtime describes them.

    -1 stands for a dynamic axis, which has a name or None there. A type that is not in the table, such as a sequence,
    keeps ONNX Runtime's name.
    """
    return tuple(_tensor(value) for value in values)


def _tensor(value: Any) -> Tensor:
    known = BY_RUNTIME.get(value.type)
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in value.shape or ())
    return Tensor(value.name, known.name if known else value.type, shape)
