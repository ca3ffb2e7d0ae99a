"""What is wrong with a spec or the settings is said in our words: no sentence of pydantic's reaches a user."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from onnxmodel_operator.api.errors import _WORDS, field_errors
from onnxmodel_operator.api.spec import OnnxModelSpec
from onnxmodel_operator.platform.settings import Settings

WRONG = (
    *(None, True, -1, 1.5, 1e30, 10**30, math.nan, "", "x", "2", "x" * 3000, "\ud800"),
    *([], [None] * 200, {}, {"": 1}, {1: 1}, {"x" * 300: "1"}, {"none": {}}, {str(n): n for n in range(200)}),
)


def places(schema: Any, definitions: Any) -> Iterator[tuple[str | int, ...]]:
    """The path of every value that a JSON schema describes."""
    yield ()
    for each in (schema, *schema.get("allOf", ()), *schema.get("anyOf", ())):
        found = definitions[each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
        below = {**found.get("properties", {}), 0: found.get("items"), "key": found.get("additionalProperties")}
        for name, inner in below.items():
            if isinstance(inner, dict):
                yield from ((name, *path) for path in places(inner, definitions))
        if each is not found:
            yield from (path for path in places(found, definitions) if path)


def nested(path: tuple[str | int, ...], value: Any) -> Any:
    for part in reversed(path):
        value = [value] if isinstance(part, int) else {part: value}
    return value


def errors(kind: type[BaseModel], *, strict: bool) -> Iterator[ValidationError]:
    """What each wrong value brings at each place."""
    schema = kind.model_json_schema(by_alias=True)
    for path in sorted(set(places(schema, schema.get("$defs", {}))), key=str):
        for value in WRONG:
            try:
                kind.model_validate(nested(path, value), strict=strict)
            except ValidationError as error:
                yield error


@pytest.mark.filterwarnings("ignore:__int__ returned non-int:DeprecationWarning")  # of ipaddress, given True
def test_every_error_that_the_api_and_the_settings_can_raise_is_worded() -> None:
    """Each type has words, no words are left over, and no field has none."""
    raised = set()
    for kind, strict in ((OnnxModelSpec, True), (Settings, False)):
        for error in errors(kind, strict=strict):
            pairs = field_errors(error, kind)
            for item, (field, text) in zip(error.errors(), pairs, strict=True):
                raised.add(item["type"])
                assert field or not item["loc"]
                assert "[key]" not in field
                assert not re.match("Input|Value error|Field|Extra|String|List|Tuple|Dictionary|Keys", text), text
                assert text != "must not be empty" or item["ctx"]["min_length"] == 1
    rules = {"string_pattern_mismatch", "value_error"}  # worded where they are: tests of patterns and of CEL rules
    assert raised - rules == set(_WORDS) - rules


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("replicas", "2", "spec.serving.replicas: expected an integer; remove the quotes"),
        ("replicas", "abc", "spec.serving.replicas: expected an integer"),
        ("replicas", "1.5", "spec.serving.replicas: expected an integer"),
        ("replicas", 1.5, "spec.serving.replicas: expected an integer"),
        ("accessLog", "true", "spec.serving.accessLog: expected true or false; remove the quotes"),
        ("accessLog", "maybe", "spec.serving.accessLog: expected true or false"),
        ("nodePool", 7, "spec.serving.nodePool: expected a string; put it in quotes"),
        ("nodePool", True, "spec.serving.nodePool: expected a string"),
        ("nodePool", ["gpu"], "spec.serving.nodePool: expected a string"),
        ("nodePool", "", "spec.serving.nodePool: must not be empty"),
        ("instances", 65, "spec.serving.instances: must be at most 64"),
        ("executionProviders", "CPU", "spec.serving.executionProviders: expected a list"),
        ("executionProviders", ["CPU", "CPU"], "spec.serving: an execution provider is listed twice"),
        ("resources", [], "spec.serving.resources: expected a mapping"),
        (
            "resources",
            {"limits": {"memory": 2}},
            "spec.serving.resources.limits.memory: expected a quantity with a unit, such as 512Mi or 20Gi: 2 alone means bytes",
        ),
        ("resources", {"limits": {"cpu": 2}}, "spec.serving.resources.limits.cpu: expected a string; put it in quotes"),
        ("resources", {"limits": {"": "1"}}, "spec.serving.resources.limits: key '': must not be empty"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_expected(field: str, value: Any, says: str) -> None:
    spec = {"source": {"uri": "s3://a/b"}, "serving": {field: value}}
    with pytest.raises(ValidationError) as caught:
        OnnxModelSpec.model_validate(spec, strict=True)
    assert [f"spec.{path}: {text}" for path, text in field_errors(caught.value, OnnxModelSpec)] == [says]


def test_an_empty_key_is_seen_in_the_path() -> None:
    with pytest.raises(ValidationError) as caught:
        OnnxModelSpec.model_validate({"source": {"uri": "s3://a/b", "files": {"": "b"}}}, strict=True)
    assert "source.files.''" in [path for path, _ in field_errors(caught.value, OnnxModelSpec)]


def test_a_number_in_quotes_is_one_of_its_kind() -> None:
    spec = {
        "source": {"uri": "s3://a/b"},
        "validation": {"golden": {"uri": "s3://a/b", "tolerance": {"relative": "x"}}},
    }
    with pytest.raises(ValidationError) as caught:
        OnnxModelSpec.model_validate(spec, strict=True)
    assert [text for _, text in field_errors(caught.value, OnnxModelSpec)] == ["expected a number"]
