"""FP16 where FP16 can hold the numbers, FP32 where it cannot: islands.

FP16 ends at 65,504. What grows beyond that, in a weight or on the way through the graph, would become infinity, so the
nodes that write and read it stay in FP32. Inputs and outputs stay FP32 too: clients see no difference.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.errors import runtime_message
from onnxmodel_runtime.models import graph, probefile
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.sandbox.progress import log
from onnxmodel_runtime.variants import layout, subgraphs
from onnxmodel_runtime.variants.task import Skip, Task

# Operators of a model that its author quantized: their scales are FP32 up to opset 18, and what they read stays so.
_QUANTIZED = (
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearMatMul", "QLinearConv", "MatMulInteger"),
    *(
        "ConvInteger",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "QAttention",
        "MatMulNBits",
        "MatMulIntegerToFloat",
    ),
)
_LARGEST = 65_504.0
_SEEN = _LARGEST / 2  # on the samples: other inputs may reach twice as far


def convert(task: Task) -> str:
    """Convert the model, and describe the consequences. Raises Skip if nothing is in FP32."""
    inferred = layout.inferred(layout.load(task.source))
    if not any(tensor.data_type == TensorProto.FLOAT for tensor in inferred.graph.initializer):
        inner = any(tensor.data_type == TensorProto.FLOAT for tensor in graph.inner_tensors(inferred))
        raise Skip(
            "all FP32 weights are inside If, Loop or Scan, which stay in FP32: serve fp32"
            if inner
            else "the model has no FP32 weights"
        )
    layout.name_nodes(inferred)
    large = _large_weights(inferred, task.source.parent) | _large_activations(inferred, task)
    islands = [node.name for node in inferred.graph.node if large.intersection([*node.input, *node.output])]
    bodies = subgraphs.keep(inferred)
    if islands:
        log(f"{len(islands)} nodes stay in FP32: {', '.join(islands[:5])}")
    onnx.load_external_data_for_model(inferred, str(task.source.parent))
    made = convert_float_to_float16(
        inferred,
        keep_io_types=True,
        disable_shape_infer=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_QUANTIZED],
        node_block_list=[*islands, *bodies],
    )
    _join_islands(made)
    if bodies:
        subgraphs.sort(made.graph)
    else:
        OnnxModel.graph_topological_sort(made.graph, is_deterministic=True)
    layout.save(made, task.target)
    remarks = [f"{len(islands)} nodes stay in FP32 because FP16 overflows there"] if islands else []
    if bodies:
        remarks.append("nodes inside If, Loop and Scan stay in FP32")
    if task.request.providers.names[0] == "CPU":
        remarks.append(
            "the CPU runs most operators in FP32 with conversions around them: half the size, but not half the time"
        )
    return "; ".join(remarks)


def _large_weights(model: Any, folder: Path) -> set[str]:
    """Weights beyond FP16. Not single numbers: a mask's "minus infinity" may become the lowest number that there is."""
    return {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and graph.elements(tensor.dims) > 1
        and np.abs(numpy_helper.to_array(tensor, str(folder))).max() > _LARGEST
    }


def _large_activations(model: Any, task: Task) -> set[str]:
    """Return the tensors whose largest absolute value on the samples is too large for FP16."""
    measured = onnx.ModelProto()
    measured.CopyFrom(model)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if types.get(name) == TensorProto.FLOAT]
    del measured.graph.output[:]
    for index, name in enumerate(names):
        absolute, largest = f"absolute_{index}", f"largest_{index}"
        measured.graph.node.append(helper.make_node("Abs", [name], [absolute]))
        measured.graph.node.append(helper.make_node("ReduceMax", [absolute], [largest], keepdims=0))
        measured.graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    path = task.target.with_suffix(".measured")
    layout.save(measured, path)
    try:
        session = open_session(path, Providers(threads=task.request.providers.threads), "None").session
        runs = [session.run(None, probefile.read(Path(case.file))[0]) for case in task.cases]
    except Exception as error:
        log(f"the ranges of the activations are not known: {runtime_message(error)}")
        return set()
    return {name for index, name in enumerate(names) if any(run[index] > _SEEN for run in runs)}


def _join_islands(model: Any) -> None:
    """Keep tensors between two nodes of an island in FP32: the converter goes by way of FP16, and overflows."""
    casts: dict[str, Any] = {}
    kept = []
    for node in model.graph.node:  # the converter writes a cast once for each node that reads it
        if node.op_type == "Cast" and node.output[0] in casts:
            continue
        if node.op_type == "Cast":
            casts[node.output[0]] = node
        kept.append(node)
    wide = {
        name: casts[node.input[0]].input[0]
        for name, node in casts.items()
        if _to(node) == TensorProto.FLOAT and node.input[0] in casts and _is_island(casts[node.input[0]])
    }
    outputs = {value.name for value in model.graph.output}
    for node in kept:
        if node.op_type == "Cast" and node.output[0] in wide and node.output[0] in outputs:
            node.CopyFrom(helper.make_node("Identity", [wide[node.output[0]]], [node.output[0]], node.name))
        for index, name in enumerate(node.input):
            node.input[index] = wide.get(name, name)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    if any(True for node in kept for _ in graph.subgraphs(node)):
        subgraphs.prune(model.graph)  # ONNX Runtime's does not see what subgraphs read
    else:
        OnnxModel(model).prune_graph(allow_remove_graph_inputs=False)


def _is_island(cast: Any) -> bool:
    """Return whether this cast to FP16 is the converter's own, behind a node that stays in FP32."""
    return _to(cast) == TensorProto.FLOAT16 and str(cast.name).endswith("_cast_to_fp16_node")


def _to(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "to"), 0)
