"""Products of matrices and tensors: MatMul, Gemm, Einsum, distances."""

from dataclasses import replace

from onnxmodel_runtime.rows import extents
from onnxmodel_runtime.rows.extents import Size
from onnxmodel_runtime.rows.nodes import Node, apart, rank, shape
from onnxmodel_runtime.rows.table import FUSED, rule
from onnxmodel_runtime.rows.values import (
    Kind,
    Mixed,
    Place,
    Unknown,
    Value,
    axis_of,
    broadcast,
    constant,
    moved,
    rows,
    together,
)


@rule("MatMul")
def matmul(node: Node) -> Value:
    """A product of matrices, stacks of them with numpy's rules."""
    return matrix_product(node.batch(0), node.batch(1))


@rule("MatMulInteger", "QLinearMatMul")
@rule("MatMulIntegerToFloat", domain=FUSED)
def quantized_matmul(node: Node) -> Value:
    """The same with scales and zero points that are for all rows."""
    pairs = node.kind == "QLinearMatMul"
    node.fixed(*(range(1, 3) if pairs else range(2, 7)), *(range(4, 8) if pairs else ()))
    return matrix_product(node.batch(0), node.batch(3 if pairs else 1))


@rule("FusedMatMul", "TransposeMatMul", domain=FUSED)
def fused_matmul(node: Node) -> Value:
    """The same with transposed operands."""
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise Unknown("transposes its stacks of matrices")
    given = [node.batch(0), node.batch(1)]
    for index, name in enumerate(("transA", "transB")):
        if node.attribute(name, 0):
            given[index] = swapped(given[index])
    return matrix_product(*given)


def swapped(value: Value) -> Value:
    """With the last two axes in the other order."""
    before = shape(value)
    if len(before) < 2:
        return value
    whole = (*before[:-2], before[-1], before[-2])
    if value.kind is Kind.CONSTANT:
        return constant(whole)
    count, at = len(before), axis_of(value)
    return moved(value, whole, {count - 1: count - 2, count - 2: count - 1}.get(at, at))


def matrix_product(one: Value, other: Value) -> Value:
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
        raise Mixed("combines the batch with a tensor that has another number of rows")


@rule("Gemm")
@rule("FusedGemm", domain=FUSED)
def gemm(node: Node) -> Value:
    """A product and a sum."""
    one, other = node.batch(0), node.batch(1)
    one = swapped(one) if node.attribute("transA", 0) else one
    other = swapped(other) if node.attribute("transB", 0) else other
    made = matrix_product(one, other)
    return together([made, node.batch(2)]) if node.has(2) else made


@rule("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", domain=FUSED)
def packed(node: Node) -> Value:
    """Multiply by weights in few bits. Rows are quantized one by one."""
    node.fixed(*range(1, 6))
    value = node.batch(0)
    apart(value, rank(value) - 1)
    return moved(value, (*shape(value)[:-1], node.attribute("N") or node.fresh(rank(value) - 1)), axis_of(value))


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
            raise Mixed("combines the batch with a tensor that has another number of rows")
    return rows([letters[one] for one in result], Place(result.index(letter), outer, inner))


@rule("CDist", domain=FUSED)
def distances(node: Node) -> Value:
    """Of each row to each of a table's."""
    value = node.batch(0)
    node.fixed(1)
    apart(value, 1)
    return rows([extents.ROWS, shape(node.given(1))[0]], value.place or Place(0))
