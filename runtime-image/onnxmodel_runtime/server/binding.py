"""Runs with bound inputs and outputs: on GPUs, and for BF16, which numpy lacks and ONNX Runtime's plain run refuses.

Inputs are copied to where the provider wants them when they are bound, and outputs come back to the CPU within the run.
A BF16 tensor is an array of its raw 16 bits here. Strings cannot be bound from Python.
"""

import ctypes
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from onnxmodel_runtime.models.datatypes import BY_NAME
from onnxmodel_runtime.server.datatypes import NUMPY, Array
from onnxmodel_runtime.server.protocol.request import Outputs

BF16 = "BF16"


def run(session: Any, outputs: Sequence[str], inputs: Outputs, bf16: Collection[str], options: Any) -> list[Array]:
    """Run the model and return the outputs, in the requested order. bf16: the inputs and outputs that are BF16."""
    binding = session.io_binding()
    held = []  # ONNX Runtime does not copy a CPU tensor: it must live as long as the run
    for name, array in inputs.items():
        array = np.ascontiguousarray(array)
        if name in bf16:
            value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, BY_NAME[BF16].onnx)
            binding.bind_ortvalue_input(name, value)
            held.append(value)
        else:
            binding.bind_cpu_input(name, array)
        held.append(array)
    for name in outputs:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding, options)
    return [
        _bits(value) if name in bf16 else value.numpy()
        for name, value in zip(outputs, binding.get_outputs(), strict=True)
    ]


def _bits(value: Any) -> Array:
    """A copy of a BF16 tensor's memory."""
    shape = tuple(value.shape())
    size = math.prod(shape) * NUMPY[BF16].itemsize
    data = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(data, NUMPY[BF16]).reshape(shape)
