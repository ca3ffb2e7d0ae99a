"""The table of stages."""

import dataclasses
import itertools
import typing

import pytest

from onnxmodel_runtime.contract.stages import COMMANDS, RESULTS, STAGES, Request, Result, Stage, StageSpec


def test_each_stage_has_a_row_in_the_order_in_which_they_run() -> None:
    assert list(STAGES) == list(Stage)
    assert [stage for stage in COMMANDS if stage in STAGES] == list(STAGES)


def test_the_unions_are_those_of_the_table() -> None:
    assert set(typing.get_args(Request)) == {command.request for command in COMMANDS.values()}
    assert set(typing.get_args(Result)) == set(RESULTS.values())


def test_a_result_tells_whose_it_is() -> None:
    """A look asks for a result by its type."""
    kinds = list(RESULTS.values())
    assert [(a, b) for a, b in itertools.permutations(kinds, 2) if issubclass(a, b)] == []


@pytest.mark.parametrize("spec", STAGES.values(), ids=lambda spec: spec.name)
def test_a_row_is_sound(spec: StageSpec) -> None:
    fields = {field.name for field in dataclasses.fields(spec.request)}
    assert spec.result is not None
    assert spec.phase
    assert "directory" in fields or not spec.writes
    assert "host" in fields or not spec.asks_server
    assert spec.writes or not spec.directory, "a folder of its own is written"
    assert "directory" in fields or not spec.collects, "what its own request names is kept"
    assert spec.works or not spec.measures
    assert not (spec.isolated and spec.asks_server), "what is isolated has no network"
