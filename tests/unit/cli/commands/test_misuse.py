"""What a person can get wrong, or break off, ends with one sentence or with none, and never with a traceback."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import models

_MANIFEST = """\
apiVersion: onnx-operator.dev/v1alpha1
kind: OnnxModel
metadata: {name: %s}
spec:
  source: {uri: "https://models.example/m.onnx"}
  suspend: %s
  serving: {runtime: onnxruntime}
"""


def onnxmodel(*words: object, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "onnxmodel_cli", *map(str, words)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(models.save(models.mlp(), tmp_path / "m"))


def manifest(folder: Path, *, suspend: str = "false", names: tuple[str, ...] = ("m",)) -> Path:
    path = folder / "onnxmodel.yaml"
    path.write_text("---\n".join(_MANIFEST % (name, suspend) for name in names))
    return path


@pytest.mark.parametrize("command", ["optimize", "benchmark", "repository"])
def test_a_folder_that_cannot_be_made_is_refused_at_once(command: str, model: str) -> None:
    done = onnxmodel(command, model, "--out", model)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot make the folder {model!r}: File exists; choose another")


@pytest.mark.parametrize("words", [["optimize", "{model}", "--out", "/proc"], ["fetch", "{model}", "/proc/m"]])
def test_a_folder_that_takes_no_files_is_refused_at_once(words: list[str], model: str) -> None:
    done = onnxmodel(*(word.format(model=model) for word in words))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert done.stderr.startswith("error: cannot write to the folder '/proc': No such file or directory")


def test_fetch_into_a_file_is_refused_at_once(model: str) -> None:
    done = onnxmodel("fetch", model, f"{model}/m")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: cannot make the folder {model!r}: File exists")


@pytest.mark.parametrize("option", ["--golden", "--calibration", "--signature", "--public-key"])
def test_a_local_file_that_would_replace_nothing_is_refused(option: str, model: str, tmp_path: Path) -> None:
    done = onnxmodel("run", manifest(tmp_path), "--model", model, option, model, "--until", "validate")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {option} replaces what spec.")


def test_a_suspended_manifest_is_run_nevertheless(tmp_path: Path) -> None:
    """suspend holds back a cluster; who asks for the verdict here gets it."""
    broken = tmp_path / "m.onnx"
    broken.write_bytes(b"no model")
    done = onnxmodel("validate", broken, "--manifest", manifest(tmp_path, suspend="true"))
    assert done.returncode == 10


def test_validate_chooses_one_of_several_manifests(model: str, tmp_path: Path) -> None:
    several = manifest(tmp_path, names=("one", "two"))
    assert "choose one with --name" in onnxmodel("validate", model, "--manifest", several).stderr
    done = onnxmodel("validate", model, "--manifest", several, "--name", "two")
    assert (done.returncode, "two: " in done.stdout) == (0, True)


def test_a_broken_model_is_said_in_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "m.onnx"
    broken.write_bytes(b"no model")
    done = onnxmodel("optimize", broken, "--out", tmp_path / "out")
    assert (done.returncode, "Traceback" in done.stderr) == (10, False)
    assert "ModelCorrupt" in done.stderr


_ANYBODY = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""Root may read everything; without these capabilities it may read what it is allowed to."""


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "{closed}"],
        ["validate", "{folder}"],
        ["validate", "{model}", "--golden", "{closed}"],
        ["validate", "{model}", "--manifest", "{closed}"],
        ["run", "{closed}"],
        ["run", "{manifest}", "--model", "{closed}"],
        ["run", "{manifest}", "--settings", "{closed}"],
        ["fetch", "{closed}", "{out}"],
        ["optimize", "{closed}", "--out", "{out}"],
        ["benchmark", "{model}", "{closed}"],
        ["serve", "{closed}"],
        ["serve", "{folder}"],
        ["repository", "{closed}", "--out", "{out}"],
        ["probe", "localhost", "--name", "m", "--probe", "{closed}"],
        ["report", "{closed}"],
        ["verify", "{shut}"],
        ["verify", "{shut}/inside"],
    ],
    ids=" ".join,
)
def test_what_may_not_be_read_is_said_at_once(words: list[str], model: str, tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("closed", "folder", "shut", "out")}
    for folder in ("folder", "shut"):
        places[folder].mkdir()
    places["closed"].touch()
    (places["folder"] / "model.onnx").touch()
    for place in (places["closed"], places["folder"] / "model.onnx", places["shut"]):
        place.chmod(0)
    given = [word.format(model=model, manifest=manifest(tmp_path), **places) for word in words]
    command = [*_ANYBODY, sys.executable, "-m", "onnxmodel_cli", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: cannot read '.+': Permission denied \(.+ --help\)\n", done.stderr)


def test_a_reader_that_went_away_is_no_defect(model: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = onnxmodel("validate", model, "--output", "json", stdout=writing)
    os.close(writing)
    assert (done.returncode, "Traceback" in done.stderr) == (141, False)


def test_an_interrupt_ends_quietly(model: str) -> None:
    """As a terminal does it: to the whole group, in the middle of a stage."""
    command = [sys.executable, "-m", "onnxmodel_cli", "benchmark", model, "--seconds", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stderr
        assert any("measuring" in line for line in iter(running.stderr.readline, ""))
        os.killpg(running.pid, signal.SIGINT)
        rest = running.stderr.read()
    assert (running.returncode, "Traceback" in rest) == (130, False)
