"""Operators that compute along axes: products, convolutions, reductions, normalizations, recurrent layers."""

from collections.abc import Sequence
from dataclasses import replace

from onnxmodel_runtime.rows import sizes
from onnxmodel_runtime.rows.nodes import Node, apart, axis, rank, shape
from onnxmodel_runtime.rows.sizes import Size
from onnxmodel_runtime.rows.table import FUSED, mixes, rule, varies
from onnxmodel_runtime.rows.values import (
    Kind,
    Mixed,
    Place,
    Unknown,
    Value,
    batch_axis,
    broadcast,
    constant,
    moved,
    rows,
    together,
)

# ---- products --------------------------------------------------------------------------------------------------------


@rule("MatMul")
def matmul(node: Node) -> Value:
    """A product of matrices, stacks of them with numpy's rules."""
    return product(node.batch(0), node.batch(1))


@rule("MatMulInteger", "QLinearMatMul")
@rule("MatMulIntegerToFloat", domain=FUSED)
def quantized_matmul(node: Node) -> Value:
    """The same with scales and zero points that are for all rows."""
    pairs = node.kind == "QLinearMatMul"
    node.fixed(*(range(1, 3) if pairs else range(2, 7)), *(range(4, 8) if pairs else ()))
    return product(node.batch(0), node.batch(3 if pairs else 1))


@rule("FusedMatMul", "TransposeMatMul", domain=FUSED)
def fused_matmul(node: Node) -> Value:
    """The same with transposed operands."""
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise Unknown("transposes its stacks of matrices")
    given = [node.batch(0), node.batch(1)]
    for index, name in enumerate(("transA", "transB")):
        if node.attribute(name, 0):
            given[index] = swapped(given[index])
    return product(*given)


def swapped(value: Value) -> Value:
    """With the last two axes in the other order."""
    before = shape(value)
    if len(before) < 2:
        return value
    whole = (*before[:-2], before[-1], before[-2])
    if value.kind is Kind.CONSTANT:
        return constant(whole)
    count, at = len(before), batch_axis(value)
    return moved(value, whole, {count - 1: count - 2, count - 2: count - 1}.get(at, at))


def product(one: Value, other: Value) -> Value:
    """Of two stacks of matrices."""
    if one.kind is Kind.CONSTANT and other.kind is Kind.CONSTANT:
        return constant(None)
    a, b = list(shape(one)), list(shape(other))
    row, column = len(a) == 1, len(b) == 1
    left, right = ([1, *a] if row else a), ([*b, 1] if column else b)
    count = max(len(left), len(right))
    whole = [*broadcast([tuple(left[:-2]), tuple(right[:-2])]), left[-2], right[-1]]
    found: Place | None = None
    for value, own, first in ((one, left, True), (other, right, False)):
        if value.kind is not Kind.ROWS:
            continue
        assert value.place is not None
        at = value.place.axis + (row and first) - len(own)  # from the right
        if at == (-1 if first else -2):
            raise Mixed("sums over the batch axis")
        place = replace(value.place, axis=count + at)
        if found is not None and found != place:
            raise Mixed("pairs rows of the batch with each other")
        if found is None and not first and at < -2:
            _alone(left, at)
        if first and at < -2:
            _alone(right, at, other)
        if found is not None and at >= -2:
            raise Mixed("pairs rows of the batch with each other")
        found = place
    assert found is not None
    if found.axis == count - 2 and other.kind is Kind.ROWS:
        raise Mixed("pairs rows of the batch with each other")
    made = rows(whole, found)
    kept = [
        size
        for at, size in enumerate(made.shape or ())
        if not (row and at == count - 2) and not (column and at == count - 1)
    ]
    return moved(made, kept, found.axis - (row and found.axis > count - 2))


def _alone(own: list[Size], at: int, value: Value | None = None) -> None:
    """A stack that is not of rows has one matrix for all of them."""
    if (value is None or value.kind is not Kind.ROWS) and -at <= len(own) and own[at] != 1:
        raise Mixed("combines the batch with a tensor of another number of rows")


@rule("Gemm")
@rule("FusedGemm", domain=FUSED)
def gemm(node: Node) -> Value:
    """A product and a sum."""
    one, other = node.batch(0), node.batch(1)
    one = swapped(one) if node.attribute("transA", 0) else one
    other = swapped(other) if node.attribute("transB", 0) else other
    made = product(one, other)
    return together([made, node.batch(2)]) if node.has(2) else made


@rule("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", domain=FUSED)
def packed(node: Node) -> Value:
    """Weights in few bits: what is quantized of the rows is so row by row."""
    node.fixed(*range(1, 6))
    value = node.batch(0)
    apart(value, rank(value) - 1)
    return moved(value, (*shape(value)[:-1], node.attribute("N") or node.fresh(rank(value) - 1)), batch_axis(value))


@rule("Einsum")
def einsum(node: Node) -> Value:
    """The batch has one letter, which stays."""
    equation = node.attribute("equation").replace(" ", "")
    if "." in equation:
        raise Unknown("has an equation with an ellipsis")
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    if not arrow:
        result = "".join(sorted(letter for letter in set(given) - {","} if given.count(letter) == 1))
    letters: dict[str, Size] = {}
    found: set[tuple[str, Size, Size]] = set()
    for index, term in enumerate(terms):
        value = node.batch(index)
        for letter, size in zip(term, shape(value), strict=True):
            if letters.get(letter, 1) == 1:
                letters[letter] = size
        if value.kind is Kind.ROWS:
            assert value.place is not None
            letter = term[value.place.axis]
            if term.count(letter) > 1:
                raise Mixed("pairs rows of the batch with each other")
            found.add((letter, value.place.outer, value.place.inner))
    if len(found) != 1:
        raise Mixed("pairs rows of the batch with each other")
    letter, outer, inner = found.pop()
    if letter not in result:
        raise Mixed("sums over the batch axis")
    for index, term in enumerate(terms):
        value = node.batch(index)
        if letter in term and value.kind is Kind.CONSTANT and shape(value)[term.index(letter)] != 1:
            raise Mixed("combines the batch with a tensor of another number of rows")
    return rows([letters[one] for one in result], Place(result.index(letter), outer, inner))


@rule("CDist", domain=FUSED)
def distances(node: Node) -> Value:
    """Of each row to each of a table's."""
    value = node.batch(0)
    node.fixed(1)
    apart(value, 1)
    return rows([sizes.ROWS, shape(node.given(1))[0]], value.place or Place(0))


# ---- convolutions and pools ------------------------------------------------------------------------------------------


def space(node: Node, value: Value) -> list[Size]:
    """The sizes of a window's places, where they are numbers."""
    spatial = shape(value)[2:]
    kernel = node.attribute("kernel_shape")
    if kernel is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        kernel = (node.inputs[1].shape or ())[2:]
    count = len(spatial)
    auto = node.attribute("auto_pad", "NOTSET")
    strides, pads = node.attribute("strides", [1] * count), node.attribute("pads", [0] * 2 * count)
    dilations, ceil = node.attribute("dilations", [1] * count), node.attribute("ceil_mode", 0)
    made: list[Size] = []
    for at, size in enumerate(spatial):
        if not isinstance(size, int) or not kernel or not isinstance(kernel[at], int) or ceil:
            made.append(node.fresh(at + 2))
            continue
        reach = dilations[at] * (kernel[at] - 1) + 1
        if auto.startswith("SAME"):
            made.append(-(-size // strides[at]))
            continue
        padded = size + (pads[at] + pads[at + count] if auto == "NOTSET" else 0)
        made.append((padded - reach) // strides[at] + 1)
    return made


def first_axis(node: Node, index: int = 0) -> Value:
    """An input whose batch is on the first axis. Raises Mixed where it is on another, along which the operator works."""
    value = node.batch(index)
    if value.kind is Kind.ROWS and batch_axis(value) != 0:
        raise Mixed("works along the batch axis")
    return value


def _filters(node: Node, index: int) -> Size:
    weights = node.inputs[index] if index < len(node.inputs) else None
    return weights.shape[0] if weights is not None and weights.shape else node.fresh(1)


@rule("Conv")
@rule("FusedConv", "NhwcFusedConv", domain=FUSED)
@rule("Conv", domain="com.microsoft.nchwc")
def conv(node: Node) -> Value:
    """The same filters for all rows. FusedConv adds another tensor of the result's shape."""
    node.fixed(1, 2)
    value = first_axis(node)
    if node.kind == "NhwcFusedConv":
        made = rows([node.fresh(at) for at in range(rank(value))], value.place or Place(0))
    else:
        made = moved(value, (shape(value)[0], _filters(node, 1), *space(node, value)), 0)
    return together([made, node.batch(3)]) if node.has(3) else made


@rule("ConvInteger")
def conv_integer(node: Node) -> Value:
    """Zero points for all rows."""
    node.fixed(1, 2, 3)
    value = first_axis(node)
    return moved(value, (shape(value)[0], _filters(node, 1), *space(node, value)), 0)


@rule("QLinearConv")
@rule("QLinearConv", domain=FUSED)
def qlinear_conv(node: Node) -> Value:
    """Quantized beforehand."""
    node.fixed(*range(1, 9))
    value = first_axis(node)
    if node.attribute("channels_last", 0):
        return rows([node.fresh(at) for at in range(rank(value))], value.place or Place(0))
    spatial = (
        [node.fresh(at) for at in range(2, rank(value))] if not node.attribute("kernel_shape") else space(node, value)
    )
    return moved(value, (shape(value)[0], _filters(node, 3), *spatial), 0)


@rule("ConvTranspose", "DeformConv")
@rule("ConvTransposeWithDynamicPads", domain=FUSED)
def conv_transpose(node: Node) -> Value:
    """The size of its result is not worked out."""
    deform = node.kind == "DeformConv"
    node.fixed(1, *(() if deform else (2,)))
    value = first_axis(node)
    if deform:
        node.fixed(3)
        for index in (2, 4):
            if node.has(index) and first_axis(node, index).kind is not Kind.ROWS:
                raise Mixed("combines the batch with a tensor of another number of rows")
    return moved(value, (shape(value)[0], *(node.fresh(at) for at in range(1, rank(value)))), 0)


@rule("MaxPool", "AveragePool", "LpPool")
@rule("MaxPool", "AveragePool", domain="com.microsoft.nchwc")
def pool(node: Node) -> Sequence[Value]:
    """Windows of one row's image. The places that MaxPool names are counted through the whole batch."""
    value = first_axis(node)
    made = moved(value, (*shape(value)[:2], *space(node, value)), 0)
    if node.outputs == 1 or not node.proto.output[1]:
        return [made]
    why = f"the node {node.proto.name or node.proto.output[0]!r} (MaxPool) counts places through the whole batch"
    return [made, Value(Kind.MIXED, why=why)]


@rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
@rule("GlobalAveragePool", "GlobalMaxPool", domain="com.microsoft.nchwc")
def global_pool(node: Node) -> Value:
    """One number of each channel."""
    value = first_axis(node)
    return moved(value, (*shape(value)[:2], *([1] * (rank(value) - 2))), 0)


@rule("LRN", "InstanceNormalization", "GroupNormalization", "SpatialScaling")
@rule("GroupNorm", domain=FUSED)
@rule("ReorderOutput", "ReorderInput", domain="com.microsoft.nchwc")
def by_image(node: Node) -> Value:
    """Over one row's image, with parameters that are for all rows."""
    node.fixed(*range(1, 3))
    return first_axis(node)


@rule("GridSample", "AffineGrid", "Col2Im")
def sampled(node: Node) -> Value:
    """Each row's image by its own grid."""
    if node.kind != "GridSample":
        value = first_axis(node)
        if node.kind == "AffineGrid":
            size = node.numbers(1).ravel()
            return rows([sizes.ROWS, *size[2:], node.fresh(len(size))], value.place or Place(0))
        node.fixed(1, 2)
        return rows([node.fresh(at) for at in range(2 + len(node.numbers(1)))], value.place or Place(0))
    value, grid = first_axis(node), first_axis(node, 1)
    if value.kind is not grid.kind:
        raise Mixed("combines the batch with a tensor of another number of rows")
    return moved(value, (*shape(value)[:2], *shape(grid)[1:-1]), 0)


@rule("Resize", "Upsample")
@rule("Upsample", domain="com.microsoft.nchwc")
def resize(node: Node) -> Value:
    """Not the batch axis."""
    if node.opset >= 11 and node.kind == "Resize":
        node.fixed(1)
    value = node.batch(0)
    before = shape(value)
    scales, wanted = _resized(node, before)
    at = batch_axis(value)
    if wanted is not None:
        if wanted[at] != before[at]:
            raise Mixed("changes the number of rows")
        return moved(value, wanted, at)
    if scales is None or scales[at] != 1:
        raise Mixed("changes the number of rows") if scales is not None else Unknown("takes a scale that is not known")
    return moved(value, [size if scales[here] == 1 else node.fresh(here) for here, size in enumerate(before)], at)


def _resized(node: Node, before: Sequence[Size]) -> tuple[list[Size | float] | None, list[Size] | None]:
    """Scales or sizes of all axes."""
    count = len(before)
    axes = node.attribute("axes", range(count))
    if node.attribute("scales") is not None:
        return list(node.attribute("scales")), None
    index = 1 if node.opset < 11 or node.kind == "Upsample" else 2
    if index == 2 and node.has(3):
        sized = dict(zip((axis(at, count) for at in axes), node.numbers(3).ravel(), strict=True))
        return None, [sized.get(at, size) for at, size in enumerate(before)]
    scales: list[Size | float] = [1] * count
    for at, scale in zip(axes, node.numbers(index).ravel(), strict=True):
        scales[at] = scale
    return scales, None


# ---- along an axis ---------------------------------------------------------------------------------------------------


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
    if batch_axis(value) in axes:
        raise Mixed("reduces over the batch axis")
    return _reduced(value, axes, node.attribute("keepdims", 1))


def _reduced(value: Value, axes: Sequence[int], keep: int) -> Value:
    at = batch_axis(value)
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
    made = moved(value, [size if here == at else old for here, old in enumerate(shape(value))], batch_axis(value))
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
    few = moved(value, [1 if here >= at else size for here, size in enumerate(shape(value))], batch_axis(value))
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
        raise Mixed("computes the statistics of the whole batch (it is in training mode)")
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
        value, [node.fresh(here) if here in free else size for here, size in enumerate(shape(value))], batch_axis(value)
    )


@rule("Det")
@rule("Inverse", domain=FUSED)
def matrix(node: Node) -> Value:
    """Of the last two axes."""
    value = node.batch(0)
    apart(value, rank(value) - 1, rank(value) - 2)
    return value if node.kind == "Inverse" else moved(value, shape(value)[:-2], batch_axis(value))


@rule("RNN", "GRU", "LSTM")
def recurrent(node: Node) -> Sequence[Value]:
    """Along the first axis, or with layout 1 the second; the batch is on the other one."""
    node.fixed(1, 2, 3, 7)
    layout = node.attribute("layout", 0)
    value = node.batch(0)
    if value.kind is not Kind.ROWS or batch_axis(value) != 1 - layout:
        raise Mixed("is recurrent along the batch axis")
    assert value.place is not None
    for index, at in ((4, 0), (5, 1 - layout), (6, 1 - layout)):
        if node.has(index):
            state = node.batch(index)
            if state.kind is not Kind.ROWS:
                raise Mixed("has a fixed number of rows in its state")
            if state.place != replace(value.place, axis=at):
                raise Unknown("combines tensors that hold the batch in different orders")
    steps, hidden = shape(value)[layout], node.attribute("hidden_size") or node.fresh(2, 0)
    ways = 2 if node.attribute("direction", "forward") == "bidirectional" else 1
    at = (0, 0) if layout else (2, 1)
    whole = (sizes.ROWS, steps, ways, hidden) if layout else (steps, ways, sizes.ROWS, hidden)
    last = (sizes.ROWS, ways, hidden) if layout else (ways, sizes.ROWS, hidden)
    outputs = [rows(whole, replace(value.place, axis=at[0]))]
    return outputs + [rows(last, replace(value.place, axis=at[1]))] * (node.outputs - 1)


mixes("quantizes by the range of the whole batch", "DynamicQuantizeLinear")
mixes(
    "quantizes by the range of the whole batch",
    *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "DynamicQuantizeLinear"),
    domain=FUSED,
)
mixes("computes one number of the whole batch", "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
varies("takes regions of any row", "RoiAlign", "MaxRoiPool", "MaxUnpool")
mixes("fills up to the longest of all rows", "StringSplit")
