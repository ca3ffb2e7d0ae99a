"""The table of stages."""

import dataclasses
import itertools
import typing

import pytest

from onnxmodel_runtime.contract.benchmark import BenchmarkRequest
from onnxmodel_runtime.contract.optimize import OptimizeRequest
from onnxmodel_runtime.contract.providers import Providers
from onnxmodel_runtime.contract.repository import RepositoryRequest
from onnxmodel_runtime.contract.serve import ServeRequest
from onnxmodel_runtime.contract.stages import COMMANDS, RESULTS, STAGES, Request, Result, Stage, StageSpec
from onnxmodel_runtime.contract.validate import ValidateRequest

PROVIDERS = Providers(("CUDA", "CPU"))
ON_GPU = {
    "validate": (ValidateRequest("/source", providers=PROVIDERS.names, timeout_seconds=7.0), ("CPU",), 7.0),
    "optimize": (OptimizeRequest("/m", "s", "/o", providers=PROVIDERS), PROVIDERS.names, 0.0),
    "benchmark": (BenchmarkRequest((), "/p", (), (), providers=PROVIDERS), PROVIDERS.names, 0.0),
    "repository": (RepositoryRequest(ServeRequest("m", "/m", "s", providers=PROVIDERS), "/r"), PROVIDERS.names, 0.0),
}
"""A request of each isolated command, the providers that its process loads the model with, and its seconds."""


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


def test_an_isolated_command_says_what_its_process_loads_the_model_with_and_for_how_long() -> None:
    """Validate runs the model on CPU, wherever it will serve."""
    said = {
        row.name: (row.isolated.providers(request), row.isolated.seconds(request))
        for row in COMMANDS.values()
        if row.isolated
        for request in [ON_GPU[row.name][0]]
    }
    assert said == {name: (providers, seconds) for name, (_, providers, seconds) in ON_GPU.items()}


@pytest.mark.parametrize("spec", STAGES.values(), ids=lambda spec: spec.name)
def test_a_row_is_sound(spec: StageSpec) -> None:
    fields = {field.name for field in dataclasses.fields(spec.request)}
    assert spec.result is not None
    assert spec.phase
    assert "directory" in fields or not spec.writes
    assert ("host" in fields) == spec.asks_server
    assert {field for field in fields if field.endswith("_port")} == set(spec.ports)
    assert spec.writes or not spec.directory, "a folder of its own is written"
    assert "directory" in fields or not spec.collects, "what its own request names is kept"
    assert spec.works or not spec.measures
    assert not (spec.isolated and spec.asks_server), "what is isolated has no network"
