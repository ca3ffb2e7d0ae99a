"""Manifests on a person's machine: read as the API server would, and refused in one sentence."""

import io

import pytest

from onnxmodel_cli.__main__ import main
from onnxmodel_cli.pipeline import manifest as manifests

KIND = b"apiVersion: onnx-operator.dev/v1alpha1\nkind: OnnxModel\n"


SPEC = KIND + b"metadata: {name: a}\nspec: {source: {uri: 's3://models/a.onnx'}, "


NAMED = b"\nspec: {source: {uri: 's3://models/a.onnx'}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it contains none"),
        (
            b"kind: Pod\n---\nkind: Service\n---\n- a",
            "it contains none, only Pod, Service, something that is not an object",
        ),
        (
            KIND + b"metadata: {name: a}\nspec: {source: {uri: nowhere}}",
            "spec.source.uri: expected a URI such as s3://BUCKET/KEY, with the scheme s3, gs,",
        ),
        (SPEC + b"serving: {resources: {limits: {memory: 4XB}}}}", "memory: expected a quantity such as 2, 500m or"),
        (SPEC + b"serving: {resources: {limits: {cpu: 2}}}}", "limits.cpu: expected a string; put it in quotes"),
        (
            KIND + b"metadata: {name: a}\nspec: {source: {uri: 's3://a/b', sha256: '00'}}",
            "expected 64 lowercase hexadecimal digits",
        ),
        (SPEC + b"serving: {replicas: '2'}}", "spec.serving.replicas: expected an integer; remove the quotes"),
        (SPEC + b"serving: {replicas: true}}", "spec.serving.replicas: expected an integer\n"),
        (SPEC + b"suspend: true,\nsuspend: true}", "m.yaml, line 5: duplicate key suspend; remove one"),
        (KIND + b"metadata: {name: 9A_}" + NAMED, "metadata.name: must be a DNS label that starts with a letter"),
        (KIND + b"metadata: {name: a, namespace: A}" + NAMED, "metadata.namespace: must be a DNS label"),
        (
            KIND + b"metadata: {name: a, labels: {v: 1.0}}" + NAMED,
            "metadata.labels.v: must be a string; put it in quotes",
        ),
        (KIND + b"spce: 1\nmetadata: {name: a}" + NAMED, "spce: unknown field; did you mean spec?"),
        (
            b"apiVersion: v1\nkind: OnnxModel\nmetadata: {name: a}" + NAMED,
            "apiVersion: must be onnx-operator.dev/v1alpha1, not v1",
        ),
        (b"kind: OnnxModel\nmetadata: {name: a}\n---\nkind: OnnxModel\nmetadata: {name: b}", "it contains a, b"),
        (b"kind: OnnxModel\nspec: {}", "has no metadata.name"),
        (b"a:\n- [b", "m.yaml, line 2, column 5 is not valid YAML: expected ',' or ']'"),
        (b"\xff\xfe", "m.yaml is not UTF-8 text"),
        (SPEC + b"validaton: {}}", "spec.validaton: unknown field; did you mean validation?"),
        (
            SPEC + b"validation: {opset: {mim: 9}}}",
            "spec.validation.opset.mim: unknown field; did you mean min?",
        ),
        (
            SPEC + b"validation: {batch: none}}",
            "spec.validation.batch: expected 'Auto' or 'None', not 'none'; did you mean None?",
        ),
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(tmp_path, text, words, capsys):
    path = tmp_path / "m.yaml"
    path.write_bytes(text)
    assert main(["run", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {path}")
    assert words in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        SPEC + b"serving: {replicas: 2.0}}",
        SPEC + b"benchmark: {constraints: {p99Milliseconds: 1e3}}}",
        KIND + b"metadata: {name: a, labels: {day: 2026-01-02}, annotations: {x: }}" + NAMED,
        KIND + b"metadata: {name: a}\nspec: &s\n  <<: {suspend: false}\n  suspend: true\n  source: {uri: 's3://a/b'}",
    ],
)
def test_what_the_api_server_takes_is_taken_here(tmp_path, text):
    (tmp_path / "m.yaml").write_bytes(text)
    assert manifests.read_model(tmp_path / "m.yaml", "").name == "a"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"defaults: {pool: gpu}", "s.yaml: defaults.pool is 'gpu', but the pools are default"),
        (b"settings: {defaults: {pool: gpu}}", "s.yaml: defaults.pool is 'gpu', but the pools are default"),
        (b"jobs: {backoffLimit: many}", "s.yaml: jobs.backoffLimit: expected an integer"),
        (b"settings: {pool: {}}", "s.yaml: pool: unknown field; did you mean pools?"),
        (b"settings:", "s.yaml: expected a mapping"),
        (b"- a", "s.yaml: expected a mapping"),
        (b"", "s.yaml: expected a mapping"),
    ],
)
def test_wrong_settings_are_named_with_their_file_and_field(tmp_path, text, says, capsys):
    (tmp_path / "m.yaml").write_bytes(KIND + b"metadata: {name: a}" + NAMED)
    (tmp_path / "s.yaml").write_bytes(text)
    assert main(["run", str(tmp_path / "m.yaml"), "--settings", str(tmp_path / "s.yaml")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/{says}\n"


def test_a_manifest_from_standard_input_is_named_so(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["run", "-"]) == 2
    assert capsys.readouterr().err == "error: standard input must contain one OnnxModel; it contains none\n"
