"""The whole road without a cluster: `onnxmodel run`, by its own command line."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import models

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
EXAMPLES = re.findall(r"^\$ (onnxmodel .+)$", DOCS.read_text(), re.MULTILINE)
MANIFEST = {
    "apiVersion": "onnx-operator.dev/v1alpha1",
    "kind": "OnnxModel",
    "metadata": {"name": "mlp", "namespace": "team-a"},
    "spec": {"source": {"uri": "s3://models/mlp.onnx"}, "benchmark": {"batchSizes": [1], "concurrency": [1]}},
}


def onnxmodel(*words):
    command = [sys.executable, "-m", "onnxmodel_runtime", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


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


def test_a_good_model_ends_ready_with_everything_that_a_cluster_reports(manifest, mlp, tmp_path):
    done = onnxmodel("run", manifest(), "--model", mlp, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    status = yaml.safe_load((tmp_path / "out" / "status.yaml").read_text())
    assert status["phase"] == "Ready"
    assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(
        ("Available", "Benchmarked", "Optimized", "Ready", "Validated"), "True"
    )
    assert status["message"] in done.stdout
    assert [variant["name"] for variant in status["variants"]] == ["original", "fp32"]
    assert [stage["name"] for stage in status["stages"]] == ["validate", "optimize", "benchmark", "probe"]
    assert list((tmp_path / "out").glob("optimize/*/report.json"))
    assert [step for step in done.stderr.splitlines() if step.startswith("== ")] == [
        f"== {name}" for name in ("fetch", "validate", "optimize", "benchmark", "serve", "probe")
    ]


def test_a_refused_model_ends_with_its_findings_and_10(manifest, tmp_path):
    bad = tmp_path / "fixed.onnx"
    bad.write_bytes(models.fixed_batch().SerializeToString())
    done = onnxmodel("run", manifest(), "--model", bad, "--output", "json")
    assert done.returncode == 10, done.stderr
    status = json.loads(done.stdout)
    assert status["lastFailure"]["reason"] == "NoDynamicBatch"
    assert {finding["id"] for finding in status["findings"]} == {"ONNX-BATCH"}
    assert "== optimize" not in done.stderr


def test_what_is_not_there_ends_with_11(manifest):
    done = onnxmodel("run", manifest(source={"uri": "http://127.0.0.1:9/m.onnx"}))
    assert done.returncode == 11, done.stderr
    assert "SourceUnreachable" in done.stdout
    assert "kubectl" not in done.stdout


def test_constraints_that_nothing_holds_end_with_10(manifest, mlp):
    asked = {"batchSizes": [1], "concurrency": [1], "constraints": {"p99Milliseconds": 0.000001}}
    done = onnxmodel("run", manifest(benchmark=asked), "--model", mlp)
    assert done.returncode == 10
    assert "ConstraintsNotMet" in done.stdout
    assert "== serve" not in done.stderr


@pytest.mark.parametrize("output", ["text", "json", "sarif"])
def test_validate_takes_its_rules_from_the_manifest(manifest, mlp, output):
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


def test_validate_alone_gives_sarif_too(mlp, tmp_path):
    assert json.loads(onnxmodel("validate", mlp, "--output", "sarif").stdout)["runs"][0]["results"] == []
    page = tmp_path / "page.onnx"
    page.write_text("<html>")
    (result,) = json.loads(onnxmodel("validate", page, "--output", "sarif").stdout)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == str(page)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has none"),
        ("kind: OnnxModel\nmetadata: {name: a}\nspec: {source: {uri: nowhere}}", "spec.source.uri"),
        ("kind: OnnxModel\nmetadata: {name: a}\n---\nkind: OnnxModel\nmetadata: {name: b}", "it has a, b"),
        ("a: [", "error:"),
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "m.yaml"
    path.write_text(text)
    done = onnxmodel("run", path)
    assert done.returncode == 10
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_docs_commands_work(manifest, mlp, tmp_path, line):
    manifest()
    (tmp_path / "model.onnx").write_bytes(mlp.read_bytes())
    if "verify" in line:
        assert onnxmodel("optimize", mlp, "--out", tmp_path / "variants", "--batch-sizes=1").returncode == 0
    command = [sys.executable, "-m", "onnxmodel_runtime", *shlex.split(line)[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout
