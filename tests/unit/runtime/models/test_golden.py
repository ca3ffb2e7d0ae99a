"""Golden data: the original framework's answers, in files that are as untrusted as the model."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from onnxmodel_runtime.contract.model import Tolerance
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.validate import ValidateRequest, ValidateResult
from onnxmodel_runtime.contract.volume import GOLDEN_FILE, GOLDEN_FOLDER
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import golden, graph
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.validate import validate
from tests import models

X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
Y = models.answers(models.mlp(), {"x": X})[0]


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def judged(directory: Path, content: bytes | None = None, made: Any = None) -> ValidateResult:
    models.save(made or models.mlp(), directory)
    if content is not None:
        (directory / GOLDEN_FILE).write_bytes(content)
    return validate(ValidateRequest(str(directory), golden=Tolerance(1e-3, 1e-4)))


def refused(directory: Path, content: bytes | None = None, made: Any = None) -> StageError:
    with pytest.raises(StageError) as caught:
        judged(directory, content, made)
    assert caught.value.failure.hint
    return caught.value


def test_a_batch_is_made_of_as_many_sets_as_there_are(tmp_path: Path) -> None:
    """Equal rows would not show that one changes another's answer."""
    for index in range(3):
        folder = tmp_path / GOLDEN_FOLDER / f"test_data_set_{index}"
        folder.mkdir(parents=True)
        tensor = numpy_helper.from_array(X[index : index + 1], "x")
        (folder / "input_0.pb").write_bytes(tensor.SerializeToString())
    made = models.mlp()
    tensors = [tuple(graph.describe(value) for value in values) for values in (made.graph.input, made.graph.output)]
    found = golden.sample(tmp_path / GOLDEN_FOLDER, *tensors)
    assert np.array_equal(found.rows(4)["x"], X[[0, 1, 2, 0]])


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": X, "scores": Y},
        {"input:x": X, "output:scores": Y},
        {"x": X.astype(np.float64), "scores": Y.astype(np.float64)},
        {"x": np.asfortranarray(X), "scores": Y},
    ],
)
def test_an_npz_that_the_model_answers(tmp_path: Path, arrays: dict[str, Any]) -> None:
    golden = judged(tmp_path, npz(**arrays)).golden
    assert golden is not None
    assert golden.passed
    assert golden.batch_sizes == (5,)


def test_a_folder_of_test_data_sets(tmp_path: Path) -> None:
    for number, rows in enumerate((1, 3)):
        folder = tmp_path / GOLDEN_FOLDER / f"test_data_set_{number}"
        folder.mkdir(parents=True)
        (folder / "input_0.pb").write_bytes(numpy_helper.from_array(X[:rows], "x").SerializeToString())
        (folder / "output_0.pb").write_bytes(numpy_helper.from_array(Y[:rows], "scores").SerializeToString())
    golden = judged(tmp_path).golden
    assert golden is not None
    assert (golden.passed, golden.batch_sizes) == (True, (1, 3))


def test_another_answer_is_told_by_how_much_and_where(tmp_path: Path) -> None:
    error = refused(tmp_path, npz(x=X, scores=Y + np.float32(0.5)))
    assert error.failure.reason == "GoldenMismatch"
    assert "scores" in error.failure.message
    assert "0.5" in error.failure.message


def header(text: str, data: bytes = b"") -> bytes:
    """An .npz with one array whose header is this."""
    head = text.encode("latin-1")
    head += b" " * (-(10 + len(head) + 1) % 64) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data)
    return file.getvalue()


def damaged() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(4096))
    content = bytearray(file.getvalue())
    start = content.index(zlib.compress(bytes(4096))[2:8])
    content[start : start + 8] = b"\xff" * 8
    return bytes(content)


BAD: dict[str, bytes] = {
    "nothing": b"",
    "no archive": b"numbers",
    "damaged": damaged(),
    "no header": header("{'descr': '("),
    "an empty type": header("{'descr': (), 'fortran_order': False, 'shape': (4,)}"),
    "a shape of truths": header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", bytes(4)),
    "a list as a key": header("{[]: 1}"),
    "nested": header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "-" * 3000 + "1,)}"),
    "a shape without end": header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62}, {2**62})}}"),
    "objects": npz(x=np.array([{}], dtype=object), scores=Y),
    "dates": npz(x=np.array(["2026-01-01"], dtype="datetime64[D]"), scores=Y),
    "unknown names": npz(a=X, b=Y),
    "no output": npz(x=X),
    "no input": npz(scores=Y),
    "another datatype": npz(x=np.array([["a"] * 4]), scores=Y),
    "another shape": npz(x=X[:, :3], scores=Y),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_golden_data(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path, BAD[name]).failure.reason == "GoldenInvalid"


def test_golden_data_that_is_not_there(tmp_path: Path) -> None:
    assert refused(tmp_path).failure.reason == "GoldenInvalid"


def test_text_that_is_none(tmp_path: Path) -> None:
    made = models.strings()
    name, output = made.graph.input[0].name, made.graph.output[0].name
    wrong = np.frombuffer(b"\xff\xff\xff\x7f" * 2, "<U1")
    assert refused(tmp_path, npz(**{name: wrong, output: wrong}), made).failure.reason == "GoldenInvalid"


@pytest.mark.parametrize(
    "tensor",
    [
        b"\xff\xff",
        TensorProto(name="x", data_type=1, dims=[2**40]).SerializeToString(),
        TensorProto(name="x", data_type=1, dims=[3] * 80_000).SerializeToString(),
        TensorProto(name="x", data_type=99, dims=[1]).SerializeToString(),
        TensorProto(name="x", data_type=1, dims=[4], raw_data=b"abc").SerializeToString(),
    ],
)
def test_tensors_that_lie(tmp_path: Path, tensor: bytes) -> None:
    folder = tmp_path / GOLDEN_FOLDER
    folder.mkdir()
    (folder / "input_0.pb").write_bytes(tensor)
    (folder / "output_0.pb").write_bytes(numpy_helper.from_array(Y, "scores").SerializeToString())
    assert refused(tmp_path).failure.reason == "GoldenInvalid"


def test_inputs_that_must_fit_each_other(tmp_path: Path) -> None:
    made = models.cache("whole")  # a name that does not say of which others it is the sum
    shapes = {"past": (2, 5, 4), "x": (2, 3, 4), "mask": (2, 8)}
    inputs = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    content = npz(**inputs, y=models.answers(made, inputs)[0])
    assert judged(tmp_path / "with", content, made).findings == ()
    models.save(made, tmp_path / "without")
    sizes = validate(ValidateRequest(str(tmp_path / "without"))).sizes
    assert sizes["past_seq"] + sizes["seq"] == sizes["whole"]
    path = tmp_path / "with" / "model.onnx"
    request = OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), batch_sizes=(1, 3), golden=True)
    assert optimize(request).variants[0].name == "original"


def test_golden_data_without_rows_are_said_to_prove_nothing(tmp_path: Path) -> None:
    found = judged(tmp_path, npz(x=X[:0], scores=Y[:0])).findings
    assert [(finding.id, finding.severity) for finding in found] == [("ONNX-GOLDEN-DATA", "warning")]
