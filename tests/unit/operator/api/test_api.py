"""The CRD that is made from the models: bounded, with their defaults, and up to date."""

from pathlib import Path

import yaml

from onnxmodel_operator.api import crd, patterns
from onnxmodel_operator.api.patterns import EXPECTED
from onnxmodel_operator.api.spec import OnnxModelSpec

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


def test_a_list_of_choices_has_room_for_all_of_them():
    root = crd.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    lists = [(path, each) for path, each in _schemas(root) if "enum" in each.get("items", {})]
    assert {path for path, _ in lists} >= {"spec.optimization.variants", "spec.serving.executionProviders"}
    assert [path for path, each in lists if each["maxItems"] < len(each["items"]["enum"])] == []


def test_every_pattern_is_said_in_words_too():
    root = crd.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    of_settings = {
        patterns.BUCKET,
        patterns.DOMAIN,
        patterns.ENDPOINT,
        patterns.SPAN,
        patterns.REGION,
        patterns.PREFIX,
        patterns.FOLDER,
        patterns.NAMESPACE,
        patterns.OBJECT,
        patterns.SECTION,
        patterns.REPOSITORY,
        patterns.ROLE,
    }
    of_values = {schema["pattern"] for _, schema in _schemas(root) if "pattern" in schema}
    rules = [rule["rule"] for _, schema in _schemas(root) for rule in schema.get("x-kubernetes-validations", ())]
    of_keys = {pattern for pattern in EXPECTED if any(f"key.matches('{pattern}')" in rule for rule in rules)}
    assert of_keys
    assert of_values | of_keys == set(EXPECTED) - of_settings


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
