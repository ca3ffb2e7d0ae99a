"""Operators that compute element by element, or turn each element into another."""

from collections.abc import Sequence
from dataclasses import replace

from onnxmodel_runtime.rows.nodes import Node, apart, axis, rank, shape
from onnxmodel_runtime.rows.table import FUSED, draws, rule
from onnxmodel_runtime.rows.values import (
    Drawn,
    Kind,
    Mixed,
    Unknown,
    Value,
    axis_of,
    constant,
    even,
    moved,
    together,
)

_UNARY = (
    *(
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BitwiseNot",
        "Ceil",
        "Celu",
        "Cos",
        "Cosh",
        "Elu",
        "Erf",
    ),
    *("Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not"),
    *(
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
    ),
    *("Swish", "Tan", "Tanh", "ThresholdedRelu", "RegexFullMatch", "Affine", "ImageScaler", "ParametricSoftplus"),
    "ScaledTanh",
)
_SEVERAL = (
    *("Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual"),
    *("Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "StringConcat", "Sub", "Sum"),
    *("SwiGLU", "Where", "Xor"),
)
_PASSED = ("Identity", "Cast")


@rule(*_UNARY)
@rule("Gelu", "QuickGelu", "BiasGelu", "FastGelu", "Silu", domain=FUSED)
@rule(*_SEVERAL)
def elementwise(node: Node) -> Value:
    """All inputs are operands."""
    return together(node.every())


@rule(*_PASSED)
def passed(node: Node) -> Value:
    """The same elements: a row's number stays one."""
    return replace(node.raw(), data=None)


@rule("CastLike")
def like(node: Node) -> Value:
    """The second input gives its type alone."""
    return replace(node.every()[0], data=None)


@rule("Clip")
def clip(node: Node) -> Value:
    """Bounds that are computed from all rows would be MIXED already."""
    node.fixed(1, 2)
    return together(node.every()[:1])


def _idle(node: Node, mode: int) -> None:
    """Raises Drawn unless the input that tells training from serving is left out or known to be false."""
    if node.has(mode) and ((data := node.raw(mode).data) is None or data.ravel()[0]):
        raise Drawn


@rule("Dropout")
def dropout(node: Node) -> Sequence[Value]:
    """Does nothing where a model is served."""
    _idle(node, 2)
    value = together(node.every()[:1])
    return [value] * node.outputs


@rule("BiasDropout", domain=FUSED)
def bias_dropout(node: Node) -> Sequence[Value]:
    """Do nothing where a model is served, but add a bias and a residual."""
    _idle(node, 4)
    operands = [node.batch(index) for index in range(3) if node.has(index)]
    return [together(operands)] * node.outputs


@rule("QuantizeLinear", "DequantizeLinear")
@rule("QuantizeLinear", "DequantizeLinear", domain=FUSED)
def quantized(node: Node) -> Value:
    """With a scale for all, for each channel, or for blocks of them."""
    value = node.batch(0)
    if node.given(1).kind is Kind.CONSTANT:
        node.fixed(2)
        scale = node.given(1).shape
        if scale is None or (scale not in ((), (1,)) and value.kind is Kind.ROWS):
            apart(value, axis(node.attribute("axis", 1), rank(value)))
        return replace(value, data=None)
    scale = shape(node.given(1))
    if len(scale) != rank(value):
        raise Unknown("scales by a value that depends on the rows")
    return together(node.every())


@rule("ConstantOfShape")
def filled(node: Node) -> Value:
    """One number everywhere."""
    shape_of = node.raw()
    if shape_of.kind is Kind.CONSTANT and shape_of.data is None:
        count = shape_of.shape[0] if shape_of.shape else None
        return constant(tuple(node.fresh(at) for at in range(count)) if isinstance(count, int) else None)
    return even(tuple(node.numbers(0)))


@rule("EyeLike")
def eye(node: Node) -> Value:
    """Ones where the axes' places are equal."""
    if node.given().kind is Kind.CONSTANT:
        return constant(node.given().shape)
    raise Mixed("numbers the rows of the batch")


@rule("OneHot")
def one_hot(node: Node) -> Value:
    """A new axis."""
    node.fixed(1, 2)
    indices = node.batch(0)
    whole = list(shape(indices))
    at = axis(node.attribute("axis", -1), len(whole) + 1)
    depth = node.inputs[1].data if node.inputs[1] is not None else None
    whole.insert(at, int(depth.ravel()[0]) if depth is not None else node.fresh(at))
    return moved(indices, whole, axis_of(indices) + (at <= axis_of(indices)))


draws("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
draws("BitmaskDropout", "BitmaskBiasDropout", "Sampling", domain=FUSED)
