"""Models without a batch at axis 0, one of each kind, with inputs as their authors would record them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from tests import models

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
Arrays = dict[str, np.ndarray[Any, Any]]
node = helper.make_node


@dataclass(frozen=True)
class Case:
    """why: part of the sentence that says so. said: the author must say so for validation to pass; golden: recorded inputs."""

    make: Callable[[], Any]
    inputs: Arrays
    why: str
    said: bool = False
    golden: bool = False


def two_lengths() -> Any:
    """A product for each pair of values from two lists."""
    nodes = [node("Unsqueeze", ["a", "one"], ["column"]), node("Mul", ["column", "b"], ["y"])]
    given = [("a", FLOAT, ["n"]), ("b", FLOAT, ["m"])]
    return models.model(nodes, given, [("y", FLOAT, ["n", "m"])], {"one": np.array([1], np.int64)})


def waveform(kernel: Any = (((0.25, 0.5, 0.25),),), **stepping: Any) -> Any:
    """Samples, smoothed."""
    weights = {
        "axes": np.array([0, 1], np.int64),
        "kernel": np.array(kernel, np.float32),
    }
    nodes = [
        node("Unsqueeze", ["audio", "axes"], ["wide"]),
        node("Conv", ["wide", "kernel"], ["smooth"], **(stepping or {"pads": [1, 1]})),
        node("Squeeze", ["smooth", "axes"], ["y"]),
    ]
    return models.model(
        nodes, [("audio", FLOAT, ["samples"])], [("y", FLOAT, ["steps" if stepping else "samples"])], weights
    )


def words() -> Any:
    """Which words there are, each once."""
    nodes = [node("Unique", ["text"], ["found"], axis=0, sorted=1)]
    return models.model(nodes, [("text", STRING, ["words"])], [("found", STRING, ["different"])])


def scalars() -> Any:
    """Two numbers, multiplied."""
    return models.model(
        [node("Mul", ["x", "rate"], ["y"])], [("x", FLOAT, []), ("rate", FLOAT, [])], [("y", FLOAT, [])]
    )


def threshold() -> Any:
    """Rows, and one number for all of them."""
    rows = ["batch", 4]
    nodes = [node("Greater", ["x", "least"], ["more"]), node("Where", ["more", "x", "zero"], ["y"])]
    given = [("x", FLOAT, rows), ("least", FLOAT, [])]
    return models.model(nodes, given, [("y", FLOAT, rows)], {"zero": np.zeros(1, np.float32)})


def _gru(features: int, hidden: int, directions: int) -> dict[str, Any]:
    random = np.random.default_rng(3)
    return {
        "w": (random.standard_normal((directions, 3 * hidden, features)) / 2).astype(np.float32),
        "r": (random.standard_normal((directions, 3 * hidden, hidden)) / 2).astype(np.float32),
    }


def state() -> Any:
    """A GRU in both directions whose state is [directions, batch, hidden], as torch.nn.GRU has it."""
    nodes = [
        node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        node("GRU", ["steps", "w", "r", "", "", "h0"], ["all", "h"], hidden_size=5, direction="bidirectional"),
        node("Transpose", ["all"], ["back"], perm=[2, 0, 1, 3]),
        node("ReduceMean", ["back"], ["y"], axes=[1, 2], keepdims=0),
    ]
    given = [("x", FLOAT, ["batch", "time", 4]), ("h0", FLOAT, [2, "batch", 5])]
    return models.model(nodes, given, [("y", FLOAT, ["batch", 5]), ("h", FLOAT, [2, "batch", 5])], _gru(4, 5, 2))


def voice() -> Any:
    """A voice activity detector: a window of samples, a state of fixed size that goes round, and the sampling rate."""
    weights = {**_gru(16, 5, 1), "axis": np.array([0], np.int64), "base": np.array(16000, np.float32)}
    nodes = [
        node("Cast", ["rate"], ["hertz"], to=FLOAT),
        node("Div", ["hertz", "base"], ["factor"]),
        node("Mul", ["audio", "factor"], ["scaled"]),
        node("Unsqueeze", ["scaled", "axis"], ["step"]),
        node("GRU", ["step", "w", "r", "", "", "state"], ["", "next"], hidden_size=5),
        node("ReduceMean", ["next"], ["speech"], axes=[0, 2], keepdims=0),
    ]
    given = [("audio", FLOAT, [1, 16]), ("state", FLOAT, [1, 1, 5]), ("rate", INT64, [])]
    return models.model(nodes, given, [("speech", FLOAT, [1]), ("next", FLOAT, [1, 1, 5])], weights)


def time_first() -> Any:
    """Steps first, the batch second. No axis says so by its name."""
    nodes = [node("GRU", ["x", "w", "r"], ["all"], hidden_size=5), node("Squeeze", ["all", "axis"], ["y"])]
    weights = {**_gru(4, 5, 1), "axis": np.array([1], np.int64)}
    return models.model(nodes, [("x", FLOAT, ["t", "b", 4])], [("y", FLOAT, ["t", "b", 5])], weights)


def state_without_names() -> Any:
    """The same with a state, and no name that says batch."""
    made = time_first()
    made.graph.node[0].input.extend(["", "", "h0"])
    made.graph.node[0].output.append("h")
    for values, name in ((made.graph.input, "h0"), (made.graph.output, "h")):
        values.append(helper.make_tensor_value_info(name, FLOAT, [1, "b", 5]))
    return made


def named_time_first() -> Any:
    """The same, with names."""
    made = time_first()
    for value in (*made.graph.input, *made.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, ("seq", "batch"), strict=False):
            dim.dim_param = name
    return made


def _floats(*shape: int) -> Any:
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


CASES = {
    "two-lengths": Case(two_lengths, {"a": _floats(3), "b": _floats(5)}, "different first sizes", golden=True),
    "two-made-lengths": Case(
        two_lengths, {"a": _floats(3), "b": _floats(5)}, "the output for one value depends on the others"
    ),
    "waveform": Case(waveform, {"audio": _floats(700)}, "the output for one value depends on the others"),
    "words": Case(
        words, {"text": np.array(["b", "a", "b", "ü"], object)}, "validation.batch is None", said=True, golden=True
    ),
    "scalars": Case(scalars, {"x": np.array(3, np.float32), "rate": np.array(2, np.float32)}, "is a scalar"),
    "threshold": Case(threshold, {"x": _floats(3, 4), "least": np.array(0.1, np.float32)}, "is a scalar"),
    "state": Case(state, {"x": _floats(2, 6, 4), "h0": _floats(2, 2, 5)}, "its first axis is fixed to 2", golden=True),
    "voice": Case(
        voice,
        {"audio": _floats(1, 16), "state": _floats(1, 1, 5), "rate": np.array(8000, np.int64)},
        "its first axis is fixed to 1",
        golden=True,
    ),
    "state-without-names": Case(
        state_without_names,
        {"x": _floats(6, 2, 4), "h0": _floats(1, 2, 5)},
        "its first axis is fixed to 1",
        golden=True,
    ),
    "time-first": Case(time_first, {"x": _floats(40, 2, 4)}, "depends on its position", golden=True),
    "named-time-first": Case(named_time_first, {"x": _floats(40, 2, 4)}, "axis 1 of 'x' is its batch axis ('batch')"),
}


def answers(path: Any, inputs: Arrays) -> Arrays:
    """What plain ONNX Runtime answers."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
