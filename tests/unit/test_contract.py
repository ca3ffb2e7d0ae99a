"""Requests and outcomes as data, and back."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxmodel_runtime.contract import REQUESTS, RESULTS, ContractError, Outcome, as_data, decode, encode, load
from tests.builders import benchmarked, optimized, probed, validated

KINDS = sorted({*REQUESTS.values(), *RESULTS.values()}, key=lambda kind: kind.__name__)


def lists(value: Any) -> Any:
    """With lists in place of tuples, as JSON has them."""
    match value:
        case tuple() | list():
            return [lists(item) for item in value]
        case dict():
            return {key: lists(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_data_is_what_the_standard_library_makes_of_it(kind: type) -> None:
    @given(st.from_type(kind))
    @settings(max_examples=5, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    def check(value: Any) -> None:
        assert repr(as_data(value)) == repr(lists(dataclasses.asdict(value)))
        assert repr(load(kind, as_data(value))) == repr(value)

    check()


@pytest.mark.parametrize("result", [validated(), optimized(), benchmarked(), probed()], ids=lambda r: type(r).__name__)
def test_an_outcome_comes_back_as_it_was(result: Any) -> None:
    stage = next(stage for stage, kind in RESULTS.items() if isinstance(result, kind))
    outcome = Outcome(stage, 1.5, result)
    assert decode(encode(outcome)) == outcome


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": None}, "BenchmarkResult.points: a list is expected"),
        ({"points": [{"variant": "fp32"}]}, "BenchmarkResult.points[0].batch_size: missing"),
        ({"load_seconds": {"fp32": "1"}}, "BenchmarkResult.load_seconds.fp32: float is expected, not str"),
        ({"batch": True}, "BenchmarkResult.batch: str is expected, not bool"),
        ({"sizes": {"n": True}}, "BenchmarkResult.sizes.n: int is expected, not bool"),
        ({"environment": []}, "BenchmarkResult.environment: an object is expected"),
    ],
)
def test_an_error_names_the_field(change: dict[str, Any], said: str) -> None:
    data = {**json.loads(json.dumps(dataclasses.asdict(benchmarked()))), **change}
    with pytest.raises(ContractError) as raised:
        load(type(benchmarked()), data)
    assert str(raised.value) == said


def test_a_whole_number_is_a_number_too_and_what_is_unknown_is_left_out() -> None:
    data = {**as_data(benchmarked()), "load_seconds": {"fp32": 2}, "from_the_future": 1}
    loaded = load(type(benchmarked()), data)
    assert repr(loaded.load_seconds["fp32"]) == "2.0"
    assert loaded.points == benchmarked().points
