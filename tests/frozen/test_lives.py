"""What the operator writes, for each spec at each moment of its life, is what was recorded."""

from functools import cache

import pytest

from tests.frozen import moments, text
from tests.frozen.cases import CASES

FIRST = "plain"
"""Of the others, it is told what is different from this one."""


@cache
def first_documents():
    return moments.live(CASES[FIRST], {}).first


@pytest.mark.parametrize("name", CASES)
def test_a_life_is_as_it_was_recorded(name):
    life = moments.live(CASES[name], {} if name == FIRST else first_documents())
    text.compare(f"lives/{name}.txt", "\n".join(life.lines) + "\n")


def test_nothing_is_recorded_that_no_spec_lives():
    assert {path.stem for path in (text.RECORDED / "lives").iterdir()} == set(CASES)
