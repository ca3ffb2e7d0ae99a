"""A status is read as far as it can be read, and reading never fails."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from onnxmodel_operator.observe.memory import Memory, read
from tests.builders import Cluster, body

KEY = ("OnnxModel", "team-a", "magika")


@pytest.fixture(scope="module")
def served() -> Cluster:
    """A model that was replaced and whose newest spec failed: every block of its status is there."""
    cluster = Cluster(body())
    cluster.live()
    cluster.edit(serving={"instances": 2})
    cluster.live()
    cluster.edit(serving={"instances": 3})
    cluster.settle()
    cluster.succeed("benchmark")
    cluster.settle()
    return cluster


@pytest.fixture
def status(served: Cluster) -> dict[str, Any]:
    found = copy.deepcopy(served.status())
    failure = {"stage": "probe", "reason": "R", "message": "m", "hint": "h", "job": "a-job", "time": "t"}
    return {**found, "lastFailure": failure}


def test_everything_that_was_written_is_read(status: dict[str, Any]) -> None:
    assert {"active", "target", "history", "stages", "variants", "benchmark", "serving", "model"} <= set(status)
    assert read(status).stored.dump() == status


def test_blocks_are_found_by_what_they_are_about(status: dict[str, Any]) -> None:
    memory = read(status)
    (old,) = status["history"]
    assert memory.revision(old["revision"]) == memory.history[0]
    assert memory.revision("another") is None
    assert memory.failure_of("a-job") == memory.failure
    assert memory.failure_of("another") is None
    ready = memory.condition("Ready")
    assert ready is not None
    assert ready.status == "False"
    assert memory.condition("Another") is None
    validate = next(stage for stage in status["stages"] if stage["name"] == "validate")
    assert memory.success("validate", validate["digest"]) == validate["result"]
    assert memory.success("optimize", validate["digest"]) is None
    assert memory.success("validate", "another") is None


def test_a_result_that_cannot_be_decoded_is_no_success(status: dict[str, Any]) -> None:
    first = status["stages"][0]
    first["result"] = "onnxmodel/v0:of another release"
    assert read(status).success(first["name"], first["digest"]) is None


BROKEN: list[tuple[str, Any, dict[str, Any]]] = [
    ("no object", [1, 2], {"stored": Memory().stored}),
    ("a phase of another type", {"phase": {"a": 1}, "observedGeneration": 3}, {"generation": 3, "failed": False}),
    ("an unknown field", {"ofAnotherRelease": 1, "phase": "Failed"}, {"failed": True}),
    ("a list that is none", {"stages": {"name": "validate"}}, {"stages": ()}),
    ("a record without its digest", {"stages": [{"name": "validate", "state": "Succeeded", "job": "j"}]}, {"stages": ()}),
    ("a revision without its name", {"active": {"variant": "fp32", "sha256": "", "time": "t"}}, {"active": None}),
    ("a failure without its hint", {"lastFailure": {"stage": "s", "reason": "R", "message": "m"}}, {"failure": None}),
    ("too long a history", {"history": [{}] * 6, "observedGeneration": 1}, {"history": (), "generation": 1}),
    ("null", {"active": None, "stages": None}, {"active": None, "stages": ()}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "expected"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_cannot_be_read_counts_as_not_there(status: Any, expected: dict[str, Any]) -> None:
    memory = read(status)
    assert {name: getattr(memory, name) for name in expected} == expected


def test_only_the_unreadable_part_is_lost(status: dict[str, Any]) -> None:
    status["active"]["measured"]["p50Milliseconds"] = "fast"
    status["stages"][1]["state"] = "Gone"
    memory = read(status)
    assert memory.active is not None
    assert memory.active.revision == status["active"]["revision"]
    assert memory.active.measured is None
    assert len(memory.stages) == len(status["stages"]) - 1


def test_turns_follow_from_what_is_decisive(status: dict[str, Any]) -> None:
    before = read(status).decisive
    told = {"message": "other words", "conditions": [], "variants": [], "serving": {}, "phase": "Probing"}
    assert read({**status, **told}).decisive == before
    for change in ({"phase": "Failed"}, {"active": None}, {"history": []}, {"stages": []}, {"lastFailure": None}):
        assert read({**status, **change}).decisive != before, change
    assert read({**status, "observedGeneration": 9}).decisive != before, "the failure is of an earlier spec then"
    whole = {key: value for key, value in status.items() if key != "lastFailure"}
    assert read({**whole, "observedGeneration": 9}).decisive == read(whole).decisive


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


def _broken(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A copy with another value at this place."""
    if not path:
        return other
    copied = value.copy()
    copied[path[0]] = _broken(value[path[0]], path[1:], other)
    return copied


def test_a_status_that_is_broken_anywhere_is_read(status: dict[str, Any]) -> None:
    values = itertools.cycle([None, "x", -1, [], {}, [{}], 1e300])
    for path, value in zip(_paths(status), values, strict=False):
        read(_broken(status, path, value)).stored.dump()


@pytest.mark.parametrize("value", [None, "x", {}, [{}]], ids=repr)
def test_a_model_whose_status_is_broken_goes_on(served: Cluster, value: Any) -> None:
    model = served.objects[KEY]
    for path in (path for path in _paths(model["status"]) if len(path) == 1):
        served._store({**model, "status": _broken(model["status"], path, value)})
        served.step()
        assert served.status()["reason"] != "InternalError", path
        assert served.routed(), path
        served._store({**model, "status": model["status"]})
