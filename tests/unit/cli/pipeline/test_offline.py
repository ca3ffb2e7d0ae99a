"""The objects of a model's life without a cluster are those that the operator makes in one."""

import json

import pytest
import yaml

from onnxmodel_cli.__main__ import main
from onnxmodel_cli.pipeline.offline import NotRenderedError, objects
from onnxmodel_operator.api.resource import parse
from tests.builders import SETTINGS, Cluster, body


def kinds(found):
    return [item["kind"] for item in found]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"serving": {"replicas": 2, "runtime": "triton"}},
        {"serving": {"nodePool": "a100", "executionProviders": ["CUDA", "CPU"]}},
        {"optimization": {"variants": []}, "benchmark": {"constraints": {"p99Milliseconds": 20}}},
    ],
    ids=["minimal", "triton", "gpu", "constraints"],
)
def test_they_are_those_of_a_cluster(spec):
    cluster = Cluster(body(**spec))
    cluster.live()
    there = {key[0] for key in cluster.objects if key[0] not in ("OnnxModel", "Pod")}
    found = objects(parse(body(**spec)), SETTINGS)
    assert set(kinds(found)) == there
    assert kinds(found).count("Job") == 5
    assert all("ownerReferences" not in item["metadata"] for item in found)


def test_a_spec_that_the_platform_refuses_has_no_objects():
    with pytest.raises(NotRenderedError, match="no pool"):
        objects(parse(body(serving={"nodePool": "nowhere"})), SETTINGS)


MANIFEST = {
    "apiVersion": "onnx-operator.dev/v1alpha1",
    "kind": "OnnxModel",
    "metadata": {"name": "m", "namespace": "n"},
    "spec": {"source": {"uri": "s3://a/m.onnx"}},
}
VALUES = {"runtimeImages": {"cpu": "registry/runtime:1", "gpu": ""}, "settings": {"pools": {"default": {}}}}


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "onnxmodel.yaml"
    path.write_text(yaml.safe_dump(MANIFEST))
    return str(path)


def test_the_command_prints_yaml_that_kubectl_takes_with_the_images_of_the_values(manifest, tmp_path, capsys):
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    assert main(["render", "-f", manifest, "--settings", str(values)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# Made without a cluster")
    found = list(yaml.safe_load_all(printed))
    assert {item["metadata"]["namespace"] for item in found} == {"n"}
    deployment = next(item for item in found if item["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/runtime:1"


def test_the_command_prints_a_list_as_json(manifest, capsys):
    assert main(["render", "-f", manifest, "-o", "json"]) == 0
    assert kinds(json.loads(capsys.readouterr().out)["items"])[:2] == ["PersistentVolumeClaim", "Job"]


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ({"source": {"uri": "s3://a/m.onnx"}, "serving": {"replicas": "2"}}, 2, "spec.serving.replicas"),
        ({"source": {"uri": "s3://a/m.onnx"}, "serving": {"autoscaling": {"maxReplicas": 2}}}, 10, "no autoscaler"),
    ],
)
def test_what_is_wrong_is_said(spec, code, words, tmp_path, capsys):
    path = tmp_path / "onnxmodel.yaml"
    path.write_text(yaml.safe_dump({**MANIFEST, "spec": spec}))
    assert main(["render", "-f", str(path)]) == code
    assert words in capsys.readouterr().err
