"""Operators that compute along an axis: reductions, normalizations, recurrent layers."""

from collections.abc import Sequence
from dataclasses import replace

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.nodes import Node, apart, axis, rank, shape
from onnxmodel_runtime.rows.table import FUSED, mixes, rule, varies
from onnxmodel_runtime.rows.values import (
    Kind,
    Mixed,
    Place,
    Unknown,
    Value,
    axis_of,
    moved,
    rows,
)


@rule("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")
@rule("ReduceSum", "ReduceSumSquare")
def reduce(node: Node) -> Value:
    """Over some axes; over all where none is named."""
    value = node.batch(0)
    before = shape(value)
    named = node.integers(1) if node.has(1) else node.attribute("axes")
    if not named and node.attribute("noop_with_empty_axes", 0):
        return value
    axes = [axis(at, len(before)) for at in named] if named else list(range(len(before)))
    if axis_of(value) in axes:
        raise Mixed("reduces over the batch axis")
    return _reduced(value, axes, node.attribute("keepdims", 1))


def _reduced(value: Value, axes: Sequence[int], keep: int) -> Value:
    at = axis_of(value)
    if keep:
        return moved(value, [1 if here in axes else size for here, size in enumerate(shape(value))], at)
    whole = [size for here, size in enumerate(shape(value)) if here not in axes]
    return moved(value, whole, at - sum(here < at for here in axes))


@rule("ArgMax", "ArgMin")
def best(node: Node) -> Value:
    """A place on one axis."""
    value = node.batch(0)
    at = axis(node.attribute("axis", 0), rank(value))
    apart(value, at)
    return _reduced(value, [at], node.attribute("keepdims", 1))


@rule("TopK")
def top(node: Node) -> Sequence[Value]:
    """The best of one axis."""
    node.fixed(1)
    value = node.batch(0)
    at = axis(node.attribute("axis", -1), rank(value))
    apart(value, at)
    count = node.inputs[1].data if node.has(1) else None  # type: ignore[union-attr]
    size = count.ravel()[0] if count is not None else node.attribute("k") or node.fresh(at)
    made = moved(value, [size if here == at else old for here, old in enumerate(shape(value))], axis_of(value))
    return [made] * node.outputs


@rule("CumSum", "CumProd")
def running(node: Node) -> Value:
    """A running sum."""
    value = node.batch(0)
    (at,) = node.integers(1)
    apart(value, axis(at, rank(value)))
    return value


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: Node) -> Value:
    """Along one axis; before opset 13 along all from one on."""
    value = node.batch(0)
    if node.opset >= 13:
        apart(value, axis(node.attribute("axis", -1), rank(value)))
    else:
        apart(value, *range(axis(node.attribute("axis", 1), rank(value)), rank(value)))
    return value


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_norm(node: Node) -> Sequence[Value]:
    """From one axis on."""
    node.fixed(1, 2)
    value = node.batch(0)
    at = axis(node.attribute("axis", -1), rank(value))
    apart(value, *range(at, rank(value)))
    few = moved(value, [1 if here >= at else size for here, size in enumerate(shape(value))], axis_of(value))
    return [value] + [few] * (node.outputs - 1)


@rule("LpNormalization")
def norm(node: Node) -> Value:
    """Along one axis."""
    value = node.batch(0)
    apart(value, axis(node.attribute("axis", -1), rank(value)))
    return value


@rule("MeanVarianceNormalization")
def mean_variance(node: Node) -> Value:
    """Over the batch too, unless its axes say otherwise."""
    value = node.batch(0)
    apart(value, *(axis(at, rank(value)) for at in node.attribute("axes", [0, 2, 3])))
    return value


@rule("BatchNormalization")
def batch_norm(node: Node) -> Sequence[Value]:
    """With the statistics of the training."""
    if node.attribute("training_mode", 0) or (
        node.opset < 14 and len([name for name in node.proto.output if name]) > 1
    ):
        raise Mixed("computes statistics over the whole batch (it is in training mode)")
    node.fixed(1, 2, 3, 4)
    value = node.batch(0)
    apart(value, 1)
    return [value]


@rule("DFT", "STFT")
def fourier(node: Node) -> Value:
    """Of each row's signal."""
    node.fixed(1, 2, 3)
    value = node.batch(0)
    if node.kind == "STFT":
        apart(value, *range(1, rank(value)))
        return rows([node.fresh(at) for at in range(4)], value.place or Place(0))
    given = node.integers(2)[0] if node.has(2) else node.attribute("axis", -2 if node.opset >= 20 else 1)
    at = axis(given, rank(value))
    apart(value, at, rank(value) - 1)
    free = (at, rank(value) - 1)
    return moved(
        value, [node.fresh(here) if here in free else size for here, size in enumerate(shape(value))], axis_of(value)
    )


@rule("Det")
@rule("Inverse", domain=FUSED)
def matrix(node: Node) -> Value:
    """Of the last two axes."""
    value = node.batch(0)
    apart(value, rank(value) - 1, rank(value) - 2)
    return value if node.kind == "Inverse" else moved(value, shape(value)[:-2], axis_of(value))


@rule("RNN", "GRU", "LSTM")
def recurrent(node: Node) -> Sequence[Value]:
    """Along the first axis, or with layout 1 the second; the batch is on the other one."""
    node.fixed(1, 2, 3, 7)
    layout = node.attribute("layout", 0)
    value = node.batch(0)
    if value.kind is not Kind.ROWS or axis_of(value) != 1 - layout:
        raise Mixed("is recurrent along the batch axis")
    assert value.place is not None
    for index, at in ((4, 0), (5, 1 - layout), (6, 1 - layout)):
        if node.has(index):
            state = node.batch(index)
            if state.kind is not Kind.ROWS:
                raise Mixed("has a fixed number of rows in its state")
            if state.place != replace(value.place, axis=at):
                raise Unknown("combines tensors with the batch in different orders")
    steps, hidden = shape(value)[layout], node.attribute("hidden_size") or node.fresh(2, 0)
    ways = 2 if node.attribute("direction", "forward") == "bidirectional" else 1
    at = (0, 0) if layout else (2, 1)
    whole = (extents.ROWS, steps, ways, hidden) if layout else (steps, ways, extents.ROWS, hidden)
    last = (extents.ROWS, ways, hidden) if layout else (ways, extents.ROWS, hidden)
    outputs = [rows(whole, replace(value.place, axis=at[0]))]
    return outputs + [rows(last, replace(value.place, axis=at[1]))] * (node.outputs - 1)


mixes("quantizes by the range of the whole batch", "DynamicQuantizeLinear")
mixes(
    "quantizes by the range of the whole batch",
    *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "DynamicQuantizeLinear"),
    domain=FUSED,
)
mixes("computes one number from the whole batch", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
varies("reads regions of any row", "RoiAlign", "MaxRoiPool", "MaxUnpool")
mixes("pads to the longest of all rows", "StringSplit")
