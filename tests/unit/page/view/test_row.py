"""One line of the list, for models in every state."""

import json

import pytest

from dev import fleet
from onnxmodel_page.view import row


def seen(number, **changes):
    return row({**fleet.stored(fleet.model(number)), **changes})


@pytest.mark.parametrize(
    ("state", "health", "phase", "available"),
    [
        ("ready", "Ready", "Ready", True),
        ("degraded", "Degraded", "Ready", True),
        ("stalled", "Stalled", "Failed", False),
        ("stalled-serving", "Stalled", "Failed", True),
        ("validating", "Reconciling", "Validating", False),
        ("optimizing", "Reconciling", "Optimizing", False),
        ("benchmarking", "Reconciling", "Benchmarking", False),
        ("canary", "Reconciling", "RollingOut", True),
        ("suspended", "Suspended", "Suspended", True),
        ("turned-off", "Suspended", "TurnedOff", False),
        ("asleep", "Ready", "ScaledToZero", False),
        ("warned", "Ready", "Ready", True),
        ("new", "Reconciling", "Pending", False),
    ],
)
def test_the_state_of_a_model(state, health, phase, available):
    found = seen(fleet.STATES.index(state))
    assert (found.health, found.phase, found.available) == (health, phase, available)


def test_every_state_of_the_fleet_is_in_the_table():
    marks = next(mark for mark in test_the_state_of_a_model.pytestmark if mark.name == "parametrize")
    assert {state for state, *_ in marks.args[1]} == set(fleet.STATES)


def test_a_new_spec_is_not_ready_by_the_conditions_of_the_old_one():
    body = fleet.stored(fleet.model(0))
    body["metadata"]["generation"] = 2
    assert row(body).health == "Reconciling"


def test_a_model_that_is_deleted_says_so():
    body = fleet.stored(fleet.model(0))
    body["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    assert (row(body).health, row(body).phase) == ("Reconciling", "Deleting")


def test_figures_are_of_the_revision_that_serves_and_not_of_the_newest():
    body = fleet.stored(fleet.model(fleet.STATES.index("canary")))
    status = body["status"]
    assert status["target"]["served"] != status["active"]["served"]
    assert row(body).p99 == status["active"]["served"]["p99Milliseconds"]
    status["serving"]["revision"] = status["target"]["revision"]
    assert row(body).p99 == status["target"]["served"]["p99Milliseconds"]
    status["serving"]["revision"] = "another"
    assert row(body).p99 is None


def test_limits_are_those_of_the_spec():
    found = seen(0, spec={"benchmark": {"constraints": {"p99Milliseconds": 20}}})
    assert (found.p99_limit, found.throughput_limit) == (20, None)


def test_a_degraded_model_says_why_it_is_and_not_why_it_is_ready():
    found = seen(fleet.STATES.index("degraded"))
    assert found.reason == "SlowerThanProven"
    assert found.message.startswith("executions take 1.8 times")


def test_throughput_counts_inferences_without_a_batch_axis():
    body = fleet.stored(fleet.model(0))
    assert row(body).unit == "rows"
    body["status"]["model"]["batch"] = "None"
    assert row(body).unit == "inferences"


def test_a_long_message_is_cut():
    body = fleet.stored(fleet.model(2))
    body["status"]["message"] = "x" * 2000
    assert len(row(body).message) == 300
    assert row(body).message.endswith("…")


def test_fields_of_a_newer_release_are_ignored():
    body = fleet.stored(fleet.model(0))
    body["status"] |= {"future": {"a": 1}}
    body["status"]["active"]["future"] = "b"
    assert row(body).health == "Ready"
    assert row(body).p99


@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": -1}])
def test_a_model_that_nobody_has_looked_at(status):
    found = row({**fleet.stored(fleet.model(0)), "status": status})
    assert (found.health, found.phase, found.message) == (
        "Reconciling",
        "Pending",
        "the operator has not looked at this spec yet",
    )


def test_a_status_that_cannot_be_read_is_said_and_breaks_nothing():
    body = fleet.stored(fleet.model(0))
    body["status"]["serving"]["replicas"] = {"a": 1}
    assert "of different releases" in row(body).message


def test_most_of_a_status_is_not_read_for_the_list():
    body = fleet.stored(fleet.model(0))
    whole = row(body)
    for name in ("stages", "variants", "benchmark"):
        body["status"][name] = "unread"
    assert row(body) == whole
    assert len(json.dumps(body["status"])) < 5000
