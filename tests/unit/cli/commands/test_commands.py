"""The command line as people use it."""

import argparse
import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from onnxmodel_cli import values
from onnxmodel_cli.__main__ import main
from onnxmodel_cli.commands import parser
from onnxmodel_operator.api.crd import crd
from onnxmodel_runtime.contract.outcome import ExitCode
from onnxmodel_runtime.contract.providers import PROVIDERS
from onnxmodel_runtime.models.digests import digest
from tests import models


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
        ("verify {model}", "is neither a folder of variants (there is no manifest.json in it) nor a model's volume"),
        ("verify {folder}", "is neither a folder of variants"),
        ("report {folder}", "is a folder without benchmark.json, which benchmark --out writes"),
        ("benchmark {model} none", MISSING),
        ("report none", MISSING),
        ("serve none", MISSING),
        ("serve {model} --probe none", MISSING),
        ("repository none --out x", MISSING),
        ("loadtest localhost --name a --probe none", MISSING),
        ("probe localhost --name a --probe none", MISSING),
        ("probe localhost:8000 --name a --probe {model}", "set the port with its own option"),
        ("validate {model} --memroy 8", "unknown option '--memroy'; did you mean --memory?"),
        ("validate {model} more", "unexpected argument 'more'"),
        ("validate {model} --batch none", "'none' is not one of Auto, None; did you mean None?"),
        ("validate {model} --memory -1", "'-1' is not a number of at least 0"),
        ("validate {model} --timeout nan", "'nan' is not a number of at least 0"),
        ("validate {model} --public-key k", "--public-key and --signature require a --manifest with a signature"),
        ("optimize {model} --out x --variants FP16", "did you mean fp16?"),
        ("optimize {model} --out x --cosine 2", "'2' is not a number from 0 to 1"),
        ("benchmark {model} --providers cuda", "did you mean CUDA?"),
        ("benchmark {model} --seconds 0", "'0' is not a number greater than 0"),
        ("serve {model} --preferred-batch-sizes 8,33 --max-queue-delay 9", "must not exceed --max-batch-size (32)"),
        ("serve {model} --preferred-batch-sizes 8", "--preferred-batch-sizes needs --max-queue-delay"),
        ("serve {model} --max-queue-delay 9 --preferred-batch-sizes " + ",".join("1" * 17), "at most 16 sizes"),
        ("repository {model} --out x --batch None --max-queue-delay 9", "--max-queue-delay must be 0"),
        ("serve {model} --providers=,", f"name at least one of {', '.join(PROVIDERS)}"),
        ("benchmark {model} --batch-sizes 1,a", "'1,a' is not a list of positive integers"),
        ("benchmark {model} --batch-sizes 1,1000000000", "'1000000000' is not an integer from 1 to 4096"),
        ("benchmark {model} --concurrency 1,1000000", "'1000000' is not an integer from 1 to 256"),
        ("benchmark {model} --concurrency 9" + "9" * 5000, "is not a list of positive integers"),
        ("optimize {model} --out x --batch-sizes 4097", "'4097' is not an integer from 1 to 4096"),
        ("optimize {model} --out x --threads 100000", "'100000' is not an integer from 0 to 1024"),
        ("loadtest localhost --name a --probe p --concurrency 257", "'257' is not an integer from 1 to 256"),
        ("serve {model} --http-port 18000 --grpc-port 18000", "--http-port and --grpc-port are both 18000"),
        ("serve {model} --host 999.1.1.1", "--host '999.1.1.1' is not an address of this machine"),
        ("serve {model} --host 192.0.2.1", "--host '192.0.2.1' is not an address of this machine"),
        ("serve {folder}", "is a folder without model.onnx; name the .onnx file in it"),
        ("repository {folder} --out x", "is a folder without model.onnx; name the .onnx file in it"),
        ("fetch {model} x --sha256 abc", "'abc' is not a digest: expected 64 lowercase hexadecimal digits"),
        ("fetch {model} {model}", "is a file; name a folder, which is created"),
        ("validate {model} --opset-min 99999999999", "'99999999999' is not an integer from 1 to 100"),
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
        ("benchmark {page}", "\nhint: Validate the file with the image that measures it (onnxmodel validate):"),
        ("benchmark {page}", "BenchmarkFailed: page cannot be loaded"),
        ("optimize {page} --out out", "ModelCorrupt: cannot decode the model"),
        ("repository {page} --out out", "ModelCorrupt: cannot decode the model"),
        (
            "probe localhost --name a --probe {page}",
            "is not a probe file: it is not an .npz file of arrays\nhint: Use the probe.npz",
        ),
        ("report {page}", "is not a benchmark.json written by onnxmodel benchmark --out"),
        ("report {binary}", "is not a benchmark.json written by onnxmodel benchmark --out: it is not text"),
        ("validate {model} --golden {empty}", "empty is empty: it contains no input and no output"),
    ],
)
def test_a_file_of_another_kind_is_no_defect_of_ours(
    line: str, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.onnx").write_bytes(models.html())
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").mkdir()
    model = models.save(models.mlp(), tmp_path, "mlp.onnx")
    given = line.format(page="page.onnx", binary="binary", empty="empty", model=model)
    assert main(given.split()) == ExitCode.REFUSED
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
        assert f"argument {option}: '{value}' is not an integer from {least} to {most}" in told


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "100%"])
@pytest.mark.parametrize("command", [["serve"], ["repository", "--out=x"]])
def test_a_name_is_a_part_of_a_path(command: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "model.onnx", f"--name={name}"])
    assert caught.value.code == 2
    assert f"argument --name: {name!r} is not valid in the path /v2/models/NAME" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", "65536", "http"])
def test_a_port_is_a_port(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "model.onnx", f"--grpc-port={value}"])
    assert f"argument --grpc-port: '{value}' is not an integer from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("providers", "why"), [("CPU,CUDA", "CPU must be the last execution provider"), ("CPU,CPU", "listed twice")]
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
    assert "'0' is not an integer from 1 to 65535" in capsys.readouterr().err


def test_another_model_among_the_candidates_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = models.save(models.mlp(), tmp_path, "one.onnx")
    other = models.save(models.transformer(), tmp_path, "other.onnx")
    words = ["--batch-sizes", "1", "--concurrency", "1", "--seconds", "0.01"]
    assert main(["benchmark", str(one), str(other), *words]) == ExitCode.REFUSED
    said = capfd.readouterr()
    assert "CandidatesDiffer: other is not the same model as one" in said.err
    assert said.out == ""


def test_a_stage_that_ran_out_of_its_time_names_the_option(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = models.save(models.mlp(), tmp_path, "my.onnx")
    assert main(["validate", str(path), "--timeout", "0.01"]) == ExitCode.REFUSED
    said = capfd.readouterr()
    assert "TimedOut: validate did not finish within 0.01 s" in said.err
    assert said.err.endswith(" Or raise --timeout (0: no limit).\n")
    assert said.out == "", "nothing was found, and nothing was found to be good"


def test_every_default_is_in_the_help() -> None:
    (each,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    untold = []
    for name, made in each.choices.items():
        for action in made._actions:
            usual = action.default
            if usual in (None, "", (), False, argparse.SUPPRESS):
                continue
            shown = ",".join(map(str, usual)) if isinstance(usual, tuple) else str(usual)
            shown = f"{usual:g}" if isinstance(usual, float) else shown
            if shown not in (action.help or ""):
                untold.append((name, action.dest, shown))
    assert untold == []


def test_the_version_is_that_of_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    assert (caught.value.code, capsys.readouterr().out) == (0, f"onnxmodel {project['version']}\n")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_the_help_has_every_exit_code_of_the_docs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    page = (Path(__file__).parents[4] / "docs" / "cli.md").read_text()
    codes = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert len(codes) == 6
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    told = re.findall(r"[:;] (\d+) ", shown[shown.index("Exit codes:") :])
    assert sorted(told) == sorted(codes)


def test_a_failure_of_a_load_test_has_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.npz").write_text("no probe")
    assert main(["loadtest", "localhost", "--name", "m", "--probe", str(tmp_path / "text.npz")]) > 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "ProbeUnreadable" in said.err


def test_the_bounds_of_lists_are_those_of_the_api() -> None:
    benchmark = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][
        "benchmark"
    ]
    for field, convert in (("batchSizes", values.batch_sizes), ("concurrency", values.concurrency)):
        most = benchmark["properties"][field]["items"]["maximum"]
        assert convert(f"1,{most}") == (1, most)
        with pytest.raises(argparse.ArgumentTypeError):
            convert(f"{most + 1}")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (
            "pvc://claim/m.onnx",
            "a PersistentVolumeClaim is mounted in a cluster only\nhint: Copy the model to this machine",
        ),
        ("az://a/b/c.onnx", "the account 'a' must have 3 to 24 lowercase letters and digits"),
        ("az://models/B/c.onnx", "the container 'B' must have 2 to 63 lowercase letters"),
        ("az://models/bc", "expected az://ACCOUNT/CONTAINER/PATH"),
        ("ftp://models/m.onnx", "has the scheme 'ftp', which is not supported"),
        ("{folder}/", "pipe is not a regular file\nhint: Remove it from the folder, or name a regular file."),
    ],
)
def test_a_source_that_cannot_be_used_here_is_said(
    uri: str, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONNXMODEL_CLAIM_MOUNT", raising=False)
    (tmp_path / "source").mkdir()
    models.save(models.mlp(), tmp_path / "source")
    os.mkfifo(tmp_path / "source" / "pipe")
    assert main(["fetch", uri.format(folder=tmp_path / "source"), str(tmp_path / "copy")]) == ExitCode.REFUSED
    assert says in capfd.readouterr().err


def test_every_option_says_more_than_its_default() -> None:
    (each,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    bare = [
        (name, action.dest)
        for name, made in each.choices.items()
        for action in made._actions
        if not re.sub(r"^\(.*\)$", "", action.help or "")
    ]
    assert bare == []
    assert not [name for name, made in each.choices.items() if re.search(r"\bdirectory\b", made.format_help())]
