"""The manifest and `onnxmodel verify`. That equal requests give equal bytes, tests/frozen/test_variants.py shows."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxmodel_cli.__main__ import main
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.stages import manifest, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What optimize leaves, in small."""
    for name in ("probe.npz", "fp32/model.onnx", "ort/model.ort", "ort/required_operators.config"):
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    out = tmp_path / "out"
    variants = tuple(
        Variant(name, str(out / name / file)) for name, file in (("fp32", "model.onnx"), ("ort", "model.ort"))
    )
    original = Variant("original", str(tmp_path / "model.onnx"))
    result = OptimizeResult(
        (original, *variants, Variant("x", skipped="no")), str(out / "probe.npz"), ProviderUse("CPU", 1)
    )
    manifest.write(OptimizeRequest(str(tmp_path / "model.onnx"), "0" * 64, str(out)), result)
    for name in ("report.json", "report.html", "benchmark-12345678.json"):
        (out / name).write_text("measured later")
    return out


def _rewrite(name: str, text: str) -> Callable[[Path], object]:
    def harm(out: Path) -> None:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)

    return harm


def _benchmark(digest_of: Callable[[Path], str]) -> Callable[[Path], object]:
    return lambda out: (out / "benchmark.json").write_text(json.dumps({"schema": 1, "manifest_sha256": digest_of(out)}))


def _link(out: Path) -> None:
    (out / "fp32/model.onnx").rename(out.parent / "elsewhere.onnx")
    (out / "fp32/model.onnx").symlink_to(out.parent / "elsewhere.onnx")


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda out: None, []),
        (_rewrite("fp32/model.onnx", "CONTENT of fp32/model.onnx"), [("fp32/model.onnx", "changed")]),
        (_rewrite("fp32/model.onnx", "short"), [("fp32/model.onnx", "changed")]),
        (lambda out: (out / "ort/model.ort").unlink(), [("ort/model.ort", "missing")]),
        (_rewrite("fp32/model.onnx.data", "?"), [("fp32/model.onnx.data", "unknown")]),
        (_rewrite("ort/report.json", "?"), [("ort/report.json", "unknown")]),
        (_link, [("fp32/model.onnx", "changed")]),
        (_rewrite("manifest.json", "{"), [("manifest.json", "unreadable")]),
        (_rewrite("manifest.json", '{"schema": 2, "files": {}}'), [("manifest.json", "unreadable")]),
        (_rewrite("manifest.json", '{"schema": 1, "files": {"../model.onnx": {}}}'), [("manifest.json", "unreadable")]),
        (_rewrite("manifest.json", '{"schema": 1, "files": {"/etc/passwd": {}}}'), [("manifest.json", "unreadable")]),
        (_benchmark(lambda out: digest(out / "manifest.json")), []),
        (_benchmark(lambda out: "0" * 64), [("benchmark.json", "changed")]),
        (_rewrite("benchmark.json", "[]"), [("benchmark.json", "unreadable")]),
    ],
)
def test_verify_names_what_is_wrong(
    folder: Path, harm: Callable[[Path], object], expected: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    harm(folder)
    assert main(["verify", str(folder), "--output", "json"]) == (10 if expected else 0)
    told = json.loads(capsys.readouterr().out)
    assert [(problem["file"], problem["kind"]) for problem in told["problems"]] == expected
    assert main(["verify", str(folder)]) == (10 if expected else 0)
    assert (expected[0][0] if expected else "4 files match their recorded digests") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda volume: None, []),
        (_rewrite("source/5/model.onnx", "worse"), [("source/5/model.onnx", "changed")]),
        (_rewrite("source/5/more.bin", ""), [("source/5/more.bin", "unknown")]),
        (
            _rewrite("source/5/source.json", "[]"),
            [("source/5/source.json", "unreadable"), ("optimize/7/manifest.json", "unknown")],
        ),
        (
            lambda volume: (volume / "source/5/source.json").unlink(),
            [("source/5/source.json", "missing"), ("optimize/7/manifest.json", "unknown")],
        ),
        (lambda volume: (volume / "optimize/stray").mkdir(), [("optimize/stray/manifest.json", "missing")]),
        (lambda volume: (volume / "stray").mkdir(), [("stray", "unknown")]),
        (_rewrite("engines/0123456789abcdef/x_sm89.engine", "compiled"), []),
        (_rewrite("engines/0123456789abcdef/stale.timing", "compiled"), []),
        (_rewrite("optimize/7/fp32/x_sm89.engine", "compiled"), [("optimize/7/fp32/x_sm89.engine", "unknown")]),
        (_rewrite("engine/x_sm89.engine", "compiled"), [("engine", "unknown")]),
        (_rewrite("calibration/3/source.json", "[]"), [("calibration/3/source.json", "unreadable")]),
        (lambda volume: shutil.rmtree(volume / "source"), [("optimize/7/manifest.json", "unknown")]),
        (_rewrite("optimize/7/ort/model.ort", "changed"), [("optimize/7/ort/model.ort", "changed")]),
        (
            _rewrite("benchmark/9/benchmark.json", '{"schema": 1, "manifest_sha256": "0"}'),
            [("benchmark/9/benchmark.json", "changed")],
        ),
    ],
)
def test_verify_of_a_volume(
    folder: Path, tmp_path: Path, harm: Callable[[Path], object], expected: list[tuple[str, str]]
) -> None:
    volume = tmp_path / "artifacts"
    for place in ("source/5", "optimize", "benchmark/9", "benchmark/unfinished"):
        (volume / place).mkdir(parents=True)
    folder.rename(volume / "optimize" / "7")
    (volume / "source/5/model.onnx").write_text("model")
    record = {"model.onnx": {"sha256": digest(volume / "source/5/model.onnx"), "bytes": 5}}
    told = {"uri": "s3://models/m.onnx", "sha256": "0" * 64, "files": record}
    (volume / "source/5/source.json").write_text(json.dumps(told))
    manifest_sha256 = digest(volume / "optimize" / "7" / "manifest.json")
    (volume / "benchmark/9/benchmark.json").write_text(json.dumps({"schema": 1, "manifest_sha256": manifest_sha256}))
    harm(volume)
    count, problems = verify.verify(volume)
    assert [(problem.file, problem.kind) for problem in problems] == expected
    read = (volume / "source/5/source.json").is_file() and expected[:1] != [("source/5/source.json", "unreadable")]
    assert count == 4 + read


@pytest.mark.parametrize("closed", ["7/manifest.json", "7/fp32/model.onnx", "7/fp32", "7", "."])
@pytest.mark.parametrize("asked", ["optimize/7", ""], ids=["variants", "volume"])
def test_verify_reports_what_may_not_be_read(folder: Path, tmp_path: Path, asked: str, closed: str) -> None:
    """In a process that may not read everything, as root may."""
    volume = tmp_path / "artifacts"
    (volume / "optimize").mkdir(parents=True)
    folder.rename(volume / "optimize" / "7")
    place = volume / "optimize" / closed
    place.chmod(0)
    command = [sys.executable, "-m", "onnxmodel_cli", "verify", str(volume / asked), "--output", "json"]
    if not os.geteuid():
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    place.chmod(0o755)
    if asked and closed in ("7", "."):  # the command line itself is wrong
        assert (done.returncode, "Permission denied" in done.stderr) == (2, True)
        return
    assert (done.returncode, done.stderr) == (10, "")
    problems = [(each["file"], each["kind"]) for each in json.loads(done.stdout)["problems"]]
    assert (place.relative_to(volume / asked).as_posix(), "unreadable") in problems


def test_verify_of_a_volume_in_which_nothing_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "optimize").mkdir()
    assert main(["verify", str(tmp_path)]) == 10
    assert capsys.readouterr().out == f"no file is recorded in {tmp_path}\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schema": 1, "files": {}}', "it has no 'source'"),
        ('{"schema": 1, "files": {}, "source": {}}', "it has no 'sha256'"),
        ('{"schema": 1, "files": {}, "source": 1}', "a value in it is of the wrong type"),
        ('{"schema": 1, "files": {}, "source": null}', "a value in it is of the wrong type"),
        ('{"schema": 1, "files": []}', "a value in it is of the wrong type"),
        ('{"schema": 1, "files": {"a": 1}}', "a value in it is of the wrong type"),
        ('{"schema": 1}', "it has no 'files'"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
@pytest.mark.parametrize("others", [0, 1])
def test_verify_reports_a_record_that_lacks_what_it_must_say(
    text: str, why: str, others: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "optimize/7").mkdir(parents=True)
    (tmp_path / "optimize/7/manifest.json").write_text(text)
    for other in range(others):  # one that was fetched, and whose record is as broken
        (tmp_path / f"source/{other}").mkdir(parents=True)
        (tmp_path / f"source/{other}/source.json").write_text("[" * 100_000)
    assert main(["verify", str(tmp_path)]) == 10
    told = capsys.readouterr()
    assert f"optimize/7: manifest.json is not valid: {why}\n" in told.out
    assert told.err == ""


def test_verify_of_a_folder_that_lost_its_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    assert [(problem.file, problem.kind) for problem in verify.verify(folder)[1]] == [("manifest.json", "missing")]
