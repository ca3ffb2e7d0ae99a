"""A Job of the runtime image: from its request to what it leaves behind."""

import json
import os
import random
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dev import magika
from onnxmodel_runtime.__main__ import main
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, Candidate, benchmark_report
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.fetch import SECRET_PREFIX, FetchRequest
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult, Variant
from onnxmodel_runtime.contract.outcome import ExitCode, Outcome, decode
from onnxmodel_runtime.contract.probe import ProbeRequest
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.validate import ValidateRequest, ValidateResult
from onnxmodel_runtime.job import run
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.sandbox.termination import INTERNAL, exit_code
from onnxmodel_runtime.stages import apart, probe
from tests import models

LETTERS = string.ascii_letters + string.digits


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("ONNXMODEL_TERMINATION_LOG", str(path))
    return path


def job(command: str, request: Any, log: Path) -> Outcome:
    log.unlink(missing_ok=True)
    code = main([command, "--request", dumps(request)])
    outcome = decode(log.read_text())
    assert code == exit_code(outcome)
    assert (outcome.result is None) or (outcome.failure is None)
    return outcome


def test_the_whole_chain_as_jobs(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real model, from a mounted claim to numbers."""
    monkeypatch.setenv("ONNXMODEL_CLAIM_MOUNT", str(magika.model().parent))
    source = tmp_path / "source"
    assert job("fetch", FetchRequest("pvc://models/model.onnx", str(source)), log).failure is None
    validated = job("validate", ValidateRequest(str(source)), log).result
    assert isinstance(validated, ValidateResult)
    assert (validated.model.opset, validated.uri) == (15, "pvc://models/model.onnx")
    path = source / "model.onnx"
    request = OptimizeRequest(str(path), validated.model.sha256, str(tmp_path / "variants"), batch_sizes=(1, 3))
    optimized = job("optimize", request, log).result
    assert isinstance(optimized, OptimizeResult)
    assert all(variant.parity is None or variant.parity.passed for variant in optimized.variants)
    candidates = tuple(Candidate(v.name, v.path, v.sha256, v.graph_level) for v in optimized.variants)
    measure = BenchmarkRequest(candidates, optimized.probe, (1,), (1,), seconds=0.1)
    assert job("benchmark", measure, log).failure is None
    # Every report is the whole outcome; what fetch left is as it was.
    assert json.loads((tmp_path / "source.validate.json").read_text())["result"]["model"]["nodes"] == 95
    assert json.loads((tmp_path / "variants" / "report.json").read_text())["command"] == "optimize"
    benchmarked = benchmark_report(measure)
    assert benchmarked is not None
    assert json.loads(Path(benchmarked).read_text())["command"] == "benchmark"
    assert sorted(file.name for file in source.iterdir()) == ["model.onnx", "source.json"]
    # Other rules refuse it: that it was found good, and may be in use, stays.
    assert job("validate", ValidateRequest(str(source), opset_min=16), log).failure is not None
    assert (tmp_path / "source.accepted").is_file()


def test_a_refusal_is_said_and_left(tmp_path: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.save(models.fixed_batch(), tmp_path / "model")
    outcome = job("validate", ValidateRequest(str(tmp_path / "model")), log)
    assert exit_code(outcome) == ExitCode.REFUSED
    assert outcome.failure is not None
    assert outcome.failure.reason == "NoDynamicBatch"
    assert not (tmp_path / "model.accepted").exists()
    captured = capsys.readouterr().err
    assert "NoDynamicBatch [spec.validation.batch]: input 'x'" in captured
    assert "set spec.validation.batch: None. Otherwise export with a dynamic first axis" in captured


def test_local_files_are_not_for_jobs(tmp_path: Path, log: Path) -> None:
    path = models.save(models.mlp(), tmp_path)
    outcome = job("fetch", FetchRequest(str(path), str(tmp_path / "copy")), log)
    assert outcome.failure is not None
    assert outcome.failure.reason == "SourceUnsupported"


@pytest.mark.parametrize("request_", ["{}", "no", '{"directory": 5}'])
def test_a_request_that_is_none(log: Path, request_: str) -> None:
    assert main(["validate", f"--request={request_}"]) == ExitCode.REFUSED
    failure = decode(log.read_text()).failure
    assert failure is not None
    assert failure.reason == "RequestInvalid"


def test_a_defect_of_the_child_is_logged_with_one_traceback(
    tmp_path: Path, log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = models.save(models.mlp(), tmp_path)
    outcome = job("optimize", OptimizeRequest(str(path), digest(path), str(tmp_path / "out"), batch_sizes=()), log)
    assert exit_code(outcome) == INTERNAL
    assert outcome.failure is not None
    assert "ValueError while running the model" in outcome.failure.message
    assert capfd.readouterr().err.count("Traceback (most recent call last)") == 1


def test_a_defect_of_this_process_is_logged_with_one_traceback(
    log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(probe, "probe", broken)
    outcome = job("probe", ProbeRequest("m", "127.0.0.1", "none.npz"), log)
    assert exit_code(outcome) == INTERNAL
    assert capfd.readouterr().err.count("Traceback (most recent call last)") == 1


def test_no_kubelet_no_termination_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXMODEL_TERMINATION_LOG", raising=False)
    monkeypatch.setattr("onnxmodel_runtime.sandbox.termination.TERMINATION_LOG", str(tmp_path / "none"))
    assert main(["validate", "--request", dumps(ValidateRequest(str(tmp_path)))]) == ExitCode.REFUSED
    assert list(tmp_path.iterdir()) == [Path(f"{tmp_path}.validate.json")] or not list(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_nobody_is_told_of_sessions_unless_asked_to(given: dict[str, str], kept: str) -> None:
    code = "import os, onnxmodel_runtime.models.session; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    plain = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**plain, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == kept


def test_the_parent_stays_light() -> None:
    """It holds no model and must not die of one: nothing native is loaded where outcomes are written."""
    code = (
        "import sys, onnxmodel_runtime.__main__, onnxmodel_runtime.stages.apart, onnxmodel_runtime.sandbox.termination; "
        "import onnxmodel_runtime.reporting.tables; "
        "print({'onnx', 'onnxruntime', 'numpy', 'boto3', 'urllib3', 'tritonclient', 'google'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_exit_code_is_that_of_what_was_written(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the operator reads a failure that the Job's success hides, for ever."""
    result = OptimizeResult(
        (Variant("original", "".join(random.Random(1).choices(LETTERS, k=9000))),), "", ProviderUse("CPU", 100.0)
    )
    monkeypatch.setattr(apart, "run", lambda *_: result)
    request = OptimizeRequest("model.onnx", "", str(tmp_path))
    assert main(["optimize", "--request", dumps(request)]) == INTERNAL
    failure = decode(log.read_text()).failure
    assert failure is not None
    assert failure.reason == "InternalError"


def test_an_outcome_says_how_long_it_took(tmp_path: Path) -> None:
    assert 0 < run("validate", ValidateRequest(str(tmp_path))).seconds < 30


def test_a_secret_brings_credentials_and_nothing_else(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_AUTHORIZATION", "of the node")
    for name, value in {
        "HTTP_AUTHORIZATION": "Bearer mine",
        "PYTHONPATH": "/artifacts",
        "ONNXMODEL_CLAIM_MOUNT": "/",
    }.items():
        monkeypatch.setenv(f"{SECRET_PREFIX}{name}", value)
    monkeypatch.delenv("ONNXMODEL_CLAIM_MOUNT", raising=False)
    job("fetch", FetchRequest("ftp://host/m.onnx", str(tmp_path / "model")), log)
    assert os.environ["HTTP_AUTHORIZATION"] == "Bearer mine"
    assert "ONNXMODEL_CLAIM_MOUNT" not in os.environ
    assert not [name for name in os.environ if name.startswith(SECRET_PREFIX)]
    assert "PYTHONPATH" in capsys.readouterr().err
