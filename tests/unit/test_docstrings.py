"""Docstrings begin as the reference of a library does: a function's with a verb, a value's with a noun."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUESTION = re.compile(r"(What|Whether|How|Why|Where|Who|Whose|Whom|That|Which)\b")


def strings(body: list[ast.stmt]) -> Iterator[ast.Constant]:
    """Yield the docstrings of modules, classes and functions, and the strings after constants and attributes."""
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            if isinstance(statement.value.value, str):
                yield statement.value
        elif isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from strings(statement.body)


@pytest.mark.parametrize("package", ["operator", "runtime-image", "cli", "page", "dev", "benchmarks"])
def test_no_docstring_begins_with_a_question(package: str) -> None:
    found = [
        (f"{path.relative_to(ROOT)}:{string.lineno}", string.value)
        for path in sorted((ROOT / package).rglob("*.py"))
        for string in strings(ast.parse(path.read_text()).body)
    ]
    assert len(found) > 50
    assert [place for place, text in found if QUESTION.match(text.strip())] == []
