"""Small random graphs of a few operators, made to cross the batch where a rule is wrong about one of them."""

from random import Random
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.models import model

FLOAT = TensorProto.FLOAT
SIZES = (1, 2, 4)
_WEIGHTS = {
    **{f"i{value}": np.array([value], np.int64) for value in (-1, 0, 1, 2, 3, 4)},
    **{"zero": np.array(0, np.int64), "one": np.array(1, np.int64)},
    **{"row": np.ones((1, 2), np.float32), "rows": np.arange(8, dtype=np.float32).reshape(4, 2)},
    **{"square": np.array([[1, 2], [3, 5]], np.float32), "cells": np.arange(16, dtype=np.float32).reshape(4, 4)},
    **{"drawn": np.zeros((1, 2), np.float32), "on": np.array(True), "half": np.array(0.5, np.float32)},
    "pick": np.array([1, 0], np.int64),
}


class Chain:
    """x [rows, 2] or [rows, 2, 2], z [rows, other]; a few operators; y is what the last one makes."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rank = random.choice((2, 2, 3))
        self.nodes: list[Any] = []
        self.floats = ["x", "z", "x"]
        self.numbers: list[str] = []  # of rows, as a column, for indices

    def build(self, count: int) -> Any:
        """A model of so many steps; a step is an operator, with what it needs to be given its sizes."""
        steps = (self.one, self.two, self.shaped, self.indexed, self.along, self.drawn)
        for _ in range(count):
            made = self.random.choices(steps, (3, 4, 6, 4, 4, 1))[0]()
            self.floats += [made, made, made]
        last = self.floats[-1]
        self.nodes.append(helper.make_node("Identity", [last], ["y"]))
        tail = [2] * (self.rank - 1)
        made = model(self.nodes, [("x", FLOAT, ["n", *tail]), ("z", FLOAT, ["n", "k"])], [("y", FLOAT, [])], _WEIGHTS)
        made.graph.output[0].type.tensor_type.ClearField("shape")
        return made

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node and the name of its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def some(self) -> str:
        return self.random.choice(self.floats)

    def axis(self) -> int:
        return self.random.choice((0, 1, 1, 2, -1))

    def size(self) -> str:
        """A size as a tensor of one element: a number, of the batch, or of another input."""
        if self.random.random() < 0.5:
            return self.random.choice(("i-1", "i0", "i1", "i2", "i4"))
        shape = self.add("Shape", self.some())
        return self.add("Gather", shape, self.random.choice(("i0", "i1")))

    def one(self) -> str:
        kind = self.random.choice(("Relu", "Transpose", "Flatten", "Identity"))
        if kind == "Flatten":
            return self.add(kind, self.some(), axis=self.axis())
        return self.add(kind, self.some())

    def two(self) -> str:
        other = self.random.choice((*self.floats, "row", "rows", "square"))
        kind = self.random.choice(("Add", "Mul", "MatMul", "Concat", "Max"))
        return self.add(kind, self.some(), other, **({"axis": self.axis()} if kind == "Concat" else {}))

    def shaped(self) -> str:
        kind = self.random.choice(("Reshape", "Expand", "Slice", "Tile", "Unsqueeze", "ConstantOfShape"))
        sizes = [self.size() for _ in range(2)]
        if kind == "Unsqueeze":
            return self.add(kind, self.some(), self.random.choice(("i0", "i1", "i2")))
        if kind == "Slice":
            return self.add(kind, self.some(), "i0", sizes[0], self.random.choice(("i0", "i1")))
        whole = self.add("Concat", *sizes, axis=0)
        return self.add(kind, whole) if kind == "ConstantOfShape" else self.add(kind, self.some(), whole)

    def number(self) -> str:
        if not self.numbers:
            shape = self.add("Shape", self.some())
            count = self.add("Gather", shape, "zero")
            self.numbers.append(self.add("Unsqueeze", self.add("Range", "zero", count, "one"), "i1"))
        return self.numbers[0]

    def indexed(self) -> str:
        kind = self.random.choice(("Gather", "GatherND", "ScatterND", "Cast"))
        if kind == "Gather":
            return self.add(kind, self.some(), "pick", axis=self.axis())
        number = self.number()
        whole = self.add("ArgMax", self.some(), axis=1, keepdims=1)
        parts = self.random.choice(((number,), (number, number), (number, whole), (whole, number), (whole, whole)))
        index = parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)
        if kind == "Cast":
            return self.add(kind, index, to=FLOAT)
        if kind == "ScatterND":
            return self.add(kind, self.some(), index, self.some())
        shared = self.random.choice((0, 0, 1))
        return self.add(kind, self.random.choice((*self.floats, "cells")), index, batch_dims=shared)

    def along(self) -> str:
        kind = self.random.choice(("ReduceSum", "ReduceMax", "Softmax", "CumSum", "Squeeze"))
        if kind == "ReduceSum":
            return self.add(
                kind, self.some(), self.random.choice(("i-1", "i0", "i1")), keepdims=self.random.choice((0, 1))
            )
        if kind == "ReduceMax":
            return self.add(kind, self.some(), axes=[self.axis()], keepdims=self.random.choice((0, 1)))
        if kind == "Softmax":
            return self.add(kind, self.some(), axis=self.axis())
        return self.add(kind, self.some(), self.random.choice(("i0", "i1", "i-1")))

    def drawn(self) -> str:
        kind = self.random.choice(("RandomNormalLike", "RandomUniformLike", "Dropout"))
        noise = self.add(kind, *(("row", "half", "on") if kind == "Dropout" else ("drawn",)))
        return self.add("Add", self.some(), noise)
