"""The whole road without a cluster: `onnxmodel run`, by its own command line."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from onnxmodel_cli.__main__ import main
from onnxmodel_cli.pipeline.volume import Volume
from onnxmodel_runtime.contract.stages import STAGES
from onnxmodel_runtime.stages import loadtest
from tests import models, signatures
from tests.stages import SERVED, UNSERVED

DOCS = Path(__file__).parents[4] / "docs" / "cli.md"
EXAMPLES = re.findall(r"^\$ (onnxmodel .+)$", DOCS.read_text(), re.MULTILINE)
MANIFEST = {
    "apiVersion": "onnx-operator.dev/v1alpha1",
    "kind": "OnnxModel",
    "metadata": {"name": "mlp", "namespace": "team-a"},
    "spec": {"source": {"uri": "s3://models/mlp.onnx"}, "benchmark": {"batchSizes": [1], "concurrency": [1]}},
}


WHOLE = "onnxmodel run onnxmodel.yaml --model model.onnx --out artifacts"


@pytest.fixture
def onnxmodel(capfd):
    """A command line in this process, which spares it the start of another."""

    def run(*words):
        capfd.readouterr()
        try:
            code: str | int | None = main([*map(str, words)])
        except SystemExit as refused:
            code = refused.code
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run


@pytest.fixture
def hurried(monkeypatch):
    """Stages measure for 20 ms at a time. Whatever else they do is real."""
    here = Volume.here

    def soon(self, request):
        return replace(here(self, request), **({"seconds": 0.02} if hasattr(request, "seconds") else {}))

    monkeypatch.setattr(Volume, "here", soon)
    monkeypatch.setattr(loadtest, "_WARM_UP_SECONDS", 0.02)


def process(line, folder):
    """A command line of the documentation, as a person runs it."""
    command = [sys.executable, "-m", "onnxmodel_cli", *shlex.split(line)[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, mlp):
    """One run of every stage that measures as long as for a person, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "onnxmodel.yaml").write_text(yaml.safe_dump(MANIFEST))
    (folder / "model.onnx").write_bytes(mlp.read_bytes())
    return process(WHOLE, folder), folder


@pytest.fixture(scope="module")
def variants(tmp_path_factory, mlp):
    """What `onnxmodel optimize` leaves."""
    folder = tmp_path_factory.mktemp("optimized") / "variants"
    assert main(["optimize", str(mlp), "--out", str(folder), "--batch-sizes=1"]) == 0
    return folder


@pytest.fixture
def manifest(tmp_path):
    def write(**spec):
        path = tmp_path / "onnxmodel.yaml"
        other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mlp"}}
        path.write_text(yaml.safe_dump_all([other, {**MANIFEST, "spec": {**MANIFEST["spec"], **spec}}]))
        return path

    return write


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlp") / "mlp.onnx"
    path.write_bytes(models.mlp().SerializeToString())
    return path


def test_a_good_model_ends_ready_with_everything_that_a_cluster_reports(whole):
    done, folder = whole
    assert done.returncode == 0, done.stderr
    status = yaml.safe_load((folder / "artifacts" / "status.yaml").read_text())
    assert status["phase"] == "Ready"
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
        ("Available", "Benchmarked", "Optimized", "Ready", "Validated"), "True"
    )
    assert status["message"] in done.stdout
    assert [variant["name"] for variant in status["variants"]] == ["original", "fp32", "fused"]
    assert [stage["name"] for stage in status["stages"]] == list(STAGES)
    assert list((folder / "artifacts").glob("optimize/*/report.json"))
    assert main(["verify", str(folder / "artifacts")]) == 0, "all of it is known"
    assert [step for step in done.stderr.splitlines() if step.startswith("== ")] == [
        f"== {name}" for name in ("fetch", *UNSERVED, "serve", *SERVED)
    ]


def test_a_refused_model_ends_with_its_findings_and_10(onnxmodel, manifest, tmp_path):
    bad = tmp_path / "fixed.onnx"
    bad.write_bytes(models.fixed_batch().SerializeToString())
    done = onnxmodel("run", manifest(), "--model", bad, "--output", "json")
    assert done.returncode == 10, done.stderr
    status = json.loads(done.stdout)
    assert status["lastFailure"]["reason"] == "NoDynamicBatch"
    assert {finding["id"] for finding in status["findings"]} == {"ONNX-BATCH"}
    assert "== optimize" not in done.stderr


def test_a_hint_is_printed_whole_and_without_commands_for_a_cluster(onnxmodel, manifest, tmp_path):
    made = models.computed_length(8 * 7919)
    for dimension in made.graph.input[0].type.tensor_type.shape.dim:
        dimension.dim_param = dimension.dim_param.replace("length", "Log: length")
    done = onnxmodel("run", manifest(), "--model", models.save(made, tmp_path))
    assert done.returncode == 10, done.stderr
    (hint,) = (line for line in done.stdout.splitlines() if line.startswith("hint: "))
    assert hint.endswith("spec.validation.sizes; the dynamic axes are Log: length.")


@pytest.mark.usefixtures("hurried")
def test_for_triton_its_repository_is_laid_out_and_the_other_server_stands_in(onnxmodel, manifest, mlp, tmp_path):
    serving = {"runtime": "triton", "batching": {"maxQueueDelayMicroseconds": 100}}
    done = onnxmodel("run", manifest(serving=serving), "--model", mlp, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "== repository" in done.stderr
    (config,) = (tmp_path / "out").glob("triton/*/mlp/config.pbtxt")
    assert "max_queue_delay_microseconds: 100" in config.read_text()
    assert (config.parent / "1").is_symlink()
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert yaml.safe_load((tmp_path / "out" / "status.yaml").read_text())["serving"]["runtime"] == "triton"


@pytest.mark.usefixtures("hurried")
def test_what_triton_cannot_take_is_refused_without_a_cluster_too(onnxmodel, manifest, tmp_path):
    path = models.save(models.empty_axis(), tmp_path)
    done = onnxmodel("run", manifest(serving={"runtime": "triton"}), "--model", path)
    assert done.returncode == 10, done.stderr
    assert "UnsupportedShape" in done.stdout
    assert "== serve" not in done.stderr


@pytest.mark.usefixtures("hurried")
def test_what_triton_cannot_be_told_is_refused_by_its_field(onnxmodel, manifest, mlp):
    told = {"executionProviders": ["OpenVINO", "CPU"], "providerOptions": {"OpenVINO": {"device_type": "CPU"}}}
    done = onnxmodel("run", manifest(serving={"runtime": "triton", "fallback": "Allow", **told}), "--model", mlp)
    assert done.returncode == 10, done.stderr
    assert "OptionUnsupported" in done.stdout
    assert "spec.serving.providerOptions.OpenVINO" in done.stdout


def test_what_is_not_there_ends_with_11(onnxmodel, manifest):
    done = onnxmodel("run", manifest(source={"uri": "http://127.0.0.1:9/m.onnx"}))
    assert done.returncode == 11, done.stderr
    assert "SourceUnreachable" in done.stdout
    assert "kubectl" not in done.stdout


@pytest.mark.usefixtures("hurried")
def test_constraints_that_nothing_holds_end_with_10(onnxmodel, manifest, mlp):
    asked = {"batchSizes": [1], "concurrency": [1], "constraints": {"p99Milliseconds": 0.000001}}
    done = onnxmodel("run", manifest(benchmark=asked), "--model", mlp)
    assert done.returncode == 10
    assert "ConstraintsNotMet" in done.stdout
    assert "== serve" not in done.stderr


@pytest.mark.parametrize("output", ["text", "json", "sarif"])
def test_validate_takes_its_rules_from_the_manifest(onnxmodel, manifest, mlp, output):
    rules = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [-1, 4]}]}
    done = onnxmodel("validate", mlp, "--manifest", manifest(validation=rules), "--output", output)
    assert done.returncode == 10, done.stderr
    assert "== optimize" not in done.stderr
    if output == "text":
        assert "ContractMismatch" in done.stdout
    elif output == "json":
        assert json.loads(done.stdout)["findings"][0]["id"] == "ONNX-CONTRACT-INPUT"
    else:
        (run,) = json.loads(done.stdout)["runs"]
        assert run["results"][0]["ruleId"] == "ONNX-CONTRACT-INPUT"
        assert run["results"][0]["level"] == "error"
        assert {"id": "ONNX-CONTRACT-INPUT"} in run["tool"]["driver"]["rules"]


def test_validate_alone_gives_sarif_too(onnxmodel, mlp, tmp_path):
    assert json.loads(onnxmodel("validate", mlp, "--output", "sarif").stdout)["runs"][0]["results"] == []
    page = tmp_path / "page.onnx"
    page.write_text("<html>")
    (result,) = json.loads(onnxmodel("validate", page, "--output", "sarif").stdout)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == str(page)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none"], "there is no file or folder 'none'"),
        (["{manifest}", "--model=none"], "there is no file or folder 'none'"),
        (["{manifest}", "--settings=none"], "there is no file or folder 'none'"),
        (["{manifest}", "--public-key=none"], "cannot read 'none': No such file"),
        (["{manifest}", "--modle=none"], "unknown option '--modle'; did you mean --model?"),
        (["{manifest}", "--until=Validate"], "did you mean validate?"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_2(manifest, words, says, capsys):
    signature = {"uri": "s3://models/mlp.sig", "publicKeyRef": {"name": "keys", "key": "key.pub"}}
    path = manifest(source={"uri": "s3://models/mlp.onnx", "signature": signature})
    with pytest.raises(SystemExit) as caught:
        main(["run", *(word.format(manifest=path) for word in words)])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("line", [line for line in EXAMPLES if line != WHOLE])
def test_the_docs_commands_work(manifest, mlp, tmp_path, line, request):
    manifest()
    (tmp_path / "model.onnx").write_bytes(mlp.read_bytes())
    golden(tmp_path / "golden.npz")
    if "verify" in line:
        (tmp_path / "variants").symlink_to(request.getfixturevalue("variants"))
    if "benchmark" in line:
        line += " --seconds 0.02"
    if line == WHOLE.partition(" --out")[0]:
        request.getfixturevalue("hurried")
        request.getfixturevalue("monkeypatch").chdir(tmp_path)
        done = request.getfixturevalue("onnxmodel")(*shlex.split(line)[1:])
    else:
        done = process(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout or " fetch " in line  # of which the result is a folder


def test_the_run_that_is_shared_is_one_of_the_docs():
    assert WHOLE in EXAMPLES


def test_a_file_that_was_exported_again_is_judged_again(onnxmodel, manifest, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(models.mlp().SerializeToString())
    words = ["run", manifest(), "--model", path, "--out", tmp_path / "out", "--until", "validate"]
    assert onnxmodel(*words).returncode == 0
    status = yaml.safe_load((tmp_path / "out" / "status.yaml").read_text())
    assert (status["phase"], status["reason"]) == ("Suspended", "Suspended")
    assert status["message"] == "validate has finished, and nothing was refused; no later stage was run"
    assert {c["type"]: c["status"] for c in status["conditions"]}["Validated"] == "True"
    assert "Reconciling" not in {c["type"] for c in status["conditions"]}
    path.write_bytes(models.fixed_batch().SerializeToString())
    assert onnxmodel(*words).returncode == 10


def test_the_charts_values_are_settings_and_their_policy_holds_here_too(onnxmodel, manifest, mlp, tmp_path):
    values = yaml.safe_load((DOCS.parents[1] / "charts" / "onnxmodel-operator" / "values.yaml").read_text())
    values["settings"]["policy"]["sources"]["hosts"] = ["models.example.com"]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    path = manifest(source={"uri": "http://127.0.0.1:1/m.onnx"})
    done = onnxmodel("run", path, "--settings", tmp_path / "values.yaml", "--until", "validate")
    assert done.returncode == 10
    assert "SourceRejected" in done.stdout
    assert (
        onnxmodel("run", path, "--model", mlp, "--settings", tmp_path / "values.yaml", "--until", "validate").returncode
        == 0
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--mode", "Enforce"],
        ["--opset-min", "12"],
        ["--dynamic-batch", "Allowed"],
        ["--golden-tolerance", "1"],
        ["--timeout", "9"],
    ],
)
def test_what_the_manifest_says_is_not_said_twice(onnxmodel, manifest, mlp, words):
    done = onnxmodel("validate", mlp, "--manifest", manifest(), *words)
    assert done.returncode == 2
    assert words[0] in done.stderr


def test_golden_data_and_signatures_of_this_machine(onnxmodel, manifest, tmp_path):
    folder = tmp_path / "published"
    (tmp_path / "signing").mkdir()
    files = signatures.sign_folder(tmp_path / "signing", {"model.onnx": models.mlp().SerializeToString()})
    folder.mkdir()
    for name, content in files.content.items():
        (folder / name).write_bytes(content)
    (tmp_path / "model.sig").write_bytes(files.signature)
    (tmp_path / "key.pub").write_text(files.public_key)
    golden(tmp_path / "golden.npz")
    key = {"name": "model-signing", "key": "key.pub"}
    path = manifest(
        source={"uri": "s3://models/m/", "signature": {"uri": "s3://models/m.sig", "publicKeyRef": key}},
        validation={"golden": {"uri": "s3://models/golden.npz"}},
    )
    words = [
        "validate",
        folder,
        "--manifest",
        path,
        "--signature",
        tmp_path / "model.sig",
        "--golden",
        tmp_path / "golden.npz",
    ]
    done = onnxmodel(*words, "--public-key", tmp_path / "key.pub")
    assert done.returncode == 0, done.stderr
    none = onnxmodel(*words)
    assert none.returncode == 10
    assert "no public key to verify the signature" in none.stdout


def golden(path):
    x = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)
    np.savez(path, x=x, scores=models.answers(models.mlp(), {"x": x})[0])


def test_a_refusal_prints_its_findings_where_a_pipe_reads_them(onnxmodel, tmp_path):
    models.save(models.fixed_batch(), tmp_path)
    done = onnxmodel("validate", tmp_path)
    assert done.returncode == 10
    assert "ONNX-BATCH" in done.stdout
    assert "NoDynamicBatch" in done.stderr
