"""Operators that look at a window of an image: convolutions, pools, resizing."""

from collections.abc import Sequence

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.extents import Size
from onnxmodel_runtime.rows.nodes import Node, axis, rank, shape
from onnxmodel_runtime.rows.table import FUSED, rule
from onnxmodel_runtime.rows.values import (
    Kind,
    Mixed,
    Place,
    Unknown,
    Value,
    axis_of,
    moved,
    rows,
    together,
)


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
    if value.kind is Kind.ROWS and axis_of(value) != 0:
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
                raise Mixed("combines the batch with a tensor that has another number of rows")
    return moved(value, (shape(value)[0], *(node.fresh(at) for at in range(1, rank(value)))), 0)


@rule("MaxPool", "AveragePool", "LpPool")
@rule("MaxPool", "AveragePool", domain="com.microsoft.nchwc")
def pool(node: Node) -> Sequence[Value]:
    """Windows of one row's image. The places that MaxPool names are counted through the whole batch."""
    value = first_axis(node)
    made = moved(value, (*shape(value)[:2], *space(node, value)), 0)
    if node.outputs == 1 or not node.proto.output[1]:
        return [made]
    why = f"the node {node.proto.name or node.proto.output[0]!r} (MaxPool) counts positions across the whole batch"
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
            return rows([extents.ROWS, *size[2:], node.fresh(len(size))], value.place or Place(0))
        node.fixed(1, 2)
        return rows([node.fresh(at) for at in range(2 + len(node.numbers(1)))], value.place or Place(0))
    value, grid = first_axis(node), first_axis(node, 1)
    if value.kind is not grid.kind:
        raise Mixed("combines the batch with a tensor that has another number of rows")
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
    at = axis_of(value)
    if wanted is not None:
        if wanted[at] != before[at]:
            raise Mixed("changes the number of rows")
        return moved(value, wanted, at)
    if scales is None or scales[at] != 1:
        raise Mixed("changes the number of rows") if scales is not None else Unknown("has a scale that is not known")
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
