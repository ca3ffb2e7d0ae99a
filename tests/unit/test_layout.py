"""Who may import whom, outside of the packages whose layers pyproject.toml declares, and where tests lie."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "cli": {"dev", "tests", "benchmarks", "examples", "locks"},
    "page": {"dev", "tests", "benchmarks", "examples", "locks"},
    "operator": {"dev", "tests", "benchmarks", "examples", "locks"},
    "runtime-image": {"dev", "tests", "benchmarks", "examples", "locks"},
    "dev": {"tests", "benchmarks", "examples", "locks"},
    "locks": {"dev", "tests", "benchmarks", "examples"},
    "examples": {"tests", "benchmarks"},
    "benchmarks": {"tests"},
}


def imported(source: str) -> Iterator[str]:
    """Top-level packages that a module imports, inside of functions too, or starts by `python -m`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (name.name.partition(".")[0] for name in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.List(elts=words) | ast.Tuple(elts=words):
                values = [word.value if isinstance(word, ast.Constant) else None for word in words]
                yield from (str(b).partition(".")[0] for a, b in pairwise(values) if a == "-m")


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_nothing_that_ships_or_is_shared_needs_the_tests(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    found = {str(path): sorted(set(imported(path.read_text())) & FORBIDDEN[folder]) for path in paths}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import tests.models",
        "from tests import models",
        "def late():\n    from tests.models import mlp",
        "run(['python', '-m', 'tests.cluster', 'up'])",
    ],
)
def test_every_way_to_reach_a_package_is_seen(source):
    assert list(imported(source)) == ["tests"]


def test_no_test_imports_another():
    """What tests share is in modules of its own: one that pytest collects can be moved, renamed and run alone."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    found = {str(path.relative_to(ROOT)): sorted(filter(_collected, _modules(path.read_text()))) for path in paths}
    assert len(found) > 100
    assert {path: names for path, names in found.items() if names} == {}


def _modules(source: str) -> Iterator[str]:
    """Every module that is imported, and every name that may be one."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (name.name for name in node.names)
            case ast.ImportFrom(module=module):
                yield from (f"{module or ''}.{name.name}" for name in node.names)


def _collected(module: str) -> bool:
    first, *rest = module.split(".")
    return first in ("tests", "") and any(word == "conftest" or word.startswith("test_") for word in rest)


@pytest.mark.parametrize(
    "source",
    ["import tests.unit.test_a", "from tests.unit.test_a import b", "from tests.unit import test_a", "from . import test_a",
     "def late():\n    from tests.e2e.conftest import b"],
)  # fmt: skip
def test_every_way_to_reach_a_test_is_seen(source):
    assert [*filter(_collected, _modules(source))]


@pytest.mark.parametrize(
    ("folder", "others"),
    [
        ("operator", ("onnxmodel_runtime", "onnxmodel_cli", "onnxmodel_page")),
        ("runtime-image", ("onnxmodel_operator", "onnxmodel_cli", "onnxmodel_page")),
    ],
)
def test_neither_side_names_the_other_in_a_string(folder, others):
    """A process that is started by a module's name is an import that no contract sees."""
    found = [
        f"{path}: {node.value!r}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and any(name in node.value for name in others)
    ]
    assert found == []


PACKAGES = {
    "operator/onnxmodel_operator": "tests/unit/operator",
    "runtime-image/onnxmodel_runtime": "tests/unit/runtime",
    "cli/onnxmodel_cli": "tests/unit/cli",
    "page/onnxmodel_page": "tests/unit/page",
}


@pytest.mark.parametrize(("package", "tests"), PACKAGES.items())
def test_the_folders_of_tests_are_those_of_the_packages(package, tests):
    """So that `make unit TESTS=...` runs the tests of one package."""
    code = {path.parent for path in (ROOT / package).rglob("*.py") if _has_code(path.read_text())}
    tested = {path.parent for path in (ROOT / tests).rglob("test_*.py")}
    packages = {str(path.relative_to(ROOT / package)) for path in code}
    folders = {str(path.relative_to(ROOT / tests)) for path in tested}
    assert packages
    assert folders == packages


def _has_code(source: str) -> bool:
    """Whether a module holds more than its docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(source).body)


@pytest.mark.parametrize("path", ["tests/builders.py", "tests/contexts.py", "dev/results.py"])
def test_what_builders_are_given_is_named(path):
    """But for what it is about: a Job's stage and how it ends, a model's name."""
    functions = [node for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)]
    public = [node for node in functions if not node.name.startswith("_")]
    many = [node.name for node in public if len([a for a in node.args.args if a.arg != "self"]) > 2]
    assert public
    assert many == []
