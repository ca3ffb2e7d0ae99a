"""What messages and hints tell people to do can be done: the fields that they name exist, and none sends them nowhere."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from onnxmodel_operator.api.crd import crd
from onnxmodel_operator.platform.settings import Settings

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in (
        "operator/onnxmodel_operator",
        "runtime-image/onnxmodel_runtime",
        "cli/onnxmodel_cli",
        "page/onnxmodel_page",
    )
    for path in (ROOT / folder).rglob("*.py")
)
(VERSION,) = crd()["spec"]["versions"]
SPEC = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]
SETTINGS = Settings.model_json_schema(by_alias=True)
VALUES = yaml.safe_load((ROOT / "charts/onnxmodel-operator/values.yaml").read_text())
NOWHERE = (
    "at home",
    "compare that machine",
    "where the model was optimized",
    "Look at the server's log",
    "Read its output",
    "Nothing needs doing",
    "belongs into",
    "Nothing.",
    "otherwise than",
)


@cache
def sentences(path: Path) -> list[tuple[int, str]]:
    """Strings that are not docstrings, by their lines; what is filled in is {}."""
    return [*_sentences(path)]


def _sentences(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text())
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (documents | parts):
            yield node.lineno, node.value


def spec_field(path: str) -> bool:
    """Whether the CRD has it."""
    here: Any = SPEC
    for part in path.split("."):
        here = here.get("items", here)
        if isinstance(here.get("additionalProperties"), dict):
            return True  # a map: any key
        here = here.get("properties", {}).get(part)
        if here is None:
            return False
    return True


def setting(path: str) -> bool:
    """Whether the operator's settings have it."""
    here: Any = SETTINGS
    for part in path.split("."):
        here = here.get("properties", {}).get(part)
        if here is None:
            return False
        reference = here.get("$ref") or next(
            (o["$ref"] for o in (*here.get("allOf", ()), *here.get("anyOf", ())) if "$ref" in o), None
        )
        here = SETTINGS["$defs"][reference.rsplit("/", 1)[1]] if reference else here
    return True


def value(path: str) -> bool:
    """Whether the chart's values have it."""
    here: Any = VALUES
    for part in path.split("."):
        if not isinstance(here, dict) or part not in here:
            return False
        here = here[part]
    return True


NAMED = (
    (re.compile(r"(?<![\w./-])spec\.([a-z]\w*(?:\.[a-z]\w*)*)"), spec_field),
    (re.compile(r"(?<![\w./-])settings\.([a-z]\w*(?:\.[a-z]\w*)*)"), setting),
    (re.compile(r"(?<![\w./-])(runtimeImages(?:\.[a-z]\w*)*)"), value),
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_fields_that_are_named_exist(path):
    wrong = [
        f"{path.name}:{line}: {found[0]}"
        for line, text in sentences(path)
        for pattern, known in NAMED
        for found in pattern.finditer(text)
        if " " in text and not known(found[1])
    ]
    assert wrong == []


def test_the_questions_can_be_answered_with_no():
    assert spec_field("serving.resources.limits.memory")
    assert not spec_field("serving.memory")
    assert setting("jobs.attemptSeconds")
    assert not setting("jobs.seconds")
    assert value("runtimeImages.pullSecrets")
    assert not value("runtimeImages.none")


def test_a_hint_that_ends_what_serves_says_so():
    """Until something is served, deleting the model costs nothing: a StorageClass that is not there."""
    again = re.compile(r"[Dd]elete (the (OnnxModel|model)|it) and apply")
    found = [text for path in SOURCES for _, text in sentences(path) if again.search(text)]
    assert found
    assert [text for text in found if "stops the revision that serves" not in text and "StorageClass" not in text] == []


@pytest.mark.parametrize("phrase", NOWHERE)
def test_no_hint_sends_anybody_nowhere(phrase):
    found = [f"{path.name}:{line}" for path in SOURCES for line, text in sentences(path) if phrase in text]
    assert found == []
