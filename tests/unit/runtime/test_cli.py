"""The command line as people and Jobs use it, and what it leaves behind."""

import dataclasses
import errno
import json
import os
import random
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dev import magika
from onnxmodel_operator.api.crd import crd
from onnxmodel_runtime.__main__ import main, report_path, run
from onnxmodel_runtime.checks import CHECKS, Check
from onnxmodel_runtime.contract.benchmark import BenchmarkRequest, BenchmarkResult, Candidate, Environment, Point
from onnxmodel_runtime.contract.codec import dumps
from onnxmodel_runtime.contract.fetch import SECRET_PREFIX, FetchRequest
from onnxmodel_runtime.contract.model import Parity, Tensor
from onnxmodel_runtime.contract.optimize import OptimizeRequest, OptimizeResult, Pass, Variant
from onnxmodel_runtime.contract.outcome import ExitCode, Failure, Outcome, decode
from onnxmodel_runtime.contract.providers import ProviderUse
from onnxmodel_runtime.contract.validate import Finding, ModelFacts, ValidateRequest, ValidateResult
from onnxmodel_runtime.errors import out_of_memory, storage_error
from onnxmodel_runtime.locally import in_options, worded
from onnxmodel_runtime.models.digests import digest
from onnxmodel_runtime.rows.joining import NO_DELAY, ONE_ROW
from onnxmodel_runtime.sandbox import parent
from onnxmodel_runtime.sandbox.termination import INTERNAL, exit_code, fit
from tests import models

LETTERS = string.ascii_letters + string.digits
CJK = "".join(chr(number) for number in range(0x4E00, 0x9FA5))
EMOJI = "".join(chr(number) for number in range(0x1F300, 0x2F300))


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
    benchmarked = report_path(measure)
    assert benchmarked is not None
    assert json.loads(benchmarked.read_text())["command"] == "benchmark"
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
    assert "set spec.validation.batch: None. Else export with a dynamic first axis" in captured


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


def test_a_defect_of_ours(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise parent.InternalError("KeyError while making fp32: 'x'")

    monkeypatch.setattr(parent, "run", broken)
    assert main(["validate", "--request", dumps(ValidateRequest(str(tmp_path)))]) == 1
    failure = decode(log.read_text()).failure
    assert failure is not None
    assert (failure.reason, "KeyError" in failure.message) == ("InternalError", True)
    assert "Traceback" in capsys.readouterr().err


def test_no_kubelet_no_termination_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXMODEL_TERMINATION_LOG", raising=False)
    monkeypatch.setattr("onnxmodel_runtime.sandbox.termination.TERMINATION_LOG", str(tmp_path / "none"))
    assert main(["validate", "--request", dumps(ValidateRequest(str(tmp_path)))]) == ExitCode.REFUSED
    assert list(tmp_path.iterdir()) == [Path(f"{tmp_path}.validate.json")] or not list(tmp_path.iterdir())


# ---- people ----------------------------------------------------------------------------------------------------------


def test_validate_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.save(models.random_noise(), tmp_path, "my.onnx")
    assert main(["validate", str(path)]) == 0
    output = capsys.readouterr().out
    assert "opset       17" in output
    assert "x  FP32  [-1, 4]" in output
    assert "WARNING ONNX-RANDOM" in output
    assert [file.name for file in tmp_path.iterdir()] == ["my.onnx"]  # nothing is left in a person's directory


def test_validate_by_hand_as_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    models.save(models.html(), tmp_path)
    assert main(["validate", str(tmp_path), "--output", "json"]) == ExitCode.REFUSED
    assert json.loads(capfd.readouterr().out)["failure"]["reason"] == "NotOnnx"


def test_fetch_optimize_and_benchmark_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.save(models.mlp(), tmp_path)
    assert main(["fetch", str(path), str(tmp_path / "copy"), "--sha256", digest(path)]) == 0
    copy, out = tmp_path / "copy" / "model.onnx", tmp_path / "out"
    assert main(["optimize", str(copy), "--out", str(out), "--batch-sizes", "1,2"]) == 0
    assert (out / "report.json").is_file()
    sizes = ["--batch-sizes", "1", "--concurrency", "1", "--seconds", "0.01"]
    assert main(["benchmark", str(copy), str(out / "fp32" / "model.onnx"), *sizes]) == 0
    output = capsys.readouterr().out
    for text in ("VARIANT", "passed", "copy ", "fp32 ", "CPU runs 100 % of the nodes", "P99 MS"):
        assert text in output


MISSING = "there is no file or folder 'none'; check the path"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("optimise", "did you mean optimize?"),
        ("validate", "the following arguments are required: model"),
        ("validate none", MISSING),
        ("validate {model} --golden none", MISSING),
        ("validate {model} --manifest none", MISSING),
        ("validate {folder}", "is a folder without model.onnx; name the .onnx file in it"),
        ("fetch none copy", MISSING),
        ("optimize none --out x", MISSING),
        ("optimize {folder} --out x", "is a folder; name the .onnx file in it"),
        ("verify none", MISSING),
        ("benchmark {model} none", MISSING),
        ("report none", MISSING),
        ("serve none", MISSING),
        ("serve {model} --probe none", MISSING),
        ("repository none --out x", MISSING),
        ("loadtest localhost --name a --probe none", MISSING),
        ("probe localhost --name a --probe none", MISSING),
        ("probe localhost:8000 --name a --probe {model}", "give the port by its own option"),
        ("validate {model} --memroy 8", "there is no option '--memroy'; did you mean --memory?"),
        ("validate {model} more", "unexpected argument 'more'"),
        ("validate {model} --batch none", "'none' is none of Auto, None; did you mean None?"),
        ("validate {model} --memory -1", "'-1' is no number from 0 on"),
        ("validate {model} --timeout nan", "'nan' is no number from 0 on"),
        ("validate {model} --public-key k", "--public-key and --signature are for the signature of a --manifest"),
        ("optimize {model} --out x --variants FP16", "did you mean fp16?"),
        ("optimize {model} --out x --cosine 2", "'2' is no number from 0 to 1"),
        ("benchmark {model} --providers cuda", "did you mean CUDA?"),
        ("benchmark {model} --seconds 0", "'0' is no number above 0"),
        ("serve {model} --preferred-batch-sizes 8,33 --max-queue-delay 9", "must not exceed --max-batch-size (32)"),
        ("serve {model} --preferred-batch-sizes 8", "--preferred-batch-sizes needs --max-queue-delay"),
        ("serve {model} --max-queue-delay 9 --preferred-batch-sizes " + ",".join("1" * 17), "at most 16 sizes"),
        ("repository {model} --out x --batch None --max-queue-delay 9", "--max-queue-delay must be 0"),
        ("serve {model} --providers=,", "name at least one of TensorRT, CUDA, OpenVINO, CPU"),
        ("benchmark {model} --batch-sizes 1,a", "'1,a' is no list of whole numbers from 1 on"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_2(
    line: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models.save(models.mlp(), tmp_path, "mlp.onnx")
    with pytest.raises(SystemExit) as caught:
        main(line.format(model=model, folder=tmp_path).split())
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("benchmark {page}", "BenchmarkFailed: page cannot be loaded"),
        ("optimize {page} --out out", "ModelCorrupt: the model cannot be decoded"),
        ("repository {page} --out out", "ModelCorrupt: the model cannot be decoded"),
        (
            "probe localhost --name a --probe {page}",
            "is no probe file: it is no .npz file of arrays\nhint: Give the probe.npz",
        ),
        ("report {page}", "is no benchmark.json, as onnxmodel benchmark --out leaves it"),
    ],
)
def test_a_file_of_another_kind_is_no_defect_of_ours(
    line: str, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.onnx").write_bytes(models.html())
    assert main(line.format(page="page.onnx").split()) == ExitCode.REFUSED
    assert says in capfd.readouterr().err


def test_what_was_asked_for_is_told_in_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.save(models.mlp(), tmp_path)
    assert main(["validate", str(path), "--batch", "None"]) == 0
    assert "each request is one inference: --batch is None" in capsys.readouterr().out


def test_hints_of_a_command_name_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.save(models.fixed_batch(), tmp_path)
    assert main(["validate", str(path)]) == ExitCode.REFUSED
    captured = capsys.readouterr()
    assert "NoDynamicBatch [--batch]" in captured.err
    for told in (captured.out, captured.err):
        assert 0 < told.index("set --batch None") < told.index("set --dynamic-batch Allowed")
        assert "spec." not in told
    assert main(["validate", str(models.save(models.eats_memory(), tmp_path))]) == ExitCode.REFUSED
    assert "hint: Raise --memory, or" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--memory",)])
@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (out_of_memory("running", "no more"), "Run it with more memory"),
        (storage_error(OSError(errno.ENOSPC, "full"), Path("/tmp")), "Free space there"),
        (storage_error(OSError(errno.EACCES, "no", "/tmp"), Path("/tmp")), "Make the folder writable"),
        (parent.died(-15, "optimize", "running"), "Run it again."),
    ],
)
def test_hints_on_a_laptop_speak_of_no_cluster(error: Any, hint: str, options: tuple[str, ...]) -> None:
    told = worded(Outcome("optimize", 0.0, failure=error.failure), options).failure
    assert told is not None
    assert told.hint.startswith(hint)
    assert not re.search("spec|chart|pod|PersistentVolume|Job", told.hint)


@pytest.mark.parametrize("check", CHECKS.values(), ids=str)
def test_every_fix_can_be_said_in_options(check: Check) -> None:
    told = in_options(check.fix, ["--batch", "--golden", "--opset-min", "--memory"])
    for match in re.finditer(r"spec\.[A-Za-z.]+\w(.{11})?", told):
        assert match[1] == " of a manif", told


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("--gpus", "gpus"),
        ("--instances", "instances"),
        ("--max-batch-size", "batching.maxBatchSize"),
        ("--max-queue-size", "batching.maxQueueSize"),
        ("--max-queue-delay", "batching.maxQueueDelayMicroseconds"),
        ("--default-timeout", "batching.defaultTimeoutMicroseconds"),
    ],
)
def test_the_numbers_of_a_server_have_the_bounds_of_their_fields(
    option: str, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["serving"]
    for name in field.split("."):
        schema = schema["properties"][name]
    least, most = schema["minimum"], schema["maximum"]
    for value in (least - 1, most + 1, "soon"):
        with pytest.raises(SystemExit) as caught:
            main(["repository", "model.onnx", "--out=x", f"{option}={value}"])
        assert caught.value.code == 2
        told = capsys.readouterr().err
        assert f"argument {option}: '{value}' is no whole number from {least} to {most}" in told


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "100%"])
@pytest.mark.parametrize("command", [["serve"], ["repository", "--out=x"]])
def test_a_name_is_a_part_of_a_path(command: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "model.onnx", f"--name={name}"])
    assert caught.value.code == 2
    assert f"argument --name: {name!r} cannot be a part of the path /v2/models/NAME" in capsys.readouterr().err


def test_a_servers_sentences_name_options() -> None:
    options = ["--max-queue-delay", "--max-batch-size", "--fallback"]
    assert in_options(NO_DELAY, options) == "--max-queue-delay is 0: no request waits for another"
    assert in_options(ONE_ROW, options) == "--max-batch-size is 1"
    told = worded(Outcome("serve", 0.0, failure=Failure("ProviderUnavailable", "no CUDA", "")), options).failure
    assert told is not None
    assert told.hint.endswith("(--fallback Allow).")


@pytest.mark.parametrize("value", ["-1", "65536", "http"])
def test_a_port_is_a_port(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "model.onnx", f"--grpc-port={value}"])
    assert f"argument --grpc-port: '{value}' is no whole number from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("providers", "why"), [("CPU,CUDA", "CPU must be the last execution provider"), ("CPU,CPU", "named twice")]
)
@pytest.mark.parametrize("command", [["serve"], ["benchmark"], ["optimize", "--out=x"], ["repository", "--out=x"]])
def test_providers_that_would_run_nothing_are_refused(
    command: list[str], providers: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command, "model.onnx", f"--providers={providers}"])
    assert why in capsys.readouterr().err


def test_a_client_asks_no_port_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["loadtest", "localhost", "--name=m", "--probe=p", "--http-port=0"])
    assert "'0' is no whole number from 1 to 65535" in capsys.readouterr().err


def test_a_failure_of_a_load_test_has_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.npz").write_text("no probe")
    assert main(["loadtest", "localhost", "--name", "m", "--probe", str(tmp_path / "text.npz")]) > 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "ProbeUnreadable" in said.err


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
        "import sys, onnxmodel_runtime.__main__ as m, onnxmodel_runtime.sandbox.parent, onnxmodel_runtime.sandbox.termination; "
        "import onnxmodel_runtime.reporting.tables; m._parser(); "
        "print({'onnx', 'onnxruntime', 'numpy', 'boto3', 'urllib3', 'tritonclient', 'google'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# ---- what fits -------------------------------------------------------------------------------------------------------


def facts(tensors: int) -> ModelFacts:
    names = [f"{number * 2654435761 % 2**32:08x}" * 20 for number in range(tensors)]
    shapes = tuple(Tensor(name, "FP32", (-1, index)) for index, name in enumerate(names))
    return ModelFacts("0" * 64, 1, 8, 17, "tests", 1, 1, shapes, shapes)


@pytest.mark.parametrize("tensors", [1, 20, 500])
@pytest.mark.parametrize("findings", [0, 30, 1000])
def test_a_validation_always_fits(tensors: int, findings: int) -> None:
    found = tuple(
        Finding("ONNX-X", "error", f"{n * 40503 % 65536:04x}" * 40, f"{n * 2654435761 % 2**32:08x}" * 90, "fix")
        for n in range(findings)
    )
    outcome = decode(fit(Outcome("validate", 1.0, ValidateResult(facts(tensors), found))))
    assert isinstance(outcome.result, ValidateResult)
    assert outcome.result.model.sha256 == "0" * 64
    if findings and tensors < 500:
        assert outcome.result.findings


def test_a_failure_always_fits() -> None:
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(800))
    outcome = decode(fit(Outcome("validate", 1.0, failure=Failure("NotOnnx", noise, noise[::-1]))))
    assert outcome.failure is not None
    assert outcome.failure.reason == "NotOnnx"


def noise(count: int, characters: str, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(characters, k=count))


@pytest.mark.parametrize("characters", [CJK, EMOJI], ids=["cjk", "emoji"])
def test_a_validation_with_names_of_any_script_fits(characters: str) -> None:
    tensors = tuple(Tensor(noise(200, characters, seed), "FP32", (-1,) * 40) for seed in range(64))
    model = ModelFacts("0" * 64, 1, 8, 17, noise(100, characters), 1, 1, tensors, tensors)
    text = noise(800, characters)
    found = (Finding("ONNX-X", "error", text[:200], text, text[::-1]),) * 20
    outcome = decode(fit(Outcome("validate", 1.0, ValidateResult(model, found, "https://h/" + noise(2000, LETTERS)))))
    assert isinstance(outcome.result, ValidateResult)
    assert outcome.result.model.inputs
    assert outcome.result.findings[0].id == "ONNX-X"


def test_an_optimization_fits_whatever_outputs_are_called() -> None:
    def variant(name: str, seed: int) -> Variant:
        text = noise(8000, LETTERS, seed)
        return Variant(name, f"/artifacts/{name}", text[:64], parity=Parity(False, 1, 1, 1, text, (1,), text[::-1]))

    passes = tuple(Pass(f"pass-{number}", 1, 1, noise(400, LETTERS, number)) for number in range(3))
    variants = (
        *(dataclasses.replace(variant(f"v{seed}", seed), passes=passes) for seed in range(6)),
        Variant("x", skipped=noise(500, EMOJI)),
    )
    outcome = decode(fit(Outcome("optimize", 1.0, OptimizeResult(variants, "/p", ProviderUse("CPU", 100.0)))))
    assert isinstance(outcome.result, OptimizeResult)
    assert [item.sha256 for item in outcome.result.variants] == [item.sha256 for item in variants]


def test_a_benchmark_fits_on_a_machine_of_many_words() -> None:
    found = Environment(noise(3000, LETTERS), 1.0, noise(3000, EMOJI), {"x": noise(3000, LETTERS)})
    left_out = {f"v{seed}": noise(200, EMOJI, seed) for seed in range(6)}
    points = (Point("a", 1, 1, 1, 1, 1, 1, 1),)
    result = BenchmarkResult(points, ProviderUse("CPU", 100.0), found, left_out=left_out)
    outcome = decode(fit(Outcome("benchmark", 1.0, result)))
    assert isinstance(outcome.result, BenchmarkResult)
    assert outcome.result.points == result.points
    assert set(outcome.result.left_out) == set(left_out)


def test_what_compresses_too_well_is_still_read() -> None:
    model = dataclasses.replace(facts(1), producer="a" * (2 << 20))
    assert decode(fit(Outcome("validate", 1.0, ValidateResult(model)))).result is not None


def test_the_exit_code_is_that_of_what_was_written(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the operator reads a failure that the Job's success hides, for ever."""
    result = OptimizeResult((Variant("original", noise(9000, LETTERS)),), "", ProviderUse("CPU", 100.0))
    monkeypatch.setattr(parent, "run", lambda *_: result)
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
