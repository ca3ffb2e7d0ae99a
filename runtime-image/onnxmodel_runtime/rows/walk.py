"""Trace the batch through a graph, node by node, into branches and loops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx

from onnxmodel_runtime.models import graph as graphs
from onnxmodel_runtime.rows import (
    along,
    classical,
    data,
    elementwise,
    extents,
    fused,
    gathering,
    images,
    moving,
    products,
    sequences,
)
from onnxmodel_runtime.rows.extents import Size
from onnxmodel_runtime.rows.nodes import FEW, Node
from onnxmodel_runtime.rows.table import CLASSICAL, FUSED, STANDARD, TABLE
from onnxmodel_runtime.rows.values import (
    Drawn,
    Kind,
    Mixed,
    Shape,
    Unknown,
    Value,
    axis_of,
    constant,
    known,
    moved,
    settled,
)

RULES = (
    along,
    classical,
    elementwise,
    fused,
    gathering,
    images,
    moving,
    products,
    sequences,
)  # that enter themselves into the table
_DOMAINS = frozenset({STANDARD, CLASSICAL, FUSED, "com.microsoft.nchwc"})  # deterministic, but for what has a rule
_INDEXES = {("GatherND", 1), ("ScatterND", 1), ("Identity", 0), ("Cast", 0)}  # inputs that may hold numbers of rows
_TURNS = 8  # of a loop, after which its state must have settled

Values = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Walk:
    """opsets: by domain. inferred: shapes that ONNX's own inference found, by the tensor's name."""

    opsets: Mapping[str, int]
    inferred: Mapping[str, Shape]

    def graph(self, graph: Any, around: Values) -> Values:
        """All values of the graph, and of those around it. around: its inputs too."""
        values = dict(around)
        for tensor in graph.initializer:
            values[tensor.name] = _constant(tensor)
        for sparse in graph.sparse_initializer:
            values[sparse.values.name] = constant(tuple(sparse.dims))
        for node in graph.node:
            for name, value in zip(node.output, self.node(node, values), strict=False):
                if name:
                    values[name] = self._refined(name, value)
        return values

    def node(self, proto: Any, values: Values) -> Sequence[Value]:
        """Return the known facts of a node's outputs."""
        domain = STANDARD if proto.domain in graphs.STANDARD else proto.domain
        given = [values.get(name) if name else None for name in proto.input]
        node = Node(proto, self.opsets.get(domain, 1), tuple(given))
        if lost := next(
            (value for kind in (Kind.MIXED, Kind.UNKNOWN) for value in given if value and value.kind is kind), None
        ):
            return [lost] * len(proto.output)
        try:
            if any(v and v.indexed and (node.kind, at) not in _INDEXES for at, v in enumerate(given)):
                raise Mixed("computes with the index of a row in the batch")
            found = self._known(node, domain, values)
            made = [found] * len(proto.output) if isinstance(found, Value) else list(found)
            self._understood(node)
        except Mixed as error:
            made = [Value(Kind.MIXED, why=_sentence(proto, str(error)))] * len(proto.output)
        except Unknown as error:
            made = [Value(Kind.UNKNOWN, why=_sentence(proto, str(error)))] * len(proto.output)
        except Exception:  # a rule that reads a node other than it was written for
            made = [Value(Kind.UNKNOWN, why=_sentence(proto, "cannot be traced"))] * len(proto.output)
        return made

    def _known(self, node: Node, domain: str, values: Values) -> Value | Sequence[Value]:
        kind = node.kind
        if domain == STANDARD and kind == "Constant":
            return _literal(node.proto)
        if domain == STANDARD and kind in ("Shape", "Size"):
            found = data.of_shape(node, node.raw())
            if found is None:
                raise Unknown("has an input whose shape is not known")
            return known(found)
        if domain == STANDARD and kind in ("If", "Loop", "Scan"):
            return {"If": self._if, "Loop": self._loop, "Scan": self._scan}[kind](node, values)
        if (found := data.evaluate(node)) is not None:
            node.every()
            return known(found)
        enter = TABLE.get((domain, kind))
        if all(value.kind is Kind.CONSTANT for value in node.every()) and domain in _DOMAINS:
            return self._constants(node, enter)
        node.seen.clear()
        if enter is None:
            raise Unknown(
                f"is an operator{' of ' + domain if domain else ''} that is not known to keep rows independent"
            )
        return enter(node)

    def _constants(self, node: Node, enter: Any) -> Sequence[Value]:
        """Return constants for a node whose inputs are constants. The operator's rule gives only their shapes."""
        try:
            found = enter(node)
            made = [found] * node.outputs if isinstance(found, Value) else list(found)
        except Drawn:
            raise
        except Exception:
            made = []
        shapes = [value.shape for value in made] + [None] * (node.outputs - len(made))
        whole = []
        for name, shape in zip(node.proto.output, shapes, strict=False):
            fits = shape is not None and not any(map(extents.of_batch, shape))
            whole.append(constant(shape if fits else self.inferred.get(name)))
        return whole

    def _understood(self, node: Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value.kind is not Kind.CONSTANT and index not in node.seen:
                raise Unknown("has rows in an input that is not traced")

    def _refined(self, name: str, value: Value) -> Value:
        """Numbers in the place of symbols, where ONNX's inference knows them."""
        more = self.inferred.get(name)
        if more is None or value.shape is None or len(more) != len(value.shape):
            return replace(value, shape=more) if value.kind is Kind.CONSTANT and value.shape is None else value
        whole = tuple(
            size if isinstance(size, int) or extents.of_batch(size) or not isinstance(better, int) else better
            for size, better in zip(value.shape, more, strict=True)
        )
        return replace(value, shape=whole)

    # ---- graphs in nodes ---------------------------------------------------------------------------------------------

    def _outputs(self, graph: Any, values: Values) -> list[Value]:
        found = self.graph(graph, values)
        return [found[value.name] for value in graph.output]

    def _if(self, node: Node, values: Values) -> Sequence[Value]:
        condition = node.every()[0]
        if condition.kind is not Kind.CONSTANT:
            raise Mixed("takes a branch that depends on the content of the batch, or on its size")
        ways = [node.attribute("then_branch"), node.attribute("else_branch")]
        if condition.data is not None:
            ways = ways[:1] if condition.data.ravel()[0] else ways[1:]
        made = [self._outputs(way, values) for way in ways]
        return [
            merged(found, name)
            for name, found in zip(node.proto.output, map(list, zip(*made, strict=True)), strict=True)
        ]

    def _loop(self, node: Node, values: Values) -> Sequence[Value]:
        node.fixed(0, 1)
        body = node.attribute("body")
        node.every()
        state = [replace(node.raw(index), data=None) for index in range(2, len(node.inputs))]
        names = [value.name for value in body.input]
        for _ in range(_TURNS):
            inner = dict(values)
            inner.update(zip(names, (constant(()), constant(()), *state), strict=True))
            going, *made = self._outputs(body, inner)
            if going.why:
                return [going] * node.outputs
            if going.kind is not Kind.CONSTANT:
                raise Mixed("loops depending on the content of the batch, or on its size")
            grown = [
                merged([a, replace(b, data=None)], name) for a, b, name in zip(state, made, names[2:], strict=False)
            ]
            if grown == state:
                return [
                    *state,
                    *(_stacked(value, node.fresh(0, len(state) + n)) for n, value in enumerate(made[len(state) :])),
                ]
            state = grown
        raise Unknown("is a loop that cannot be traced")

    def _scan(self, node: Node, values: Values) -> Sequence[Value]:
        if node.opset < 9:
            raise Unknown("is a Scan of an old opset")
        body, count = node.attribute("body"), node.attribute("num_scan_inputs")
        node.every()
        first = len(node.inputs) - count
        state = [replace(node.raw(index), data=None) for index in range(first)]
        axes = node.attribute("scan_input_axes", [0] * count)
        parts = [_part(node.given(first + n), axes[n], stateful=first > 0) for n in range(count)]
        names = [value.name for value in body.input]
        out = node.attribute("scan_output_axes")
        for _ in range(_TURNS):
            inner = dict(values)
            inner.update(zip(names, (*state, *parts), strict=True))
            made = self._outputs(body, inner)
            grown = [merged([a, replace(b, data=None)], name) for a, b, name in zip(state, made, names, strict=False)]
            if grown == state:
                rest = made[len(state) :]
                where = out or [0] * len(rest)
                return [*state, *(_stacked(v, node.fresh(0, first + n), where[n]) for n, v in enumerate(rest))]
            state = grown
        raise Unknown("is a loop that cannot be traced")


def merged(found: list[Value], name: str) -> Value:
    """Return the facts that hold for either of the values."""
    if harmful := next((v for kind in (Kind.MIXED, Kind.UNKNOWN) for v in found if v.kind is kind), None):
        return harmful
    kinds = {value.kind for value in found}
    if kinds == {Kind.EVEN, Kind.ROWS}:
        found = [settled(value) for value in found]
        kinds = {Kind.ROWS}
    first = found[0]
    if len(kinds) > 1 or any((value.place, value.indexed) != (first.place, first.indexed) for value in found):
        raise Unknown("returns another kind of tensor on another branch")
    if all(value == first for value in found if value.data is None) and first.data is None:
        return first
    shapes = [value.shape for value in found]
    whole: Shape | None = None
    if all(shape is not None and len(shape) == len(first.shape or ()) for shape in shapes):
        columns = list(zip(*(shape or () for shape in shapes), strict=True))
        if any(extents.of_batch(size) for sizes_ in columns for size in sizes_ if len(set(sizes_)) > 1):
            raise Unknown("returns another number of rows on another branch")
        whole = tuple(
            one[0] if len(set(one)) == 1 else extents.symbol(f"{name}.{at}") for at, one in enumerate(columns)
        )
    elif first.kind is not Kind.CONSTANT:
        raise Unknown("returns another kind of tensor on another branch")
    return replace(first, shape=whole, data=None)


def _stacked(value: Value, count: Size, at: int = 0) -> Value:
    """One behind the other on a new axis."""
    value = settled(value)
    if value.shape is None or value.kind in (Kind.MIXED, Kind.UNKNOWN):
        return value
    if value.kind not in (Kind.CONSTANT, Kind.ROWS) or value.indexed:
        raise Mixed("computes with the number of rows, or with the index of a row")
    where = at + len(value.shape) + 1 if at < 0 else at
    whole = (*value.shape[:where], count, *value.shape[where:])
    return moved(value, whole, axis_of(value) + (where <= axis_of(value)))


def _part(value: Value, at: int, *, stateful: bool) -> Value:
    """Return the value that one iteration of a Scan sees. stateful: whether iterations carry a state."""
    if value.shape is None:
        raise Unknown("has an input whose shape is not known")
    if value.kind not in (Kind.CONSTANT, Kind.ROWS):
        raise Mixed("computes with the number of rows, or with the index of a row")
    where = at + len(value.shape) if at < 0 else at
    if axis_of(value) == where:
        if not stateful:
            raise Unknown("iterates over the batch row by row, which is not traced")
        raise Mixed("iterates over the batch row by row, and carries a state from one row to the next")
    whole = (*value.shape[:where], *value.shape[where + 1 :])
    return moved(value, whole, axis_of(value) - (where < axis_of(value)))


def _sentence(proto: Any, what: str) -> str:
    return f"the node {graphs.node_name(proto)!r} ({proto.op_type}) {what}"


def _constant(tensor: Any) -> Value:
    shape = tuple(tensor.dims)
    if graphs.elements(shape) > FEW or tensor.data_location == graphs.EXTERNAL:
        return constant(shape)
    try:
        return constant(shape, data.array(onnx.numpy_helper.to_array(tensor)))
    except Exception:  # of a datatype that numpy has not, or without its data
        return constant(shape)


def _literal(proto: Any) -> Value:
    for attribute in proto.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            return _constant(value)
        if attribute.name == "sparse_value":
            return constant(tuple(value.dims))
        if attribute.name in ("value_string", "value_strings"):
            return constant(() if attribute.name == "value_string" else (len(value),))
        return known(data.array(value))
    raise Unknown("has no value")
