"""Models whose rows influence each other, each in its own way, and some that only look as if they did."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.models import model

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node


def _random(*shape: int) -> Any:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def sequence_first() -> Any:
    """An LSTM as PyTorch has it by default: the first axis is time."""
    weights = {"w": _random(1, 24, 4), "r": _random(1, 24, 6), "b": _random(1, 48), "ways": np.array([1], np.int64)}
    nodes = [
        node("LSTM", ["x", "w", "r", "b"], ["all"], "lstm", hidden_size=6),
        node("Squeeze", ["all", "ways"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["t", "b", 4])], [("y", FLOAT, ["t", "b", 6])], weights)


def batch_first() -> Any:
    """The same behind a Transpose, as batch_first exports it, with a state that Shape makes for each row."""
    weights = {
        **{"w": _random(1, 24, 4), "r": _random(1, 24, 6), "b": _random(1, 48), "ways": np.array([1], np.int64)},
        **{"one": np.array([1], np.int64), "six": np.array([6], np.int64), "first": np.array(0, np.int64)},
        "row": np.array([0], np.int64),
    }
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["count"]),
        node("Unsqueeze", ["count", "row"], ["rows"]),
        node("Concat", ["one", "rows", "six"], ["state_shape"], axis=0),
        node("ConstantOfShape", ["state_shape"], ["state"]),
        node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        node("LSTM", ["xt", "w", "r", "b", "", "state", "state"], ["all", "last", "cell"], "lstm", hidden_size=6),
        node("Squeeze", ["last", "row"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["batch", "seq", 4])], [("y", FLOAT, ["batch", 6])], weights)


def quantized_upload() -> Any:
    """Dynamically quantized by its author: the range is of the whole batch."""
    weights = {
        "w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4),
        "ws": np.array(0.1, np.float32),
        "wz": np.array(0, np.int8),
    }
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"], "quantize"),
        node("MatMulInteger", ["xq", "w", "xz", "wz"], ["product"]),
        node("Cast", ["product"], ["wide"], to=FLOAT),
        node("Mul", ["xs", "ws"], ["scale"]),
        node("Mul", ["wide", "scale"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], weights)


def batch_maximum() -> Any:
    """Divides by the largest of the batch."""
    nodes = [
        node("Abs", ["x"], ["a"]),
        node("ReduceMax", ["a"], ["largest"], "largest", keepdims=0),
        node("Div", ["x", "largest"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])])


def row_numbers() -> Any:
    """Adds 1 to every other row."""
    weights = {
        **{"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "two": np.array(2, np.int64)},
        "column": np.array([1], np.int64),
    }
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"]),
        node("Range", ["zero", "count", "one"], ["numbers"]),
        node("Mod", ["numbers", "two"], ["odd"], "odd"),
        node("Cast", ["odd"], ["wide"], to=FLOAT),
        node("Unsqueeze", ["wide", "column"], ["extra"]),
        node("Add", ["x", "extra"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], weights)


def running_sum() -> Any:
    """CumSum down the batch."""
    nodes = [node("CumSum", ["x", "axis"], ["y"], "sum")]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], {"axis": np.array(0, np.int64)})


def top_of_the_batch() -> Any:
    """Each row less the best of the batch, column by column."""
    nodes = [
        node("TopK", ["x", "k"], ["best", "where"], "top", axis=0),
        node("Sub", ["x", "best"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], {"k": np.array([1], np.int64)})


def cut_to_the_longest() -> Any:
    """Rows are cut to the longest mask of the batch, and what is left is averaged: zeros of others count."""
    weights = {"axis": np.array([1], np.int64), "zero": np.array([0], np.int64)}
    nodes = [
        node("ReduceSum", ["mask", "axis"], ["lengths"], keepdims=0),
        node("ReduceMax", ["lengths"], ["longest"], "longest", keepdims=0),
        node("Unsqueeze", ["longest", "zero"], ["end"]),
        node("Slice", ["x", "zero", "end", "axis"], ["short"], "cut"),
        node("ReduceMean", ["short"], ["y"], axes=[1], keepdims=0),
    ]
    inputs = [("x", FLOAT, ["n", 6, 2]), ("mask", INT64, ["n", 6])]
    return model(nodes, inputs, [("y", FLOAT, ["n", 2])], weights)


def training_norm() -> Any:
    """BatchNormalization with the statistics of what it is given."""
    weights = {name: np.ones(3, np.float32) for name in ("scale", "bias", "mean", "variance")}
    nodes = [node("BatchNormalization", ["x", *weights], ["y", "m", "v"], "norm", training_mode=1)]
    return model(nodes, [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3])], weights)


def merged() -> Any:
    """Rows of twice the length: the reshape puts two into one, and a third apart again."""
    weights = {"wide": np.array([-1, 8], np.int64), "narrow": np.array([-1, 4], np.int64)}
    nodes = [
        node("Reshape", ["x", "wide"], ["pairs"], "pair"),
        node("Softmax", ["pairs"], ["soft"], axis=1),
        node("Reshape", ["soft", "narrow"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], weights)


def similarity() -> Any:
    """Each row's mean product with all of the batch."""
    nodes = [
        node("Transpose", ["x"], ["xt"]),
        node("MatMul", ["x", "xt"], ["pairs"], "pairs"),
        node("ReduceMean", ["pairs"], ["y"], axes=[1], keepdims=1),
    ]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 1])])


def until_all_are_done() -> Any:
    """A Loop that doubles rows until all are large."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            node("Add", ["a", "a"], ["b"]),
            node("ReduceMin", ["b"], ["least"], keepdims=0),
            node("Less", ["least", "enough"], ["on"], "on"),
        ],
        "body",
        [value("i", INT64, []), value("going", TensorProto.BOOL, []), value("a", FLOAT, [None, 4])],
        [value("on", TensorProto.BOOL, []), value("b", FLOAT, [None, 4])],
        [helper.make_tensor("enough", FLOAT, [], [100.0])],
    )
    nodes = [node("Loop", ["", "yes", "x"], ["y"], "loop", body=body)]
    return model(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], {"yes": np.array(True)})


def last_token() -> Any:
    """Each row's last token, as CLIP and classifiers on GPT pick it: by the row's number and its own length."""
    weights = {
        **{"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "axis": np.array([1], np.int64)},
        "end": np.array([-1], np.int64),
    }
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"]),
        node("Range", ["zero", "count", "one"], ["numbers"]),
        node("Unsqueeze", ["numbers", "end"], ["row"]),
        node("ReduceSum", ["mask", "axis"], ["lengths"], keepdims=0),
        node("Sub", ["lengths", "one"], ["last"]),
        node("Unsqueeze", ["last", "end"], ["place"]),
        node("Concat", ["row", "place"], ["where"], axis=-1),
        node("GatherND", ["x", "where"], ["y"], "pick"),
    ]
    inputs = [("x", FLOAT, ["n", "tokens", 3]), ("mask", INT64, ["n", "tokens"])]
    return model(nodes, inputs, [("y", FLOAT, ["n", 3])], weights)


def heads_of_shape() -> Any:
    """Attention's heads split and joined by shapes that are computed, and a token of its own that is put before each row."""
    weights = {
        **{"token": _random(1, 1, 8), "two": np.array([2], np.int64), "four": np.array([4], np.int64)},
        **{"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "row": np.array([0], np.int64)},
        **{"minus": np.array([-1, -1, -1], np.int64), "ones": np.ones(3, np.int64), "eight": np.array([8], np.int64)},
    }
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Unsqueeze", ["n", "row"], ["rows"]),
        node("Concat", ["rows", "one1", "eight"], ["wanted"], axis=0),
        node("Equal", ["wanted", "minus"], ["open"]),
        node("Where", ["open", "ones", "wanted"], ["expanded"]),
        node("Expand", ["token", "expanded"], ["tokens"]),
        node("Concat", ["tokens", "x"], ["all"], axis=1),
        node("Shape", ["all"], ["shape2"]),
        node("Gather", ["shape2", "one"], ["s"]),
        node("Unsqueeze", ["s", "row"], ["length"]),
        node("Concat", ["rows", "length", "two", "four"], ["split"], axis=0),
        node("Reshape", ["all", "split"], ["heads"]),
        node("Transpose", ["heads"], ["h"], perm=[0, 2, 1, 3]),
        node("Mul", ["rows", "two"], ["stacks"]),
        node("Concat", ["stacks", "length", "four"], ["flat_shape"], axis=0),
        node("Reshape", ["h", "flat_shape"], ["flat"]),
        node("Transpose", ["flat"], ["flat_t"], perm=[0, 2, 1]),
        node("MatMul", ["flat", "flat_t"], ["scores"]),
        node("Softmax", ["scores"], ["attention"], axis=-1),
        node("MatMul", ["attention", "flat"], ["mixed"]),
        node("Concat", ["rows", "two", "length", "four"], ["apart"], axis=0),
        node("Reshape", ["mixed", "apart"], ["back"]),
        node("Transpose", ["back"], ["joined"], perm=[0, 2, 1, 3]),
        node("Concat", ["rows", "length", "eight"], ["whole"], axis=0),
        node("Reshape", ["joined", "whole"], ["answer"]),
        node("Gather", ["answer", "zero"], ["y"], axis=1),
    ]
    weights["one1"] = np.array([1], np.int64)
    return model(nodes, [("x", FLOAT, ["n", "s", 8])], [("y", FLOAT, ["n", 8])], weights)


def _misleading(nodes: list[Any], *more: tuple[str, int, list[Any]], last: tuple[Any, ...] = ("n", 2)) -> Any:
    """x [n, 2] and a few constants; t1 numbers the rows."""
    weights = {
        **{"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "rate": np.array(0.5, np.float32)},
        **{f"i{value}": np.array([value], np.int64) for value in (-1, 0, 1, 2)},
        **{"row": np.zeros((1, 2), np.float32), "on": np.array(True), "cells": _random(4, 4)},
        "off": np.array(False),
        "narrow": _random(4, 2),
        "mask": np.array([True, False, True, True]),
    }
    number = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"]),
        node("Range", ["zero", "count", "one"], ["numbers"]),
        node("Unsqueeze", ["numbers", "i1"], ["t1"]),
    ]
    return model([*number, *nodes], [("x", FLOAT, ["n", 2]), *more], [("y", FLOAT, list(last))], weights)


def _with_size(*nodes: Any) -> Any:
    """k is the second size of another input; w is a third one, of any length."""
    size = [node("Shape", ["z"], ["sizes"]), node("Gather", ["sizes", "i1"], ["k"])]
    return _misleading([*size, *nodes], ("z", FLOAT, ["n", "k"]), ("w", FLOAT, ["n", "l"]))


def _branches() -> Any:
    """In the branch that is taken t has three rows, in the other one."""

    def branch(make: Any, into: str) -> Any:
        value = helper.make_tensor_value_info(into, FLOAT, ["r", 2])
        return helper.make_graph([make, node("Relu", ["t"], [into])], into, [], [value])

    taken = branch(node("Compress", ["narrow", "mask"], ["t"], axis=0), "a")
    other = branch(node("Identity", ["row"], ["t"]), "b")
    return _misleading(
        [node("If", ["off"], ["p"], then_branch=other, else_branch=taken), node("Add", ["x", "p"], ["y"])]
    )


MISLEADING: dict[str, Callable[[], Any]] = {
    "the diagonal": lambda: _misleading(
        [node("Concat", ["t1", "t1"], ["at"], axis=1), node("GatherND", ["x", "at"], ["y"])], last=("n",)
    ),
    "a write to the diagonal": lambda: _misleading(
        [
            node("Concat", ["t1", "t1"], ["at"], axis=1),
            node("ReduceSum", ["x", "i1"], ["new"], keepdims=0),
            node("ScatterND", ["x", "at", "new"], ["y"]),
        ]
    ),
    "an index as a number": lambda: _misleading(
        [
            node("ArgMax", ["x"], ["best"], axis=1, keepdims=1),
            node("Concat", ["t1", "best"], ["at"], axis=1),
            node("Cast", ["at"], ["f"], to=FLOAT),
            node("Add", ["x", "f"], ["y"]),
        ]
    ),
    "an index into a constant": lambda: _misleading(
        [
            node("ArgMax", ["x"], ["best"], axis=1, keepdims=1),
            node("Concat", ["t1", "best"], ["at"], axis=1),
            node("GatherND", ["cells", "at"], ["y"]),
        ],
        last=("n",),
    ),
    "an index of batch_dims": lambda: _misleading(
        [
            node("Concat", ["t1", "t1"], ["at"], axis=1),
            node("Unsqueeze", ["x", "i1"], ["wide"]),
            node("GatherND", ["wide", "t1"], ["y"], batch_dims=1),
        ]
    ),
    "a foreign size": lambda: _with_size(
        node("Concat", ["k", "i2"], ["wanted"], axis=0), node("Expand", ["x", "wanted"], ["y"])
    ),
    "a slice that ends early": lambda: _with_size(
        node("ReduceSum", ["z", "i1"], ["sum"], keepdims=1),
        node("Slice", ["w", "i0", "k", "i1"], ["cut"]),
        node("Concat", ["i-1", "k"], ["wanted"], axis=0),
        node("Reshape", ["cut", "wanted"], ["folded"]),
        node("ReduceSum", ["folded", "i1"], ["total"], keepdims=1),
        node("Add", ["total", "sum"], ["y"]),
    ),
    "as many columns as rows": lambda: _misleading(
        [
            node("Gather", ["shape", "i0"], ["n"]),
            node("Concat", ["n", "n"], ["square"], axis=0),
            node("ConstantOfShape", ["square"], ["y"]),
        ],
        last=("n", "n"),
    ),
    "noise like a constant": lambda: _misleading(
        [node("RandomNormalLike", ["row"], ["r"]), node("Add", ["x", "r"], ["y"])]
    ),
    "noise of a constant": lambda: _misleading(
        [node("Dropout", ["row", "rate", "on"], ["r"]), node("Add", ["x", "r"], ["y"])]
    ),
    "one name in two branches": _branches,
}
"""Where what one rule says of a tensor would mislead the next one."""

MIXED: dict[str, tuple[Callable[[], Any], str]] = {
    "sequence first": (sequence_first, "'lstm' (LSTM) is recurrent along the batch axis"),
    "dynamic quantization": (quantized_upload, "'quantize' (DynamicQuantizeLinear) quantizes by the range"),
    "maximum of the batch": (batch_maximum, "'largest' (ReduceMax) reduces over the batch axis"),
    "row numbers": (row_numbers, "'odd' (Mod) computes with the index of a row"),
    "CumSum": (running_sum, "'sum' (CumSum) works along the batch axis"),
    "TopK": (top_of_the_batch, "'top' (TopK) works along the batch axis"),
    "longest row": (cut_to_the_longest, "'longest' (ReduceMax) reduces over the batch axis"),
    "training": (training_norm, "'norm' (BatchNormalization) computes statistics over the whole batch"),
    "reshape across rows": (merged, "'pair' (Reshape) merges several rows into one"),
    "pairs": (similarity, "'pairs' (MatMul) pairs rows of the batch"),
    "loop": (until_all_are_done, "'least' (ReduceMin) reduces over the batch axis"),
}
"""How rows influence each other: a model, and a part of what is said of it."""

APART: dict[str, Callable[[], Any]] = {
    "batch first": batch_first,
    "last token": last_token,
    "heads": heads_of_shape,
}
"""What looks dangerous, and is not."""
