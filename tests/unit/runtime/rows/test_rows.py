"""Which rows may be computed together: what the graph says, held against what ONNX Runtime computes."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import onnx.printer
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from dev import magika
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.rows.judge import Verdict, judge_file, judge_graph
from tests import models, rowchains, rowmodels

EXAMPLES = Path(__file__).parents[4] / "examples"
GOOD = ("mlp", "embedding", "strings", "transformer", "gelus", "with_function", "cache")
_PER_OPERATOR = 3
_CHAINS = 1000


@pytest.mark.parametrize("name", rowmodels.MIXED)
def test_rows_that_influence_each_other_are_named_with_their_operator(name: str) -> None:
    build, words = rowmodels.MIXED[name]
    verdict = judge_graph(build())
    assert verdict.apart is False
    assert words in verdict.why


@pytest.mark.parametrize("name", rowmodels.MISLEADING)
def test_rows_are_not_said_to_keep_apart_by_what_misleads(name: str) -> None:
    assert not judge_graph(rowmodels.MISLEADING[name]()).apart


@pytest.mark.parametrize("name", rowmodels.APART)
def test_rows_that_keep_apart_are_recognized(name: str) -> None:
    assert judge_graph(rowmodels.APART[name]()) == Verdict(True)


@pytest.mark.parametrize("name", GOOD)
def test_usual_models_keep_their_rows_apart(name: str) -> None:
    assert judge_graph(getattr(models, name)()) == Verdict(True)


@pytest.mark.parametrize(
    "path", [magika.model(), *sorted(EXAMPLES.glob("*/model.onnx"))], ids=lambda path: path.parent.name
)
def test_real_models_keep_their_rows_apart(path: Path, tmp_path: Path) -> None:
    assert judge_file(path) == Verdict(True)
    saved = tmp_path / "optimized.onnx"
    open_session(path, Providers(), "Extended", save_to=saved)
    assert judge_file(saved) == Verdict(True)


def test_what_onnx_runtime_fused_keeps_its_rows_apart(tmp_path: Path) -> None:
    for name in ("transformer", "mlp", "gelus"):
        saved = tmp_path / f"{name}.onnx"
        open_session(models.save(getattr(models, name)(), tmp_path), Providers(), "Extended", save_to=saved)
        assert {node.domain for node in onnx.load(saved).graph.node} >= {"com.microsoft"}
        assert judge_file(saved) == Verdict(True), name


def test_an_unknown_operator_is_named() -> None:
    verdict = judge_graph(models.custom_operator())
    assert verdict.apart is None
    assert verdict.why == (
        "the node 'shiny' (Sparkle) is an operator of com.example that is not known to keep rows independent"
    )


def test_a_scan_without_a_state_is_not_said_to_carry_one() -> None:
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("r", "n")]
    body = helper.make_graph([helper.make_node("Neg", ["r"], ["n"])], "body", ends[:1], ends[1:])
    nodes = [helper.make_node("Scan", ["x"], ["y"], "rows", body=body, num_scan_inputs=1)]
    verdict = judge_graph(models.model(nodes, *([(name, onnx.TensorProto.FLOAT, ["n", 4])] for name in ("x", "y"))))
    assert verdict == Verdict(None, "the node 'rows' (Scan) iterates over the batch row by row, which is not traced")


def test_random_numbers_and_files_that_are_no_graph_are_unknown(tmp_path: Path) -> None:
    assert judge_graph(models.random_noise()).apart is None
    for name, content in (("model.ort", b"ORTM"), ("model.onnx", models.truncated()), ("absent.onnx", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert judge_file(tmp_path / name).apart is None


def _batches(model: Any, arrays: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Inputs that may be the batch: the first alone, and all that are as long."""
    names = [value.name for value in model.graph.input]
    first = arrays[names[0]]
    if first.ndim:
        yield (names[0],)
        alike = tuple(name for name in names if arrays[name].shape[:1] == first.shape[:1])
        if len(alike) > 1:
            yield alike


def _tensors(case: Any) -> dict[str, Any] | None:
    """The example's inputs; None where one of them, or an output, is no tensor that numpy has."""
    graph = case.model.graph
    given = case.data_sets[0][0]
    fits = all(value.type.HasField("tensor_type") for value in (*graph.input, *graph.output))
    if not fits or not given or len(given) != len(graph.input):
        return None
    arrays = {value.name: np.asarray(array) for value, array in zip(graph.input, given, strict=True)}
    return (
        arrays
        if all(array.dtype.kind != "O" or isinstance(array.flat[0], str) for array in arrays.values() if array.size)
        else None
    )


def _with_batch(model: Any, arrays: dict[str, Any], batch: tuple[str, ...]) -> Any:
    """The model with a dynamic first axis of these inputs, and the others as constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    kept = []
    for value in made.graph.input:
        if value.name not in batch:
            made.graph.initializer.append(numpy_helper.from_array(arrays[value.name], value.name))
            continue
        tensor = value.type.tensor_type
        shape = ["rows", *(dim.dim_value for dim in tensor.shape.dim[1:])]
        kept.append(helper.make_tensor_value_info(value.name, tensor.elem_type, shape))
    del made.graph.input[:]
    made.graph.input.extend(kept)
    for output in made.graph.output:
        output.type.tensor_type.ClearField("shape")
    return made


def _other(array: Any, seed: int) -> Any:
    shuffled = array.ravel().copy()
    np.random.default_rng(seed).shuffle(shuffled)
    return shuffled.reshape(array.shape)


def _session(model: Any) -> Any:
    """None where ONNX Runtime does not load the model: operators and types that it has not."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception:  # its own classes
        return None


def _answers(session: Any, inputs: list[dict[str, Any]]) -> tuple[list[Any], list[list[Any]]] | None:
    """To all of the inputs together, and to each alone; None where ONNX Runtime does not run them."""
    try:
        whole = {name: np.concatenate([given[name] for given in inputs]) for name in inputs[0]}
        return session.run(None, whole), [session.run(None, given) for given in inputs]
    except Exception:  # its own classes; no session, indices out of range
        return None


def _alike(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fV":
        a, b = one.astype(np.float64), other.astype(np.float64)
        return bool(np.allclose(a, b, rtol=1e-2, atol=1e-3, equal_nan=True))
    return bool(np.array_equal(one, other))


@pytest.mark.filterwarnings("ignore")  # of ONNX's examples
def test_no_operator_is_said_to_keep_apart_what_onnx_runtime_mixes() -> None:
    """ONNX's own examples of every operator, each with an axis of its input as the batch."""
    from onnx.backend.test.case.node import collect_testcases

    tried: Counter[str] = Counter()
    wrong = []
    for case in collect_testcases(None):
        model = case.model
        operator = model.graph.node[-1].op_type if model is not None and len(model.graph.node) else ""
        if not operator or tried[operator] >= _PER_OPERATOR or (arrays := _tensors(case)) is None:
            continue
        for batch in _batches(model, arrays):
            made = _with_batch(model, arrays, batch)
            if not judge_graph(made).apart:
                continue
            given = [
                {name: arrays[name] for name in batch},
                *({n: _other(arrays[n], s) for n in batch} for s in (1, 2)),
            ]
            if (found := _answers(_session(made), given)) is None:
                continue
            tried[operator] += 1
            together, alone = found
            rows = [len(next(iter(item.values()))) for item in given]
            ends = list(itertools.accumulate(rows))
            for index, array in enumerate(together):
                parts = [array[end - count : end] for end, count in zip(ends, rows, strict=True)]
                if len(array) != ends[-1] or not all(_alike(a[index], b) for a, b in zip(alone, parts, strict=True)):
                    wrong.append((case.name, batch))
    assert not wrong
    assert len(tried) > 120  # operators that are known and run


def _apart(together: Any, alone: list[Any], counts: list[int]) -> bool:
    """Whether those that are computed together get the rows that they get alone. What has not a row for each is not given."""
    together = np.asarray(together)
    if together.shape[:1] != (sum(counts),):
        return True
    ends = itertools.accumulate(counts)
    parts = [together[end - count : end] for end, count in zip(ends, counts, strict=True)]
    return all(_alike(one, part) for one, part in zip(alone, parts, strict=True))


def test_no_chain_of_operators_is_said_to_keep_apart_what_onnx_runtime_mixes() -> None:
    """Two or three operators one after the other, where what one rule says misleads the next."""
    random, values = Random(14), np.random.default_rng(14)
    counts = [1, 2, 1]
    ran, wrong = 0, []
    for index in range(_CHAINS):
        chain = rowchains.Chain(random)
        made = chain.build(2 + index % 2)
        if not judge_graph(made).apart or (session := _session(made)) is None:
            continue
        for other in rowchains.SIZES:
            shapes = {"x": [2] * (chain.rank - 1), "z": [other]}
            given = [
                {name: values.standard_normal((count, *tail)).astype(np.float32) for name, tail in shapes.items()}
                for count in counts
            ]
            if (found := _answers(session, given)) is None:
                continue
            ran += 1
            if not _apart(found[0][0], [one[0] for one in found[1]], counts):
                wrong.append((index, other, onnx.printer.to_text(made.graph)))
    assert not wrong, wrong[0][2]
    assert ran > 200
