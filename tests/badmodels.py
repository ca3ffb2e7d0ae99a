"""Files that no operator should accept: one of each kind of harm, each made by a few lines, none of them stored.

BAD is the registry: name -> (what makes it, the reason for which it must be refused). A maker returns a model, bytes, or a
function that fills a folder. Kinds of known vulnerabilities are named by their CVE.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from dev import magika
from tests import models

Maker = Callable[[], Any]
BAD: dict[str, tuple[Maker, str]] = {}
DATA = models.mlp().graph.initializer[0].raw_data
F = TensorProto.FLOAT


def bad(name: str, reason: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        assert name not in BAD
        BAD[name] = (maker, reason)
        return maker

    return register


def build(name: str, directory: Path) -> Path:
    """Make the bad model as a folder, as fetch leaves one."""
    made = BAD[name][0]()
    directory.mkdir(parents=True, exist_ok=True)
    if callable(made):
        made(directory)
    else:
        models.save(made, directory)
    return directory


def _simple(nodes: list[Any], weights: dict[str, Any] | None = None, **options: Any) -> Any:
    return models.model(nodes, [("x", F, ["n", 4])], [("y", F, ["n", 4])], weights, **options)


def _tensor(change: Callable[[Any], None]) -> Any:
    made = models.mlp()
    change(made.graph.initializer[0])
    return made


# ---- no model --------------------------------------------------------------------------------------------------------

for _name, _make in models.NOT_MODELS.items():
    bad(f"file-{_name}", "NotOnnx")(_make)

for _name, _bytes in {
    "xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "json": b'{"error": "not found"}',
    "gzip": b"\x1f\x8b\x08\0" + b"\0" * 64,
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 64,
    "gguf": b"GGUF\x03\0\0\0" + b"\0" * 64,
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "elf": b"\x7fELF\x02\x01\x01" + b"\0" * 64,
    "ort": b"\x20\0\0\0ORTM" + b"\0" * 64,
    "tar": b"model.onnx".ljust(257, b"\0") + b"ustar" + b"\0" * 250,
    "zeros": b"\0" * 4096,
}.items():
    bad(f"file-{_name}", "NotOnnx")(lambda content=_bytes: content)


@bad("file-is-a-link", "NotOnnx")
def _() -> Any:
    return lambda folder: (folder / "model.onnx").symlink_to(magika.model())


@bad("file-is-a-folder", "NotOnnx")
def _() -> Any:
    return lambda folder: (folder / "model.onnx").mkdir()


@bad("file-is-a-pipe", "NotOnnx")
def _() -> Any:
    return lambda folder: os.mkfifo(folder / "model.onnx")


@bad("file-missing", "NotOnnx")
def _() -> Any:
    return lambda folder: None


@bad("file-of-three-gigabytes", "FileTooLarge")
def _() -> Any:
    def make(folder: Path) -> None:
        with (folder / "model.onnx").open("wb") as file:
            file.write(b"\x08\x08")
            file.truncate(3 << 30)  # a hole: it takes no room

    return make


bad("cut-in-half", "ModelCorrupt")(models.truncated)
bad("cut-by-one", "ModelCorrupt")(lambda: models.mlp().SerializeToString()[:-1])
bad("length-beyond-the-end", "ModelCorrupt")(lambda: b"\x08\x08\x3a\xff\xff\xff\xff\x07abc")
bad("no-graph", "ModelCorrupt")(lambda: b"\x08\x08\x12\x05tests")
bad("group-without-end", "ModelCorrupt")(lambda: b"\x08\x08" + b"\x0b" * 1000)


@bad("names-that-are-no-text", "ModelCorrupt")
def _() -> Any:
    return models.mlp().SerializeToString().replace(b"multiply1", b"multipl\xff1")


@bad("output-that-is-no-text", "ModelCorrupt")
def _() -> Any:
    return models.mlp().SerializeToString().replace(b"scores", b"score\xff")


@bad("axis-that-is-no-text", "ModelCorrupt")
def _() -> Any:
    return models.mlp().SerializeToString().replace(b"batch", b"batc\xff")


def _field(number: int, content: bytes) -> bytes:
    """A message within a message, as protobuf writes it."""
    length, size = b"", len(content)
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _nested_types(levels: int) -> bytes:
    inner = b""
    for _ in range(levels):
        inner = _field(4, _field(1, inner))  # TypeProto.sequence_type, its elem_type
    return b"\x08\x08" + _field(7, _field(11, _field(2, inner)))  # graph, input, type


bad("protobuf-nested-types", "BoundExceeded")(lambda: _nested_types(3000))


# ---- external data: CVE-2022-25882, CVE-2024-27318, CVE-2024-27319, CVE-2026-27489, -34445, -34446, -34447 -----------


def _external(location: str = "weights.bin", fill: Callable[[Path], None] | None = None, **entries: str) -> Any:
    def make(folder: Path) -> None:
        made = models.external_data(location)
        tensor = made.graph.initializer[0]
        for key, value in entries.items():
            found = [entry for entry in tensor.external_data if entry.key == key]
            if found:
                found[0].value = value
            else:
                tensor.external_data.add(key=key, value=value)
        (folder.parent / f"{folder.name}-outside.bin").write_bytes(DATA)
        if fill is not None:
            fill(folder)
        models.save(made, folder)

    return make


def _beside(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(DATA)


def _link_above(folder: Path) -> None:
    elsewhere = folder.parent / f"{folder.name}-a"
    elsewhere.mkdir()
    (elsewhere / "weights.bin").write_bytes(DATA)
    (folder / "a").symlink_to(elsewhere)


def _link_inside(folder: Path) -> None:
    (folder / "real.bin").write_bytes(DATA)
    (folder / "weights.bin").symlink_to("real.bin")


EXTERNAL: dict[str, Maker] = {
    "CVE-2022-25882-parent": lambda: _external("../../../../../../etc/passwd"),
    "CVE-2024-27318-through-a-folder": lambda: _external("a/../../weights.bin", lambda f: (f / "a").mkdir()),
    "CVE-2024-27318-absolute": lambda: _external("/etc/passwd"),
    "CVE-2024-27319-length-beyond": lambda: _external(fill=_beside, length=str(10**12)),
    "CVE-2026-27489-symlink": lambda: _external(
        fill=lambda f: (f / "weights.bin").symlink_to(f.parent / f"{f.name}-outside.bin")
    ),
    "CVE-2026-34447-symlink-above": lambda: _external("a/weights.bin", _link_above),
    "CVE-2026-34446-hardlink": lambda: _external(
        fill=lambda f: os.link(f.parent / f"{f.name}-outside.bin", f / "weights.bin")
    ),
    "CVE-2026-34445-unknown-key": lambda: _external(fill=_beside, __class__="int"),
    "CVE-2026-34445-info-key": lambda: _external(fill=_beside, tensor="x"),
    "symlink-inside": lambda: _external(fill=_link_inside),
    "windows": lambda: _external("C:\\weights.bin"),
    "backslashes": lambda: _external("a\\weights.bin"),
    "empty-location": lambda: _external(""),
    "the-folder-itself": lambda: _external("."),
    "nul": lambda: _external("weights.bin\0.txt", _beside),
    "missing": lambda: _external(),
    "folder": lambda: _external(fill=lambda f: (f / "weights.bin").mkdir()),
    "pipe": lambda: _external(fill=lambda f: os.mkfifo(f / "weights.bin")),
    "the-model-itself": lambda: _external("model.onnx"),
    "the-record-of-the-fetch": lambda: _external("source.json"),
    "offset-beyond": lambda: _external(fill=_beside, offset=str(2**63)),
    "offset-negative": lambda: _external(fill=_beside, offset="-1"),
    "offset-in-words": lambda: _external(fill=_beside, offset="0x10"),
    "offset-of-a-thousand-digits": lambda: _external(fill=_beside, offset="9" * 1000),
    "length-short": lambda: _external(fill=_beside, length="4"),
    "length-negative": lambda: _external(fill=_beside, length="-128"),
    "file-short": lambda: _external(fill=lambda f: (f / "weights.bin").write_bytes(DATA[:-1]) and None),
}  # fmt: skip
for _name, _make in EXTERNAL.items():
    bad(f"external-{_name}", "ExternalDataInvalid")(_make)


@bad("external-device", "ExternalDataInvalid")
def _() -> Any:
    return _external("null", lambda folder: (folder / "null").symlink_to("/dev/null"))


@bad("external-twice-the-same-key", "ExternalDataInvalid")
def _() -> Any:
    def make(folder: Path) -> None:
        made = models.external_data()
        made.graph.initializer[0].external_data.add(key="location", value="../outside.bin")
        _beside(folder)
        models.save(made, folder)

    return make


@bad("external-hidden-in-a-function", "ExternalDataInvalid")
def _() -> Any:
    tensor = models.external_data("../x").graph.initializer[0]
    made = _function_model([helper.make_node("Constant", [], ["c"], value=tensor),
                            helper.make_node("Identity", ["a"], ["b"])])  # fmt: skip
    return made


@bad("external-hidden-in-a-branch", "ExternalDataInvalid")
def _() -> Any:
    tensor = models.external_data("../x").graph.initializer[0]
    made = models.mlp()
    then = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "then", [],
                             [helper.make_tensor_value_info("c", F, [4, 8])])  # fmt: skip
    made.graph.node.append(helper.make_node("If", ["scores"], ["unused"], then_branch=then, else_branch=then))
    return made


# ---- tensors whose dimensions lie ------------------------------------------------------------------------------------

TENSORS: dict[str, Callable[[Any], None]] = {
    "product-overflows": lambda t: t.dims.__setitem__(slice(None), [2**32, 2**32, 2**32]),
    "product-is-zero-in-64-bits": lambda t: t.dims.__setitem__(slice(None), [2**32, 2**32]),
    "negative": lambda t: t.dims.__setitem__(slice(None), [-4, -8]),
    "more-than-there-is": lambda t: t.dims.__setitem__(slice(None), [4, 8_000_000]),
    "less-than-there-is": lambda t: t.dims.__setitem__(slice(None), [4, 1]),
    "a-thousand-dimensions": lambda t: t.dims.extend([1] * 1000),
    "unknown-datatype": lambda t: setattr(t, "data_type", 99),
    "strings-as-raw-data": lambda t: setattr(t, "data_type", TensorProto.STRING),
    "segment": lambda t: t.segment.CopyFrom(TensorProto.Segment(begin=0, end=10)),
}


def _list_too_short(tensor: Any) -> None:
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1.0, 2.0])


TENSORS["list-too-short"] = _list_too_short
for _name, _change in TENSORS.items():
    bad(f"tensor-{_name}", "TensorInvalid")(lambda change=_change: _tensor(change))


@bad("tensor-in-an-attribute", "TensorInvalid")
def _() -> Any:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32))
    tensor.dims[0] = 10**9
    return _simple([helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Add", ["x", "c"], ["y"])])


# ---- bounds and bombs ------------------------------------------------------------------------------------------------


@bad("bomb-nodes", "BoundExceeded")
def _() -> Any:
    made = _simple([helper.make_node("Identity", ["x"], ["y"])])
    made.graph.node.extend([helper.make_node("Relu", ["x"], [f"r{i}"]) for i in range(10)] * 20_001)
    return made


@bad("bomb-inputs", "BoundExceeded")
def _() -> Any:
    names = [f"x{i}" for i in range(65)]
    return models.model(
        [helper.make_node("Sum", names, ["y"])], [(n, F, ["n", 4]) for n in names], [("y", F, ["n", 4])]
    )


@bad("bomb-outputs", "BoundExceeded")
def _() -> Any:
    names = [f"y{i}" for i in range(65)]
    nodes = [helper.make_node("Relu", ["x"], [name]) for name in names]
    return models.model(nodes, [("x", F, ["n", 4])], [(name, F, ["n", 4]) for name in names])


def nested_ifs(levels: int) -> bytes:
    """If within If, as deep as it says, put together by hand: protobuf itself stops at 33."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y0"])], "g0", [], [value("y0", F, ["n", 4])]
    ).SerializeToString()
    for level in range(1, levels):
        branch = AttributeProto(name="then_branch", type=5).SerializeToString() + _field(6, body)
        node = helper.make_node("If", ["c"], [f"y{level}"]).SerializeToString() + _field(5, branch)
        end = helper.make_graph([], f"g{level}", [], [value(f"y{level}", F, ["n", 4])]).SerializeToString()
        body = _field(1, node) + end
    model: bytes = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)]).SerializeToString()
    return model + _field(7, body)


bad("bomb-nested-graphs", "BoundExceeded")(lambda: nested_ifs(60))


@bad("bomb-attribute", "BoundExceeded")
def _() -> Any:
    return _simple([helper.make_node("Relu", ["x"], ["y"], note=b"a" * (2 << 20))])


def _function_model(body: list[Any], *more: Any) -> Any:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = _simple([helper.make_node("F", ["x"], ["y"], domain="own")])
    made.opset_import.append(opsets[1])
    made.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, opsets))
    made.functions.extend(more)
    return made


def _call(name: str, into: str = "b", given: str = "a") -> Any:
    return helper.make_node(name, [given], [into], domain="own")


def _functions(bodies: dict[str, list[Any]]) -> Any:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    others = [helper.make_function("own", n, ["a"], ["b"], b, opsets) for n, b in bodies.items() if n != "F"]
    return _function_model(bodies["F"], *others)


# GHSA-7w46-vvrh-m8q5: native code follows the circle until its stack ends.
bad("GHSA-7w46-function-calls-itself", "GraphInvalid")(lambda: _functions({"F": [_call("F")]}))
bad("GHSA-7w46-functions-in-a-circle", "GraphInvalid")(
    lambda: _functions({"F": [_call("G")], "G": [_call("H")], "H": [_call("F")]})
)


@bad("GHSA-7w46-recursion-in-a-branch", "GraphInvalid")
def _() -> Any:
    then = helper.make_graph([_call("F", "t")], "then", [], [helper.make_tensor_value_info("t", F, ["n", 4])])
    node = helper.make_node("If", ["a"], ["b"], then_branch=then, else_branch=then)
    return _functions({"F": [node]})


@bad("bomb-billion-laughs", "BoundExceeded")
def _() -> Any:
    """Forty functions, each twice the one before: 2^40 nodes once they are written out."""
    bodies = {"F": [_call("L39", "m"), _call("L39", "b", "m")], "L0": [helper.make_node("Relu", ["a"], ["b"])]}
    bodies |= {f"L{i}": [_call(f"L{i - 1}", "m"), _call(f"L{i - 1}", "b", "m")] for i in range(1, 40)}
    return _functions(bodies)


@bad("bomb-chain-of-functions", "BoundExceeded")
def _() -> Any:
    bodies = {"F": [_call("C4999")], "C0": [helper.make_node("Relu", ["a"], ["b"])]}
    return _functions(bodies | {f"C{i}": [_call(f"C{i - 1}")] for i in range(1, 5000)})


def _large(operator: str, inputs: list[str], weights: dict[str, Any]) -> Any:
    nodes = [
        helper.make_node(operator, inputs, ["large"], "large"),
        helper.make_node("Cast", ["large"], ["floats"], to=F),
        helper.make_node("ReduceSum", ["floats"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return _simple(nodes, weights)


HUGE = 2**45  # elements: more than any machine has
bad("bomb-constant-of-shape", "OutOfMemory")(
    lambda: _large("ConstantOfShape", ["s"], {"s": np.array([HUGE], np.int64)})
)
bad("bomb-expand", "OutOfMemory")(
    lambda: _large("Expand", ["o", "s"], {"o": np.ones(1, np.float32), "s": np.array([HUGE], np.int64)})
)
bad("bomb-tile", "OutOfMemory")(
    lambda: _large("Tile", ["o", "s"], {"o": np.ones(1, np.float32), "s": np.array([HUGE], np.int64)})
)
bad("bomb-range", "OutOfMemory")(
    lambda: _large(
        "Range", ["a", "b", "c"], {k: np.array(v, np.int64) for k, v in zip("abc", (0, HUGE, 1), strict=True)}
    )
)
bad("bomb-hidden-from-inference", "OutOfMemory")(
    lambda: models.model(
        [
            helper.make_node("Cast", ["f"], ["s"], to=TensorProto.INT64),
            helper.make_node("ConstantOfShape", ["s"], ["large"], "large"),
            helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ],
        [("x", F, ["n", 4])], [("y", F, ["n", 4])], {"f": np.array([HUGE], np.float64)},
    )
)  # fmt: skip
bad("SIGFPE-depth-to-space", "ShapeInferenceFailed")(models.divides_by_zero)


# ---- graphs that are none --------------------------------------------------------------------------------------------

bad("graph-output-twice", "GraphInvalid")(models.duplicate_output)


@bad("graph-writes-its-input", "GraphInvalid")
def _() -> Any:
    return _simple([helper.make_node("Relu", ["x"], ["x"]), helper.make_node("Relu", ["x"], ["y"])])


@bad("graph-circle", "GraphInvalid")
def _() -> Any:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return _simple([*nodes, helper.make_node("Relu", ["b"], ["y"])])


@bad("graph-node-reads-itself", "GraphInvalid")
def _() -> Any:
    return _simple([helper.make_node("Add", ["x", "y"], ["y"])])


@bad("graph-reads-nothing", "CheckerFailed")
def _() -> Any:
    return _simple([helper.make_node("Add", ["x", "nowhere"], ["y"])])


@bad("graph-output-of-nobody", "CheckerFailed")
def _() -> Any:
    made = _simple([helper.make_node("Relu", ["x"], ["z"])])
    return made


@bad("graph-unsorted-branch", "CheckerFailed")
def _() -> Any:
    """Of the outermost graph ONNX Runtime sorts the nodes by itself; of a branch it does not."""
    nodes = [helper.make_node("Relu", ["z"], ["b"]), helper.make_node("Relu", ["x"], ["z"])]
    branch = helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info("b", F, ["n", 4])])
    condition = {"condition": np.array(True)}
    return _simple([helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)], condition)


bad("graph-without-an-attribute", "CheckerFailed")(lambda: _simple([helper.make_node("Cast", ["x"], ["y"])]))
bad("graph-unknown-attribute", "CheckerFailed")(lambda: _simple([helper.make_node("Relu", ["x"], ["y"], colour=3)]))
bad("graph-shapes", "ShapeInferenceFailed")(models.mismatched_shapes)


@bad("graph-negative-dimension", "GraphInvalid")
def _() -> Any:
    made = _simple([helper.make_node("Relu", ["x"], ["y"])])
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = -7
    return made


@bad("graph-negative-dimension-of-an-input", "GraphInvalid")
def _() -> Any:
    made = _simple([helper.make_node("Relu", ["x"], ["y"])])
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -7
    return made


# ---- operators and versions ------------------------------------------------------------------------------------------

bad("operator-of-another-domain", "UnsupportedOperator")(models.custom_operator)


@bad("operator-of-one-processor", "UnsupportedOperator")
def _() -> Any:
    made = _simple([helper.make_node("ReorderInput", ["x"], ["y"], domain="com.microsoft.nchwc")])
    made.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    return made


@bad("operator-precompiled", "UnsupportedOperator")
def _() -> Any:
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../engine", embed_mode=0
    )
    made = _simple([node])
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


@bad("operator-unknown", "CheckerFailed")
def _() -> Any:
    return _simple([helper.make_node("Sparkle", ["x"], ["y"])])


@bad("operator-without-a-kernel", "UnsupportedOperator")
def _() -> Any:
    node = helper.make_node("Relu", ["x"], ["y"], "low")
    return models.model([node], [("x", TensorProto.INT16, ["n", 4])], [("y", TensorProto.INT16, ["n", 4])])


bad("version-old-opset", "OpsetTooLow")(models.old_opset)
bad("version-future-opset", "OpsetTooHigh")(lambda: models.mlp(opset=1000))
bad("version-future-ir", "IrVersionTooHigh")(lambda: models.mlp(ir=1000))


# ---- what cannot be served -------------------------------------------------------------------------------------------

bad("serve-sequence", "UnsupportedDatatype")(models.sequence_output)
bad("serve-fixed-batch", "NoDynamicBatch")(models.fixed_batch)
bad("serve-baked-batch", "NoDynamicBatch")(models.baked_batch)
bad("serve-hidden-batch", "NoDynamicBatch")(models.hidden_batch)


@bad("weights-nan", "WeightsInvalid")
def _() -> Any:
    weights = np.ones(4, np.float32)
    weights[2] = np.nan
    return _simple([helper.make_node("Add", ["x", "w"], ["y"])], {"w": weights})


@bad("weights-infinite", "WeightsInvalid")
def _() -> Any:
    weights = np.ones((500, 4), np.float16)
    weights[300, 2] = np.inf
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=F),
        helper.make_node("ReduceMin", ["f"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    return _simple(nodes, {"w": weights})


@bad("weights-nan-in-a-list", "WeightsInvalid")
def _() -> Any:
    tensor = helper.make_tensor("w", F, [4], [1.0, float("nan"), 2.0, 3.0])
    made = _simple([helper.make_node("Add", ["x", "w"], ["y"])])
    made.graph.initializer.append(tensor)
    return made


@bad("runs-out-of-range", "InferenceFailed")
def _() -> Any:
    nodes = [
        helper.make_node("Cast", ["f"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["t", "i"], ["v"], "lookup"),
        helper.make_node("Add", ["x", "v"], ["y"]),
    ]
    return _simple(nodes, {"t": np.zeros(3, np.float32), "f": np.array([99], np.float32)})
