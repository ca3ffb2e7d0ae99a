"""`onnxmodel serve` and `onnxmodel repository` of a file that no stage has seen follow the rules of the stages."""

import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from onnxmodel_cli.__main__ import main
from onnxmodel_runtime.contract.model import BATCH_NONE
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.providers import Providers, ProviderUse
from onnxmodel_runtime.contract.volume import GOLDEN_FILE
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.models.session import open_session
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.server import model as served
from onnxmodel_runtime.stages import apart, bare, manifest
from onnxmodel_runtime.stages.optimize import optimize
from onnxmodel_runtime.stages.repository import repository as lay_out
from tests import models, unbatched
from tests.unit.runtime import server_support as support


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages themselves; test_probe.py starts the command, with a process for the stage."""
    commands: dict[str, Any] = {"optimize": optimize, "repository": lay_out}
    monkeypatch.setattr(apart, "run", lambda command, request: commands[command](request))


def concatenated() -> Any:
    """Rows of one input behind those of the other."""
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=0)]
    given = [(name, TensorProto.FLOAT, [rows, 4]) for name, rows in (("a", "n"), ("b", "m"))]
    return models.model(nodes, given, [("y", TensorProto.FLOAT, ["k", 4])])


def unsorted() -> Any:
    made = models.mlp()
    nodes = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend(reversed(nodes))
    return made


def unranked() -> Any:
    """An input of any shape, as far as it declares; the weight says that its last axis is 4."""
    made = models.mlp()
    made.graph.input[0].type.tensor_type.ClearField("shape")
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return made


def reshaped() -> Any:
    """Its second input is the shape of the first: nobody can make that up."""
    given = [("x", TensorProto.FLOAT, ["n", 4]), ("shape", TensorProto.INT64, [2])]
    return models.model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])], given, [("y", TensorProto.FLOAT, ["a", "b"])]
    )


@pytest.mark.parametrize(
    ("made", "batch", "unjoined", "shape"),
    [
        (models.mlp(), "First", "", (1, 4)),
        (unsorted(), "First", "", (1, 4)),
        (models.declared_one(), "First", "", (1, 4)),
        (unbatched.waveform(), "None", "works along the batch axis", (16,)),
        (unbatched.two_lengths(), "None", "pairs rows of the batch", (16,)),
        (concatenated(), "None", "works along the batch axis", (16, 4)),
        (models.audio(64), "First", "", (1, 64)),
        (unranked(), "None", "has no shape", (4, 4)),
    ],
)
def test_a_file_that_no_stage_has_seen(
    made: Any, batch: str, unjoined: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    with bare.proven(support.request(models.save(made, tmp_path))) as found:
        assert found.batch == batch
        assert unjoined in (found.unjoined or "")
        assert bool(unjoined) is bool(found.unjoined)
        assert next(iter(probefile.read(Path(found.probe))[0].values())).shape == shape
    assert not Path(found.probe).exists()


def test_an_upload_is_served_at_the_highest_level_that_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At level All another model answers, as if that level changed the outputs on this processor."""
    path, other = models.save(models.mlp(), tmp_path), models.save(models.mlp(seed=8), tmp_path, "other.onnx")

    def opened(path: Path, providers: Providers, level: str) -> Any:
        return open_session(Path(other) if level == "All" else path, providers, level)

    monkeypatch.setattr("onnxmodel_runtime.stages.optimize.open_session", opened)
    with bare.proven(support.request(path)) as found:
        assert found.graph_level == "Extended"


def test_an_output_that_declares_one_has_a_row_for_each_row_of_input(tmp_path: Path) -> None:
    with bare.proven(support.request(models.save(models.declared_one(), tmp_path))) as asked:
        model = served.load(asked)
    assert [(tensor.name, tensor.shape) for tensor in model.spec.outputs] == [("y", (-1,))]
    assert model.instances[0].run(["y"], {"x": np.ones((3, 4), np.float32)})["y"].shape == (3,)


@pytest.mark.parametrize(
    ("probe", "flags", "level"),
    [("", {}, "None"), ("probe.npz", {}, "None"), ("", {"chosen": True, "graph_level": "Basic"}, "Basic")],
)
def test_a_model_that_fails_on_made_inputs_is_served_unoptimized_with_a_warning(
    probe: str, flags: dict[str, Any], level: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = support.request(models.save(reshaped(), tmp_path), probe=probe, graph_level=flags.pop("graph_level", "All"))
    with bare.proven(asked, **flags) as found:
        assert (found.batch, found.probe, found.graph_level) == (BATCH_NONE, probe, level)
    said = capsys.readouterr().err
    assert f"served at graph level {level}," in said
    assert ".." not in said
    assert "warning: only the probe verifies" in said if probe else "--probe" in said


def test_a_bare_ort_file_is_served_as_it_is(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "mlp.ort")
    ort.InferenceSession(models.save(models.mlp(), tmp_path), options, providers=["CPUExecutionProvider"])
    with bare.proven(support.request(tmp_path / "mlp.ort")) as asked:
        model = served.load(asked)
    assert model.instances[0].run(["scores"], {"x": np.ones((3, 4), np.float32)})["scores"].shape == (3, 3)


@pytest.mark.parametrize(
    ("made", "flags", "reason"),
    [
        (models.random_noise(), {}, "ProviderDisagrees"),
        (models.custom_operator(), {}, "SessionFailed"),
        (models.mlp(), {"sha256": "0" * 64}, "DigestMismatch"),
        (models.mlp(), {"golden": {"z": np.ones((1, 4), np.float32)}}, "GoldenInvalid"),
        (reshaped(), {"golden": {"x": np.ones((2, 4), np.float32), "shape": np.asarray([3, 3])}}, "InferenceFailed"),
    ],
)
def test_what_the_stage_refuses_is_not_served(made: Any, flags: dict[str, Any], reason: str, tmp_path: Path) -> None:
    flags, path = dict(flags), models.save(made, tmp_path)
    golden = flags.pop("golden", None)
    if golden:
        np.savez(tmp_path / GOLDEN_FILE, **golden)
    asked = support.request(path)
    with pytest.raises(StageError, match=reason), bare.proven(replace(asked, **flags), golden=bool(golden)):
        pass


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StageError("Interrupted", "the container was asked to terminate", "It runs again.", retry=True), 11),
        (StageError("OutOfMemory", "memory ran out", "Give more."), 10),
        (parent.InternalError("KeyError"), 1),
    ],
)
def test_a_stage_that_fails_starts_no_server(
    error: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(apart, "run", fails)
    assert main(["serve", str(models.save(models.mlp(), tmp_path))]) == code


def test_a_server_that_ends_while_it_loads_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, folder = Event(), tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    left: list[list[Path]] = []

    def held(*_: Any) -> Any:
        left.append([*folder.iterdir()])
        signal.raise_signal(signal.SIGTERM)
        release.wait(60)
        raise StageError("Late", "too late", "none")

    monkeypatch.setattr(served, "load", held)
    monkeypatch.setattr(os, "_exit", lambda _: left.append([*folder.iterdir()]))
    ports = [f"--{port}-port=0" for port in ("http", "grpc", "metrics")]
    assert main(["serve", str(models.save(models.mlp(), tmp_path)), "--host", support.HOST, *ports]) == 0
    release.set()
    loading, ending = left
    assert loading
    assert ending == []


def test_a_variant_brings_what_the_stage_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models.save(models.mlp(), tmp_path / "fp32")
    found = Variant("fp32", str(path), sha256=digest(path), graph_level="Basic", unjoined="said so")
    asked = OptimizeRequest(str(path), digest(path), str(tmp_path))
    (tmp_path / "probe.npz").touch()
    result = OptimizeResult((found, found), str(tmp_path / "probe.npz"), ProviderUse("CPU", 100.0), batch="None")
    manifest.write(asked, result)
    monkeypatch.setattr(apart, "run", lambda *_: pytest.fail("the stage ran already"))
    with bare.proven(support.request(path)) as request:
        assert (request.batch, request.graph_level, request.unjoined) == ("None", "Basic", "said so")
    with bare.proven(support.request(path, graph_level="None")) as request:
        assert request.graph_level == "None"


def test_triton_is_told_the_same(tmp_path: Path) -> None:
    models.save(unbatched.waveform(), tmp_path / "waves")
    assert main(["repository", str(tmp_path / "waves"), f"--out={tmp_path / 'models'}", "--output=json"]) == 0
    assert "max_batch_size" not in (tmp_path / "models" / "waves" / "config.pbtxt").read_text()
