"""The pipeline: which run of a stage counts, and what waits."""

import pytest

from dev import fleet
from onnxmodel_page.view.pipeline import pipeline
from onnxmodel_page.view.seen import see


def links(state, change=lambda status: None):
    body = fleet.stored(fleet.model(fleet.STATES.index(state)))
    change(body["status"])
    return pipeline(see(body))


def states(found):
    return [link.state for link in found]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("ready", ["Done"] * 6),
        ("degraded", ["Done"] * 6),
        ("asleep", ["Done"] * 6),
        ("new", ["Waiting"] * 6),
        ("stalled", ["Failed", *["Waiting"] * 5]),
        ("validating", ["Running", *["Waiting"] * 5]),
        ("optimizing", ["Done", "Running", *["Waiting"] * 4]),
        ("stalled-serving", ["Done", "Done", "Failed", "Waiting", "Waiting", "Waiting"]),
        ("canary", [*["Done"] * 5, "Running"]),
        ("suspended", [*["Done"] * 5, "Waiting"]),
    ],
)
def test_the_states_of_the_steps(state, expected):
    found = links(state)
    assert [link.name for link in found] == ["validate", "optimize", "benchmark", "loadtest", "probe", "serve"]
    assert states(found) == expected


def test_a_stage_that_ran_for_an_earlier_spec_waits_while_one_before_it_runs():
    def runs_again(status):
        status["stages"][0] |= {"state": "Running", "startTime": "2026-01-31T11:59:00Z"}

    found = links("ready", runs_again)
    assert states(found[:5]) == ["Running", *["Waiting"] * 4]
    assert [link.earlier for link in found[:5]] == [False, True, True, True, True]
    assert found[1].seconds


def test_of_two_runs_the_first_record_counts():
    """The present chain comes first in status, and earlier successes after it."""

    def older(status):
        status["stages"].append({**status["stages"][0], "digest": "0" * 64, "job": "older"})

    assert links("ready", older)[0].job != "older"


def test_times_and_words():
    first = links("ready")[0]
    assert (first.began, first.ended, first.seconds) == ("2026-01-31T11:10:00Z", "2026-01-31T11:14:00Z", 17.4)
    assert first.message == "no findings"
    assert links("validating")[0].ended == ""
