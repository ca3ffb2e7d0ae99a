"""What a person can get wrong, or break off, ends with one sentence or with none, and never with a traceback."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onnxmodel_cli.__main__ import main
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


def test_validate_takes_the_platforms_settings_as_run_does(model: str, tmp_path: Path) -> None:
    scaled = manifest(tmp_path)
    text = scaled.read_text().replace("{runtime: onnxruntime}", "{autoscaling: {maxReplicas: 2}}")
    scaled.write_text(f"{text}  retain: true\n")
    refused = onnxmodel("validate", model, "--manifest", scaled)
    assert (refused.returncode, "the platform keeps artifacts on volumes" in refused.stdout) == (10, True)
    settings = tmp_path / "values.yaml"
    settings.write_text(
        "settings: {autoscaling: {backend: HPA}, artifacts: {store: s3, s3: {bucket: artifacts, secretRef: {name: a}}}}"
    )
    for words in (["validate", model, "--manifest", scaled], ["run", scaled, "--model", model, "--until", "validate"]):
        done = onnxmodel(*words, "--settings", settings)
        assert done.returncode == 0, done.stdout + done.stderr


def test_settings_without_a_manifest_are_refused(model: str, tmp_path: Path) -> None:
    settings = tmp_path / "values.yaml"
    settings.write_text("settings: {}")
    done = onnxmodel("validate", model, "--settings", settings)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --settings are the platform's for the OnnxModel of a --manifest")


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
        ["validate", "{model}", "--manifest", "{manifest}", "--settings", "{closed}"],
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


@pytest.mark.parametrize("words", [["validate", "{model}"], ["validate", "{model}", "--output", "json"], ["--help"]])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_loses_what_is_written_and_no_verdict(closed: str, words: list[str], model: str) -> None:
    given = [sys.executable, "-m", "onnxmodel_cli", *(word.format(model=model) for word in words)]
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *given], capture_output=True, text=True, check=False)
    assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "{model}"],
        ["validate", "{model}", "--output", "json"],
        ["verify", "{folder}"],
        ["repository", "{model}", "--out", "{folder}/out"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_takes_nothing_is_said_in_a_sentence(
    words: list[str], unbuffered: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (tmp_path / "manifest.json").write_text('{"schema": 1, "files": {}}')
    with open("/dev/full", "w") as full:
        done = onnxmodel(*(word.format(model=model, folder=tmp_path) for word in words), stdout=full.fileno())
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert done.stderr.endswith("error: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_error_that_takes_nothing_changes_no_verdict(
    unbuffered: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (tmp_path / "page.onnx").write_bytes(models.html())
    for path, code in ((model, 0), (tmp_path / "page.onnx", 10)):
        command = [sys.executable, "-m", "onnxmodel_cli", "validate", str(path)]
        with open("/dev/full", "w") as full:
            assert subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False).returncode == code


@pytest.mark.parametrize(
    "words",
    [
        ["run", "m.yaml", "--model", ""],
        ["run", "m.yaml", "--out", ""],
        ["run", ""],
        ["fetch", "", "c"],
        ["fetch", "m.onnx", ""],
        ["fetch", "m.onnx", "c", "--sha256="],
        ["validate", ""],
        ["validate", "m.onnx", "--golden", ""],
        ["optimize", "m.onnx", "--out", ""],
        ["benchmark", "m.onnx", ""],
        ["serve", "m.onnx", "--name", ""],
        ["serve", "m.onnx", "--host", ""],
        ["repository", "m.onnx", "--out", "x", "--engines", ""],
        ["probe", "", "--name", "m", "--probe", "p"],
        ["loadtest", "h", "--name", "", "--probe", "p"],
        ["verify", ""],
        ["report", ""],
        ["report", ".", "-o", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    told = capsys.readouterr()
    assert (caught.value.code, told.out) == (2, "")
    assert "the value is empty; is a variable not set?" in told.err


def test_a_link_to_a_model_is_followed(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "snapshot").mkdir()
    for link in (tmp_path / "link.onnx", tmp_path / "snapshot" / "model.onnx"):
        link.symlink_to(model)
        assert main(["validate", str(link)]) == 0
    assert main(["validate", str(tmp_path / "snapshot")]) == 0


@pytest.mark.parametrize("command", ["validate", "optimize --out x", "benchmark", "serve", "repository --out x"])
def test_what_is_no_file_is_named_by_its_kind(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, kind in (("/dev/null", "a device"), (str(tmp_path / "pipe"), "a named pipe")):
        with pytest.raises(SystemExit) as caught:
            main([*command.split(), place])
        assert caught.value.code == 2
        assert f"{place!r} is {kind}; name a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["run", "{deep}"], ["run", "{good}", "--settings", "{deep}"], ["report", "{json}"]])
def test_what_is_nested_too_deeply_is_said_in_a_sentence(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep.yaml").write_text("[" * 20_000)
    (tmp_path / "deep.json").write_text("[" * 200_000 + "]" * 200_000)
    places = {"deep": tmp_path / "deep.yaml", "json": tmp_path / "deep.json", "good": manifest(tmp_path)}
    assert main([word.format(**places) for word in words]) == (10 if "{json}" in words else 2)
    told = capsys.readouterr().err
    assert re.fullmatch(r"error: .* is nested too deeply.*\n", told)


_INTERRUPTED_AT = """\
import signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from {module} import main
sys.exit(main({words!r}))
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("onnxmodel_cli.__main__", "onnxmodel_cli.commands"),
        ("onnxmodel_cli.__main__", "onnxmodel_cli.commands.serve"),
        ("onnxmodel_cli.server", "onnxmodel_runtime.server.main"),
    ],
)
def test_an_interrupt_while_modules_are_imported_ends_quietly(module: str, name: str) -> None:
    code = _INTERRUPTED_AT.format(module=module, name=name, words=["validate"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
