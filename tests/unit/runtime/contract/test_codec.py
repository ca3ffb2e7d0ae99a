"""Requests and outcomes as data, and back."""

import base64
import dataclasses
import json
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dev.results import benchmarked, optimized, probed, validated
from onnxmodel_runtime.contract.codec import ContractError, as_data, load
from onnxmodel_runtime.contract.outcome import _PREFIX, Failure, Outcome, decode, encode
from onnxmodel_runtime.contract.stages import COMMANDS, RESULTS

KINDS = sorted({*(command.request for command in COMMANDS.values()), *RESULTS.values()}, key=lambda kind: kind.__name__)


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
        ({"points": None}, "BenchmarkResult.points: expected a list"),
        ({"points": [{"variant": "fp32"}]}, "BenchmarkResult.points[0].batch_size: missing"),
        ({"load_seconds": {"fp32": "1"}}, "BenchmarkResult.load_seconds.fp32: expected float, not str"),
        ({"batch": True}, "BenchmarkResult.batch: expected str, not bool"),
        ({"sizes": {"n": True}}, "BenchmarkResult.sizes.n: expected int, not bool"),
        ({"environment": []}, "BenchmarkResult.environment: expected an object"),
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


def message(text: str) -> str:
    """JSON as a termination message. Anybody who has a pod may write one."""
    return _PREFIX + base64.b64encode(zlib.compress(text.encode())).decode()


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**400, -(10**400), 2**63, 2.5e-310, "\ud800", "validate", "probe"])
)
ANYTHING = st.recursive(ATOMS, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3))


@st.composite
def almost(draw: st.DrawFn) -> Any:
    """An outcome in which one value is another one."""
    stage, kind = draw(st.sampled_from(sorted(RESULTS.items())))
    good = (validated(), optimized(), benchmarked(), probed())
    known = next((value for value in good if type(value) is kind), probed())
    data = json.loads(json.dumps(dataclasses.asdict(Outcome(stage, 1.5, known))))
    place = data
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            place[key] = draw(ANYTHING)
            return data
        place = place[key]


@given(st.one_of(ANYTHING, almost()).map(json.dumps) | st.text(alphabet='[{"1:,}] eE.-NaInfity\\ud8'))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@example("[" * 100_000)
@example('{"a":' * 100_000)
@example('{"command":"validate","seconds":1' + "0" * 400 + "}")
@example('{"command":"validate","seconds":1' + "0" * 5000 + "}")
@example('{"command":"validate","seconds":NaN}')
@example('{"command":"validate","seconds":1e999}')
@example('{"command":"\\ud800","seconds":1}')
def test_whatever_a_pod_writes_is_an_outcome_or_none(text: str) -> None:
    try:
        outcome = decode(message(text))
    except ContractError:
        return
    json.dumps(as_data(outcome), allow_nan=False, ensure_ascii=False).encode()


def test_a_number_that_no_float_holds_names_the_field() -> None:
    with pytest.raises(ContractError, match=r"Outcome\.seconds: the number is too large"):
        load(Outcome, {"command": "validate", "seconds": 10**400})


def test_an_odd_name_of_a_file_hides_no_reason() -> None:
    failure = Failure("Bad", "\udcff.onnx is no model", "Rename it.")
    assert decode(encode(Outcome("validate", 1.0, failure=failure))).failure == Failure(
        "Bad", "?.onnx is no model", "Rename it."
    )
