"""The API: defaults, refusals with the field's name, and the CRD that is made from the models."""

from pathlib import Path

import pytest
import yaml

from onnxmodel_operator.api import crd
from onnxmodel_operator.api.patterns import EXPECTED
from onnxmodel_operator.api.resource import SpecError, parse
from onnxmodel_operator.api.spec import OnnxModelSpec
from tests.builders import body

ROOT = Path(__file__).parents[4]


def test_generated_files_are_up_to_date():
    for path, text in crd.files(ROOT).items():
        assert path.read_text() == text, f"run `make crds`: {path} differs from the models"


def test_crd_is_small_and_has_what_the_design_names():
    text = crd.to_yaml(crd.crd())
    assert len(text) < 200_000
    spec = yaml.safe_load(text)["spec"]
    assert spec["names"]["shortNames"] == ["onnx"]
    assert spec["names"]["categories"] == ["inference"]
    version = spec["versions"][0]
    assert set(version["subresources"]) == {"status", "scale"}
    assert version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] == {"observedGeneration": -1}
    columns = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert columns == ["READY", "PHASE", "RUNTIME", "PROVIDER", "VARIANT", "P99", "THROUGHPUT", "REPLICAS", "AGE"]


def _schemas(schema, path="spec"):
    yield path, schema
    for name, item in schema.get("properties", {}).items():
        yield from _schemas(item, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from _schemas(schema[name], f"{path}[]")


def test_every_string_list_and_map_of_the_spec_is_bounded():
    """The API server estimates the cost of CEL rules from these bounds, and etcd is not for books."""
    root = crd.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for part in ("spec", "status"):
        for path, schema in _schemas(root[part], part):
            bound = {"string": "maxLength", "array": "maxItems"}.get(schema["type"])
            if "additionalProperties" in schema:
                bound = "maxProperties"
            assert bound is None or bound in schema or "enum" in schema, f"{path} has no {bound}"


def test_every_pattern_is_said_in_words_too():
    root = crd.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert {schema["pattern"] for _, schema in _schemas(root) if "pattern" in schema} == set(EXPECTED)


def test_every_default_of_the_models_is_in_the_schema():
    """What the API server fills in and what the operator fills in are the same."""
    minimal = OnnxModelSpec.model_validate({"source": {"uri": "s3://b/k"}})
    schema = crd.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    filled = _fill(schema, {"source": {"uri": "s3://b/k"}})
    assert OnnxModelSpec.model_validate(filled) == minimal
    assert filled == minimal.model_dump(by_alias=True, exclude_none=True)


def _fill(schema, value):
    if schema["type"] != "object" or "properties" not in schema:
        return value
    out = dict(value)
    for name, item in schema["properties"].items():
        if name not in out and "default" in item:
            out[name] = item["default"]
        if name in out:
            out[name] = _fill(item, out[name])
    return out


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, ["spec.source.uri"]),
        ({"source": {"uri": "ftp://host/model"}}, ["spec.source.uri"]),
        ({"source": {"uri": "s3:/missing-slash"}}, ["spec.source.uri"]),
        ({"source": {"uri": "s3://bucket"}}, ["spec.source.uri"]),
        ({"source": {"uri": "https://user:secret@host/m.onnx"}}, ["spec.source.uri"]),
        ({"source": {"uri": "s3://b/k", "sha256": "abc"}}, ["spec.source.sha256"]),
        ({"serving": {"runtime": "tensorflow"}}, ["spec.serving.runtime"]),
        ({"serving": {"executionProviders": ["ROCm"]}}, ["spec.serving.executionProviders[0]"]),
        ({"serving": {"executionProviders": ["CPU", "CUDA"]}}, ["spec.serving"]),
        ({"serving": {"executionProviders": ["CUDA", "CUDA", "CPU"]}}, ["spec.serving"]),
        ({"serving": {"providerOptions": {"CPU": {"use_arena": "1"}}}}, ["spec.serving.providerOptions.CPU"]),
        ({"serving": {"replicas": -1}}, ["spec.serving.replicas"]),
        ({"serving": {"batching": {"maxBatchSize": 32, "preferredBatchSizes": [8, 33], "maxQueueDelayMicroseconds": 9}}},
         ["spec.serving.batching"]),
        ({"serving": {"batching": {"preferredBatchSizes": [8]}}}, ["spec.serving.batching"]),
        ({"serving": {"batching": {"maxQueueSize": 0, "defaultTimeoutMicroseconds": -1}}},
         ["spec.serving.batching.defaultTimeoutMicroseconds", "spec.serving.batching.maxQueueSize"]),
        ({"wrong": 1}, ["spec.wrong"]),
        ({"validation": {"batch": "Second"}}, ["spec.validation.batch"]),
        ({"validation": {"batch": "None"}, "serving": {"batching": {"maxQueueDelayMicroseconds": 9}}}, ["spec"]),
        ({"benchmark": {"baseline": {"framework": "pytorch", "batchSize": 3, "p50Milliseconds": 5}}}, ["spec.benchmark"]),
        ({"validation": {"opset": {"min": 0}}, "benchmark": {"batchSizes": []}},
         ["spec.validation.opset.min", "spec.benchmark.batchSizes"]),
        ({"source": {"uri": "s3://b/k", "signature": {
            "uri": "s3://b/s", "publicKeyRef": {"name": "n", "key": "k"}, "identity": {"identity": "i", "issuer": "i"}}}},
         ["spec.source.signature"]),
        ({"source": {"uri": "s3://b/k", "signature": {"uri": "s3://b/s"}}}, ["spec.source.signature"]),
    ],
)  # fmt: skip
def test_refusals_name_the_field(spec, fields):
    resource = body()
    resource["spec"] = {"source": {"uri": "s3://b/k"}, **spec} if spec else {"source": {}}
    with pytest.raises(SpecError) as error:
        parse(resource)
    assert [field for field, _ in error.value.fields] == fields
    assert all(field in str(error.value) for field in fields)


@pytest.mark.parametrize("same", [(0, 0.0, -0.0), (1, 1.0)], ids=["zero", "one"])
def test_a_number_is_read_as_its_field_has_it_however_it_is_written(same):
    """Digests are remembered by what they cover, and Python's 1 is equal to 1.0 and to True."""
    read = [parse(body(optimization={"parity": {"absolute": number}})).spec.optimization.parity for number in same]
    assert {repr(parity) for parity in read} == {repr(read[0])}
    assert type(read[0].absolute) is float
    counts = [parse(body(serving={"replicas": number})).spec.serving for number in (1, 1.0)]
    assert {repr(serving) for serving in counts} == {repr(counts[0])}
    with pytest.raises(SpecError):
        parse(body(optimization={"parity": {"absolute": True}}))
    with pytest.raises(SpecError):
        parse(body(serving={"replicas": True}))
