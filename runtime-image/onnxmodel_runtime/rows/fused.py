"""Operators that ONNX Runtime's optimizers fuse from several (com.microsoft), and attention."""

from collections.abc import Sequence
from dataclasses import replace

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.images import first_axis
from onnxmodel_runtime.rows.nodes import Node, apart, axis, rank, shape
from onnxmodel_runtime.rows.table import FUSED, rule, varies
from onnxmodel_runtime.rows.values import Kind, Mixed, Place, Unknown, Value, axis_of, moved, rows, together


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=FUSED)
def skip_norm(node: Node) -> Sequence[Value]:
    """A sum, normalized along the last axis."""
    node.fixed(2, 3, 4)
    simplified = node.kind == "SkipSimplifiedLayerNormalization"
    value = together([node.batch(0), node.batch(1)] + ([node.batch(3)] if simplified and node.has(3) else []))
    apart(value, rank(value) - 1)
    few = moved(value, (*shape(value)[:-1], 1), axis_of(value))
    return [value, few, few, value][: node.outputs]


@rule("EmbedLayerNormalization", domain=FUSED)
def embedding(node: Node) -> Sequence[Value]:
    """Words, positions and segments of each row."""
    node.fixed(2, 3, 4, 5, 6)
    ids = first_axis(node)
    for index in (1, 7, 8):
        if node.has(index) and first_axis(node, index).kind is not Kind.ROWS and shape(node.given(index))[0] != 1:
            raise Mixed("combines the batch with a tensor that has another number of rows")
    hidden = shape(node.given(2))[-1]
    made = rows((*shape(ids), hidden), ids.place or Place(0))
    return [made, rows((1,), ids.place or Place(0)), made][: node.outputs]


def _beside(node: Node, indexes: Sequence[int], at: int = 0, of: int = 0) -> None:
    """Inputs whose batch is on this axis, or that are the same for all rows."""
    for index in indexes:
        if not node.has(index):
            continue
        value = node.batch(index)
        if value.kind is Kind.CONSTANT:
            if rank(value) > at and rank(value) > 1 and shape(value)[at] != 1 and of:
                raise Mixed("combines the batch with a tensor that has another number of rows")
        elif value.place != Place(at):
            raise Unknown("has the batch on an unexpected axis")


@rule("Attention", domain=FUSED)
@rule("QAttention", domain=FUSED)
def attention(node: Node) -> Sequence[Value]:
    """[batch, sequence, hidden], with a mask of each row; what was before is [2, batch, …]."""
    quantized = node.kind == "QAttention"
    node.fixed(1, 2, *((3, 4, 6, 7) if quantized else ()))
    value = first_axis(node)
    if rank(value) != 3:
        raise Unknown("has an input of another rank")
    _beside(node, (5,) if quantized else (3,))
    _beside(node, (8,) if quantized else (4,), 1)
    if not quantized:
        _beside(node, (5,), 0, 1)
        node.fixed(6)
    weights = node.inputs[1]
    width = weights.shape[-1] if weights is not None and weights.shape else node.fresh(2)
    third = extents.divided(width, 3)
    kinds = node.attribute("qkv_hidden_sizes")
    hidden = kinds[2] if kinds else third if third is not None else node.fresh(2)
    made = rows((*shape(value)[:2], hidden), Place(0))
    present = rows((2, extents.ROWS, *(node.fresh(at, 1) for at in (2, 3, 4))), Place(1)) if node.outputs > 1 else made
    return [made, present][: node.outputs]


@rule("MultiHeadAttention", "DecoderMaskedMultiHeadAttention", "GroupQueryAttention", domain=FUSED)
def heads(node: Node) -> Sequence[Value]:
    """Query, key and value of each row."""
    query = first_axis(node)
    if query.place != Place(0):
        raise Mixed("works along the batch axis")
    grouped = node.kind == "GroupQueryAttention"
    _beside(node, (1, 2, 3, 4, 5) if grouped else (1, 2, 4, 5, 6, 7), 0, 1)
    node.fixed(*((6, 7, 8, 11, 12, 13) if grouped else (3, 8)))
    _beside(node, (9, 10) if grouped else (), 0, 1)
    for index in (1, 2):
        if node.has(index) and node.batch(index).kind is not Kind.ROWS:
            raise Mixed("combines the batch with a tensor that has another number of rows")
    if not grouped and any(node.has(index) for index in range(9, 12)):
        raise Unknown("reads a cache that is not traced")
    whole = shape(query)[:2]
    if grouped:
        hidden = shape(query)[2] if node.has(1) else node.fresh(2)
    else:
        last = shape(node.given(2)) if node.has(2) else ()
        hidden = last[-1] if len(last) == 3 else node.fresh(2)
    made = rows((*whole, hidden), Place(0))
    cache = [rows([node.fresh(at, index) for at in range(4)], Place(0)) for index in range(1, min(node.outputs, 3))]
    if node.outputs > 3:
        raise Unknown("has an output that is not traced")
    return [made, *cache]


@rule("Attention")
def standard_attention(node: Node) -> Sequence[Value]:
    """The standard's own, since opset 23."""
    query = first_axis(node)
    if query.place != Place(0):
        raise Mixed("works along the batch axis")
    for index in (1, 2):
        if node.batch(index).place != Place(0):
            raise Mixed("combines the batch with a tensor that has another number of rows")
    if node.has(3):
        mask = node.batch(3)
        if mask.kind is Kind.ROWS and (rank(mask) != 4 or mask.place != Place(0)):
            raise Mixed("pairs rows of the batch with each other")
        if mask.kind is Kind.CONSTANT and rank(mask) == 4 and shape(mask)[0] != 1:
            raise Mixed("combines the batch with a tensor that has another number of rows")
    _beside(node, (4, 5, 6), 0, 1)
    last = node.fresh(rank(query) - 1)
    made = rows((*shape(query)[:-1], last), Place(0))
    others = [rows([node.fresh(at, index) for at in range(4)], Place(0)) for index in range(1, node.outputs)]
    return [made, *others]


@rule("RotaryEmbedding", domain=FUSED)
def rotary(node: Node) -> Value:
    """Positions of each row, or the same for all."""
    node.fixed(2, 3)
    value = first_axis(node)
    _beside(node, (1,))
    return value


@rule("RotaryEmbedding")
def standard_rotary(node: Node) -> Value:
    """The caches may be of each row."""
    value = first_axis(node)
    _beside(node, (1, 2, 3), 0, 1)
    return value


@rule("QLinearAdd", "QLinearMul", domain=FUSED)
def quantized_pair(node: Node) -> Value:
    """Scales and zero points are for all rows."""
    node.fixed(1, 2, 4, 5, 6, 7)
    return together([node.batch(0), node.batch(3)])


@rule("QLinearLeakyRelu", "QLinearSigmoid", domain=FUSED)
def quantized_one(node: Node) -> Value:
    """The same of one."""
    node.fixed(1, 2, 3, 4)
    return node.batch(0)


@rule("QLinearSoftmax", domain=FUSED)
def quantized_softmax(node: Node) -> Value:
    """opset: of the operator that it was."""
    node.fixed(1, 2, 3, 4)
    value = node.batch(0)
    at = axis(node.attribute("axis", -1), rank(value))
    apart(value, *(range(at, rank(value)) if node.attribute("opset", 13) < 13 else (at,)))
    return value


@rule("QLinearAveragePool", "QLinearGlobalAveragePool", domain=FUSED)
def quantized_pool(node: Node) -> Value:
    """Of each row's image."""
    node.fixed(1, 2, 3, 4)
    value = first_axis(node)
    return moved(value, (shape(value)[0], *(node.fresh(at) for at in range(1, rank(value)))), 0)


@rule("QLinearConcat", domain=FUSED)
def quantized_concat(node: Node) -> Value:
    """Triples of a tensor, its scale and its zero point, behind those of the result."""
    node.fixed(0, 1, *(index for index in range(2, len(node.inputs)) if (index - 2) % 3))
    values = [node.batch(index) for index in range(2, len(node.inputs), 3)]
    at = axis(node.attribute("axis"), rank(values[0]))
    for value in values:
        apart(value, at)
    one = [replace(v, shape=tuple(1 if h == at else s for h, s in enumerate(shape(v)))) for v in values]
    made = together(one)
    assert made.place is not None
    whole = [node.fresh(at) if here == at else size for here, size in enumerate(shape(made))]
    return rows(whole, made.place)


@rule("QGemm", domain=FUSED)
def quantized_gemm(node: Node) -> Value:
    """A product with weights."""
    node.fixed(*range(1, 9))
    value = node.batch(0)
    if node.attribute("transA", 0) or axis_of(value) != 0:
        raise Mixed("sums over the batch axis")
    return moved(value, (shape(value)[0], node.fresh(1)), 0)


@rule("GatherBlockQuantized", domain=FUSED)
def packed_table(node: Node) -> Value:
    """Rows of a table in few bits."""
    node.fixed(0, 2, 3)
    indices = node.batch(1)
    table = shape(node.given(0))
    at = axis(node.attribute("gather_axis", 0), len(table))
    whole = (*table[:at], *shape(indices), *(node.fresh(at + rank(indices) + n) for n in range(len(table) - at - 1)))
    return moved(indices, whole, at + axis_of(indices))


varies(
    "searches",
    *("BeamSearch", "GreedySearch", "WhisperBeamSearch", "NGramRepeatBlock", "CropAndResize"),
    domain=FUSED,
)
