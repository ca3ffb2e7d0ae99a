"""ONNX models for the tests: good ones, and one of each kind of bad. Unit tests and end-to-end tests share them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR = 8


def mlp(
    *,
    batch: str | int = "batch",
    opset: int = OPSET,
    ir: int = IR,
    features: int = 4,
    hidden: int = 8,
    classes: int = 3,
    seed: int = 7,
    output_batch: str | int | None = None,
) -> Any:
    """A classifier that an optimizer can fuse: MatMul + Add, Relu, MatMul + Add, Softmax, and an Identity to drop."""
    random = np.random.default_rng(seed)
    weights = {
        "w1": random.standard_normal((features, hidden)).astype(np.float32),
        "b1": random.standard_normal(hidden).astype(np.float32),
        "w2": random.standard_normal((hidden, classes)).astype(np.float32),
        "b2": random.standard_normal(classes).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m1"], "multiply1"),
        helper.make_node("Add", ["m1", "b1"], ["a1"], "add1"),
        helper.make_node("Relu", ["a1"], ["r1"], "relu"),
        helper.make_node("Identity", ["r1"], ["i1"], "nothing"),
        helper.make_node("MatMul", ["i1", "w2"], ["m2"], "multiply2"),
        helper.make_node("Add", ["m2", "b2"], ["a2"], "add2"),
        helper.make_node("Softmax", ["a2"], ["scores"], "softmax", axis=1),
    ]
    return model(
        nodes,
        [("x", TensorProto.FLOAT, [batch, features])],
        [("scores", TensorProto.FLOAT, [batch if output_batch is None else output_batch, classes])],
        weights,
        opset=opset,
        ir=ir,
    )


def quantized() -> Any:
    """A convolution that its author quantized, with 8-bit weights in their full range.

    Without VNNI, ONNX Runtime's fused operators (levels "All" and "Extended") overflow there: they add pairs of products
    in 16 bits.
    """
    random = np.random.default_rng(0)
    weights = {
        "w": random.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8),
        "w_scale": np.full(8, 0.02, np.float32),
        "w_zero": np.zeros(8, np.int8),
        "x_scale": np.asarray(0.03, np.float32),
        "x_zero": np.asarray(-2, np.int8),
        "c_scale": np.asarray(0.07, np.float32),
        "c_zero": np.asarray(-128, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"], "x_q"),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"], "x_dq"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], "w_dq", axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "c_scale", "c_zero"], ["cq"], "c_q"),
        helper.make_node("DequantizeLinear", ["cq", "c_scale", "c_zero"], ["cd"], "c_dq"),
        helper.make_node("GlobalAveragePool", ["cd"], ["y"], "pool"),
    ]
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", TensorProto.FLOAT, ["n", 8, 1, 1])], weights)


def quantized_product(largest: int = 80) -> Any:
    """A product that its author quantized. x is told apart between -6.4 and 6.35; weights are up to `largest` of 127.

    From about 65 on, the fused operators overflow at the ends of that range, without VNNI, and not in its middle.
    """
    weights = {
        "w": np.random.default_rng(0).integers(-largest, largest + 1, (32, 4)).astype(np.int8),
        "w_scale": np.float32(0.01),
        "x_scale": np.float32(0.05),
        "y_scale": np.float32(1),
        "zero": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "zero"], ["xq"], "x_q"),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "zero"], ["xd"], "x_dq"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "zero"], ["wd"], "w_dq"),
        helper.make_node("MatMul", ["xd", "wd"], ["m"], "product"),
        helper.make_node("QuantizeLinear", ["m", "y_scale", "zero"], ["mq"], "y_q"),
        helper.make_node("DequantizeLinear", ["mq", "y_scale", "zero"], ["y"], "y_dq"),
    ]
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 32])], [("y", TensorProto.FLOAT, ["n", 4])], weights)


def recognizer() -> Any:
    """An image in, a column of features for each eight pixels out: its strides and kernels leave one row of 48 pixels."""
    random = np.random.default_rng(2)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "stem", kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], "columns", kernel_shape=[12, 2], strides=[1, 2]),
        helper.make_node("Squeeze", ["c", "height"], ["d"], "one_row"),
        helper.make_node("ReduceMean", ["d"], ["y"], axes=[2], keepdims=0),
    ]
    weights = {
        "w1": random.standard_normal((4, 3, 4, 4)).astype(np.float32),
        "w2": random.standard_normal((2, 4, 12, 2)).astype(np.float32),
        "height": np.array([2]),
    }
    inputs = [("x", TensorProto.FLOAT, ["n", 3, "height", "width"])]
    return model(nodes, inputs, [("y", TensorProto.FLOAT, ["n", 2])], weights)


def convolution() -> Any:
    """An image of any size in, as many features out."""
    weight = np.random.default_rng(6).standard_normal((2, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["c"], ["y"], "pool", axes=[2, 3], keepdims=0),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n", 3, "height", "width"])]
    return model(nodes, inputs, [("y", TensorProto.FLOAT, ["n", 2])], {"w": weight})


def audio(kernel: int = 512) -> Any:
    """A window of samples that must be as long as the kernel, at least."""
    window = np.random.default_rng(3).standard_normal((2, 1, kernel)).astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", ["samples", "axis"], ["x"]),
        helper.make_node("Conv", ["x", "w"], ["c"], "filter", kernel_shape=[kernel], strides=[kernel // 2]),
        helper.make_node("ReduceMean", ["c"], ["y"], axes=[2], keepdims=0),
    ]
    inputs = [("samples", TensorProto.FLOAT, ["n", "length"])]
    return model(nodes, inputs, [("y", TensorProto.FLOAT, ["n", 2])], {"w": window, "axis": np.array([1])})


def anchors(side: int = 320) -> Any:
    """A detector: its anchors are constants of one image size."""
    random = np.random.default_rng(4)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "backbone", kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Reshape", ["a", "rows"], ["b"]),
        helper.make_node("Add", ["b", "anchors"], ["y"], "decode"),
    ]
    weights = {
        "w": random.standard_normal((4, 3, 32, 32)).astype(np.float32),
        "rows": np.array([0, 4, -1]),
        "anchors": random.standard_normal((1, 4, (side // 32) ** 2)).astype(np.float32),
    }
    inputs = [("x", TensorProto.FLOAT, ["n", 3, "height", "width"])]
    return model(nodes, inputs, [("y", TensorProto.FLOAT, ["n", 4, "boxes"])], weights)


def two_lengths() -> Any:
    """Two inputs, of which each has a length of its own; one axis has no symbol."""
    random = np.random.default_rng(5)
    nodes = [
        helper.make_node("MatMul", ["a", "wa"], ["pa"], "left"),
        helper.make_node("MatMul", ["b", "wb"], ["pb"], "right"),
        helper.make_node("Add", ["pa", "pb"], ["y"]),
    ]
    weights = {"wa": random.standard_normal((40, 2)), "wb": random.standard_normal((77, 2))}
    return model(
        nodes,
        [("a", TensorProto.FLOAT, ["n", "left"]), ("b", TensorProto.FLOAT, ["n", None])],
        [("y", TensorProto.FLOAT, ["n", 2])],
        {name: weight.astype(np.float32) for name, weight in weights.items()},
    )


def computed_length(rows: int = 320) -> Any:
    """A length that shows when the model runs alone: shape inference does not follow a Cast from floats."""
    nodes = [
        helper.make_node("Cast", ["shape"], ["wanted"], "computed", to=TensorProto.INT64),
        helper.make_node("Reshape", ["x", "wanted"], ["y"], "fold"),
    ]
    shape = {"shape": np.array([-1, 8, rows / 8], np.float32)}
    return model(nodes, [("x", TensorProto.FLOAT, ["n", "length"])], [("y", TensorProto.FLOAT, ["n", 8, "k"])], shape)


def branches(columns: int = 64) -> Any:
    """An If whose branches have weights of their own and read one of the graph around them; a Loop reads it, too."""
    random = np.random.default_rng(8)

    def weight(*shape: int) -> Any:
        return (random.standard_normal(shape) / 8).astype(np.float32)

    value = helper.make_tensor_value_info
    then = helper.make_graph(
        [helper.make_node("MatMul", ["h", "inner"], ["t"])],
        "then",
        [],
        [value("t", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight(columns, columns), "inner")],
    )
    other = helper.make_graph(
        [helper.make_node("MatMul", ["h", "w"], ["m"]), helper.make_node("Add", ["m", "bias"], ["e"])],
        "else",
        [],
        [value("e", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight(columns), "bias")],
    )
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["on"]),
            helper.make_node("MatMul", ["a", "w"], ["m"]),
            helper.make_node("Tanh", ["m"], ["b"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("a", TensorProto.FLOAT, [None, columns]),
        ],
        [value("on", TensorProto.BOOL, []), value("b", TensorProto.FLOAT, [None, columns])],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("ReduceMax", ["h"], ["top"], "top", keepdims=0),
        helper.make_node("Greater", ["top", "limit"], ["high"]),
        helper.make_node("If", ["high"], ["z"], "choose", then_branch=then, else_branch=other),
        helper.make_node("Loop", ["trips", "", "z"], ["l"], "repeat", body=body),
        helper.make_node("MatMul", ["l", "out"], ["y"], "last"),
    ]
    weights = {
        "w": weight(columns, columns),
        "out": weight(columns, 4),
        "limit": np.asarray(0.7, np.float32),
        "trips": np.asarray(2, np.int64),
    }
    return model(nodes, [("x", TensorProto.FLOAT, ["n", columns])], [("y", TensorProto.FLOAT, ["n", 4])], weights)


def unquantizable(*, alone: bool = False) -> Any:
    """Operators that ONNX Runtime's quantizer spoils, and a convolution that it does not."""
    random = np.random.default_rng(9)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["x" if alone else "c", "v", "bias"], ["u"], "grouped", group=2),
        helper.make_node("MatMul", ["u", "deep"], ["y"], "deep"),
    ]
    weights = {
        "w": random.standard_normal((4, 4, 3, 3)),
        "v": random.standard_normal((4, 3, 1, 1)),
        "bias": random.standard_normal(6),
        "deep": random.standard_normal((6, 8, 5)),
    }
    return model(
        nodes[alone:],
        [("x", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [("y", TensorProto.FLOAT, ["n", 6, 8, 5])],
        {name: weight.astype(np.float32) for name, weight in weights.items() if not alone or name != "w"},
    )


def embedding(rows: int = 10) -> Any:
    """Token ids that look up a table: an id that is out of range is an error at run time."""
    table = np.random.default_rng(1).standard_normal((rows, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "wide"], ["vectors"], "lookup"),
        helper.make_node("ReduceMean", ["vectors"], ["mean"], axes=[1], keepdims=0),
    ]
    inputs = [("ids", TensorProto.INT32, ["batch", "tokens"])]
    return model(nodes, inputs, [("mean", TensorProto.FLOAT, ["batch", 4])], {"table": table})


def strings() -> Any:
    """Strings through, unchanged, and their lengths' stand-in: a flag per text."""
    nodes = [
        helper.make_node("Identity", ["text"], ["echo"]),
        helper.make_node("Equal", ["number", "zero"], ["is_zero"]),
    ]
    inputs = [("text", TensorProto.STRING, ["batch", 1]), ("number", TensorProto.INT64, ["batch", 1])]
    outputs = [("echo", TensorProto.STRING, ["batch", 1]), ("is_zero", TensorProto.BOOL, ["batch", 1])]
    return model(nodes, inputs, outputs, {"zero": np.zeros(1, np.int64)})


def empty_axis() -> Any:
    """An input that has no elements, whatever the batch."""
    nodes = [helper.make_node("Concat", ["x", "nothing"], ["y"], axis=1)]
    inputs = [("x", TensorProto.FLOAT, ["batch", 4]), ("nothing", TensorProto.FLOAT, ["batch", 0])]
    return model(nodes, inputs, [("y", TensorProto.FLOAT, ["batch", 4])])


def fixed_batch() -> Any:
    """Exported without dynamic axes, as torch.onnx.export does when nobody asks for them."""
    return mlp(batch=1)


def old_opset() -> Any:
    """Opset 9, from before the rule."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])], opset=9, ir=4)


def baked_batch() -> Any:
    """The signature says dynamic; a Reshape inside says one row."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["y"], "baked"),
    ]
    shape = {"shape": np.array([1, 4], np.int64)}
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["m", 4])], shape)


def hidden_batch() -> Any:
    """The same where shape inference cannot see it: the product of a constant comes out of a node without data."""
    nodes = [
        helper.make_node("Cast", ["shape"], ["wanted"], "computed", to=TensorProto.INT64),
        helper.make_node("Reshape", ["x", "wanted"], ["y"], "baked"),
    ]
    shape = {"shape": np.array([1, 4], np.float32)}
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["m", 4])], shape)


def random_noise() -> Any:
    """Another answer each time."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"], "noise"),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])])


def custom_operator() -> Any:
    """An operator of a library that nobody has here. The checker and shape inference accept it."""
    nodes = [helper.make_node("Sparkle", ["x"], ["y"], "shiny", domain="com.example")]
    made = model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])])
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    return made


def mismatched_shapes() -> Any:
    """A multiplication of 4 columns by 5 rows."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "wrong")]
    weights = {"w": np.zeros((5, 2), np.float32)}
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 2])], weights)


def mismatched_types() -> Any:
    """Integers go in, and floats are declared to come out."""
    node = helper.make_node("Relu", ["x"], ["y"], "relu")
    return model([node], [("x", TensorProto.INT32, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])])


def cache(whole: str = "past_seq + seq") -> Any:
    """As decoders with a cache are exported: three inputs whose lengths must fit each other."""
    return model(
        [
            helper.make_node("Concat", ["past", "x"], ["whole"], axis=1),
            helper.make_node("Unsqueeze", ["mask", "axes"], ["wide"]),
            helper.make_node("Mul", ["whole", "wide"], ["y"]),
        ],
        [
            ("past", TensorProto.FLOAT, ["batch", "past_seq", 4]),
            ("x", TensorProto.FLOAT, ["batch", "seq", 4]),
            ("mask", TensorProto.FLOAT, ["batch", whole]),
        ],
        [("y", TensorProto.FLOAT, ["batch", whole, 4])],
        {"axes": np.array([2], np.int64)},
    )


def endless(columns: int | str = 4) -> Any:
    """A Loop that counts to 2**62."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["a"], ["b"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("a", TensorProto.FLOAT, [None, columns]),
        ],
        [value("on", TensorProto.BOOL, []), value("b", TensorProto.FLOAT, [None, columns])],
    )
    return model(
        [helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)],
        [("x", TensorProto.FLOAT, ["batch", columns])],
        [("y", TensorProto.FLOAT, ["batch", columns])],
        {"trips": np.array(2**62, np.int64)},
    )


def with_function() -> Any:
    """A valid model whose one node is a function of its own."""
    made = mlp()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    made.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    made.opset_import.append(helper.make_opsetid("own", 1))
    for node in made.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.domain = "Twice", "own"
    return made


def trees(*, zipmap: bool = False, ml: int = 1) -> Any:
    """A classifier as LightGBM's converter writes it: opset 9, the label declared [1] although it is [N].

    onnx infers no type behind TreeEnsembleClassifier, so that Identity and Cast behind it have none. zipmap: a sequence of
    maps for the probabilities.
    """
    # One split on feature 0 at 0: class 0 below it, class 2 above. Of two classes ONNX Runtime makes a case of its own.
    tree = helper.make_node(
        *("TreeEnsembleClassifier", ["X"], ["label_tensor", "probability_tensor"], "trees"), domain="ai.onnx.ml",
        class_ids=[0, 2], class_nodeids=[1, 2], class_treeids=[0, 0], class_weights=[1.0, 1.0],
        classlabels_int64s=[0, 1, 2], nodes_falsenodeids=[2, 0, 0], nodes_featureids=[0, 0, 0],
        nodes_hitrates=[1.0, 1.0, 1.0], nodes_missing_value_tracks_true=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_nodeids=[0, 1, 2], nodes_treeids=[0, 0, 0],
        nodes_truenodeids=[1, 0, 0], nodes_values=[0.0, 0.0, 0.0], post_transform="NONE",
    )  # fmt: skip
    nodes = [tree, helper.make_node("Cast", ["label_tensor"], ["label"], "cast", to=TensorProto.INT64)]
    outputs: list[Any] = [("label", TensorProto.INT64, [1]), ("probabilities", TensorProto.FLOAT, ["N", 3])]
    if zipmap:
        maps = {"domain": "ai.onnx.ml", "classlabels_int64s": [0, 1, 2]}
        nodes.append(helper.make_node("ZipMap", ["probability_tensor"], ["probabilities"], "zipmap", **maps))
    else:
        nodes.append(helper.make_node("Identity", ["probability_tensor"], ["probabilities"], "identity"))
    made = model(nodes, [("X", TensorProto.FLOAT, ["N", 4])], outputs, opset=9, ir=4)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", ml))
    if zipmap:
        maps = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        made.graph.output[1].type.CopyFrom(helper.make_sequence_type_proto(maps))
    return made


def columns() -> Any:
    """A column pipeline as skl2onnx writes it: numbers imputed and scaled, categories encoded, a linear model behind."""
    ml: dict[str, Any] = {"domain": "ai.onnx.ml"}
    nodes = [
        helper.make_node("Concat", ["age", "fare"], ["numbers"], "columns", axis=1),
        helper.make_node("Imputer", ["numbers"], ["imputed"], "imputer", imputed_value_floats=[0.5, 1.5],
                         replaced_value_float=float("nan"), **ml),
        helper.make_node("Scaler", ["imputed"], ["scaled"], "scaler", offset=[0.1, 0.2], scale=[2.0, 3.0], **ml),
        helper.make_node("OneHotEncoder", ["sex"], ["coded"], "encoder", cats_strings=["f", "m"], zeros=1, **ml),
        helper.make_node("Reshape", ["coded", "flat"], ["encoded"], "reshape"),
        helper.make_node("Concat", ["scaled", "encoded"], ["features"], "join", axis=1),
        helper.make_node("LinearClassifier", ["features"], ["label", "scores"], "linear", classlabels_ints=[0, 1],
                         coefficients=[0.1, 0.2, 0.3, 0.4, -0.1, -0.2, -0.3, -0.4], intercepts=[0.1, -0.1],
                         multi_class=1, post_transform="SOFTMAX", **ml),
        helper.make_node("Normalizer", ["scores"], ["probabilities"], "normalizer", norm="L1", **ml),
    ]  # fmt: skip
    inputs = [("age", TensorProto.FLOAT, ["N", 1]), ("fare", TensorProto.FLOAT, ["N", 1])]
    outputs = [("label", TensorProto.INT64, ["N"]), ("probabilities", TensorProto.FLOAT, ["N", 2])]
    weights = {"flat": np.array([-1, 2], np.int64)}
    made = model(nodes, [*inputs, ("sex", TensorProto.STRING, ["N", 1])], outputs, weights, opset=11, ir=6)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    return made


def nan_where_masked() -> Any:
    """torch.where(mask, nan, y) as PyTorch exports it: NaN that no node computes with."""
    nan = helper.make_tensor("nan", TensorProto.FLOAT, [1], [float("nan")])
    nodes = [
        helper.make_node("Greater", ["land", "zero"], ["mask"], "mask"),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["nans"], "nans", value=nan),
        helper.make_node("Where", ["mask", "nans", "x"], ["y"], "where"),
    ]
    inputs = [("x", TensorProto.FLOAT, ["batch", 4]), ("land", TensorProto.FLOAT, ["batch", 4])]
    return model(nodes, inputs, [("y", TensorProto.FLOAT, ["batch", 4])], {"zero": np.zeros(1, np.float32)})


def lower_case(locale: str = "") -> Any:
    """The first node of a text pipeline. Without a locale of its own ONNX Runtime takes en_US.UTF-8."""
    named = {"locale": locale} if locale else {}
    nodes = [
        helper.make_node("StringNormalizer", ["text"], ["lower"], "normalizer", case_change_action="LOWER", **named)
    ]
    return model(nodes, [("text", TensorProto.STRING, ["N"])], [("lower", TensorProto.STRING, ["N"])])


def duplicate_output() -> Any:
    """Two nodes that write the same tensor: no graph in single static assignment."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])]
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])])


def sequence_output() -> Any:
    """An output that is no tensor, and comes from no ZipMap."""
    made = model(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
    )
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", 4])
    made.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(tensor))
    return made


def complex_numbers() -> Any:
    """A datatype that ONNX has, and neither ONNX Runtime nor the protocol."""
    ends = [[(name, TensorProto.COMPLEX64, ["n", 4])] for name in ("x", "y")]
    return model([helper.make_node("Identity", ["x"], ["y"])], *ends)


def divides_by_zero() -> Any:
    """Kills the process that loads it into ONNX Runtime 1.31 with SIGFPE: 2**32 squared is 0 in 64 bits."""
    nodes = [helper.make_node("DepthToSpace", ["x"], ["y"], "overflow", blocksize=2**32)]
    outputs = [("y", TensorProto.FLOAT, ["n", "c", "h", "w"])]
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4, 2, 2])], outputs, opset=13)


def eats_memory() -> Any:
    """168 bytes that ask for 8 GiB when they run."""
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["large"], "large", value=value),
        helper.make_node("ReduceSum", ["large"], ["sum"], "sum", keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    shape = {"shape": np.array([2**31], np.int64)}
    return model(nodes, [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])], shape)


def external_data(location: str = "weights.bin", *, length: int | None = None) -> Any:
    """A model whose weights lie in another file; save_external writes a good one."""
    made = mlp()
    tensor = made.graph.initializer[0]
    entries = {"location": location, "length": str(len(tensor.raw_data) if length is None else length)}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return made


def save_external(directory: Path) -> Path:
    """The MLP as model.onnx and weights.bin."""
    path = directory / "model.onnx"
    (directory / "weights.bin").write_bytes(mlp().graph.initializer[0].raw_data)
    path.write_bytes(external_data().SerializeToString())
    return path


def truncated() -> bytes:
    """An upload that broke off."""
    whole: bytes = mlp().SerializeToString()
    return whole[: len(whole) // 2]


def html() -> bytes:
    """What a login page leaves when it is saved as model.onnx."""
    return b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"


def git_lfs_pointer() -> bytes:
    """What a repository holds instead of a large file."""
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


NOT_MODELS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "html": html,
    "git_lfs_pointer": git_lfs_pointer,
    "zip": lambda: b"PK\x03\x04" + b"\0" * 60,
    "random": lambda: np.random.default_rng(3).bytes(4096),
    "text": lambda: b"hello, this is a note and no model\n",
}


def model(
    nodes: list[Any],
    inputs: Sequence[tuple[str, int, list[Any] | None]],
    outputs: Sequence[tuple[str, int, list[Any] | None]],
    weights: dict[str, Any] | None = None,
    *,
    opset: int = OPSET,
    ir: int = IR,
) -> Any:
    """Nodes between inputs and outputs, each given as name, datatype and shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, producer_name="tests")


def save(made: Any, directory: Path, name: str = "model.onnx") -> Path:
    """Write a model, or bytes that are none, and return the path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def answers(made: Any, inputs: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """What ONNX's own reference says, as the framework that a model was exported from would."""
    from onnx.reference import ReferenceEvaluator

    found: list[np.ndarray[Any, Any]] = ReferenceEvaluator(made).run(None, inputs)
    return found


def transformer(*, vocabulary: int = 64, hidden: int = 16, heads: int = 2, classes: int = 4, seed: int = 5) -> Any:
    """An encoder as PyTorch exports one: tokens, one layer of attention, LayerNorm, GELU, and a classifier on top."""
    random = np.random.default_rng(seed)
    weights: dict[str, Any] = {
        "table": random.standard_normal((vocabulary, hidden)).astype(np.float32),
        "split": np.array([0, 0, heads, hidden // heads], np.int64),
        "join": np.array([0, 0, hidden], np.int64),
        "root": np.array((hidden // heads) ** 0.5, np.float32),
        "root2": np.array(2**0.5, np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["x"], "embed")]

    def linear(name: str, source: str, rows: int, columns: int) -> str:
        scale = rows**-0.5
        weights[f"{name}.w"] = (random.standard_normal((rows, columns)) * scale).astype(np.float32)
        weights[f"{name}.b"] = (random.standard_normal(columns) * 0.1).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [source, f"{name}.w"], [f"{name}.m"], f"{name}.matmul"))
        nodes.append(helper.make_node("Add", [f"{name}.b", f"{name}.m"], [name], f"{name}.add"))
        return name

    def norm(name: str, source: str) -> str:
        weights[f"{name}.g"] = np.ones(hidden, np.float32)
        weights[f"{name}.b"] = np.zeros(hidden, np.float32)
        inputs = [source, f"{name}.g", f"{name}.b"]
        nodes.append(helper.make_node("LayerNormalization", inputs, [name], f"{name}.norm", axis=-1, epsilon=1e-5))
        return name

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], f"{output}.{kind.lower()}", **attributes))
        return output

    start = norm("norm0", "x")
    for part, order in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        add("Reshape", [linear(part, start, hidden, hidden), "split"], f"{part}4")
        add("Transpose", [f"{part}4"], f"{part}t", perm=order)
    add("Div", [add("MatMul", ["qt", "kt"], "qk"), "root"], "scaled")
    add("MatMul", [add("Softmax", ["scaled"], "attention", axis=-1), "vt"], "mixed")
    add("Reshape", [add("Transpose", ["mixed"], "back", perm=(0, 2, 1, 3)), "join"], "joined")
    first = norm("norm1", add("Add", [linear("projected", "joined", hidden, hidden), start], "residual1"))
    wide = linear("wide", first, hidden, 4 * hidden)
    add("Add", [add("Erf", [add("Div", [wide, "root2"], "unit")], "erf"), "one"], "plus")
    add("Mul", [add("Mul", [wide, "plus"], "product"), "half"], "gelu")
    last = norm("norm2", add("Add", [linear("narrow", "gelu", 4 * hidden, hidden), first], "residual2"))
    add("ReduceMean", [last], "pooled", axes=[1], keepdims=0)
    linear("logits", "pooled", hidden, classes)
    tokens = [("tokens", TensorProto.INT64, ["batch", "length"])]
    return model(nodes, tokens, [("logits", TensorProto.FLOAT, ["batch", classes])], weights)


def gelus(layers: int = 8, width: int = 8192) -> Any:
    """Nothing but GELU as PyTorch exports it, five operators each: fused to one each, it is several times as fast."""
    weights = {"root2": np.array(2**0.5, np.float32), "one": np.array(1, np.float32), "half": np.array(0.5, np.float32)}
    nodes = []
    for layer in range(layers):
        before, after = f"x{layer}" if layer else "x", f"x{layer + 1}" if layer + 1 < layers else "y"
        for kind, inputs, output in (
            ("Div", [before, "root2"], f"unit{layer}"),
            ("Erf", [f"unit{layer}"], f"erf{layer}"),
            ("Add", [f"erf{layer}", "one"], f"plus{layer}"),
            ("Mul", [before, f"plus{layer}"], f"product{layer}"),
            ("Mul", [f"product{layer}", "half"], after),
        ):
            nodes.append(helper.make_node(kind, inputs, [output]))
    shape = ["batch", width]
    return model(nodes, [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], weights)


def declared_one(rows: str | None = "N") -> Any:
    """A regressor whose exporter declares [1] for what is [N]."""
    nodes = [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)]
    made = model(
        nodes,
        [("x", TensorProto.FLOAT, [rows, 4])],
        [("y", TensorProto.FLOAT, [rows])],
        {"axis": np.array([1], np.int64)},
    )
    made.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    return made
