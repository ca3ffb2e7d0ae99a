"""All of one model."""

import orjson
import pytest

from dev import fleet
from onnxmodel_page.view import detail


def stored(state):
    return fleet.stored(fleet.model(fleet.STATES.index(state)))


@pytest.mark.parametrize("number", range(len(fleet.STATES) + 10))
def test_every_state_can_be_shown_and_sent(number):
    body = fleet.stored(fleet.model(number))
    sent = orjson.loads(orjson.dumps(detail(body)))
    assert sent["row"]["name"] == body["metadata"]["name"]
    assert not {"stages", "active", "target", "history"} & sent["status"].keys()


def test_results_of_stages_stay_here():
    """They are the operator's memory: large, encoded, and of no use to people."""
    body = stored("ready")
    body["status"]["stages"][0]["result"] = "secret-result"
    assert b"secret-result" not in orjson.dumps(detail(body))


def test_figures_say_where_they_were_measured():
    body = stored("ready")
    active = body["status"]["active"]
    active["against"] = {"revision": "51c0de77", "measured": active["measured"], "measuredOn": "another machine"}
    found = {one.source: one for one in detail(body).figures}
    assert [*found] == ["asked", "served", "session", "before"]
    assert (found["asked"].p99, found["asked"].throughput) == (25, 400)
    assert found["served"].p99 == active["served"]["p99Milliseconds"]
    assert found["session"].p99 == active["measured"]["p99Milliseconds"]
    assert found["before"].where.startswith("another machine; throughput at batch size 8")


def test_before_anything_serves_the_figures_are_the_winners():
    body = stored("ready")
    for name in ("serving", "active", "target", "history"):
        body["status"].pop(name, None)
    found = {one.source: one for one in detail(body).figures}
    assert found["session"].p50 == body["status"]["benchmark"]["winner"]["p50Milliseconds"]


def test_revisions_have_roles_and_shares():
    found = detail(stored("canary")).revisions
    assert [one.role for one in found] == ["next", "serves", "earlier", "earlier"]
    assert [(one.share, one.measured_share) for one in found[:2]] == [(25, 26), (75, 74)]
    assert [one.role for one in detail(stored("ready")).revisions] == ["serves", "earlier", "earlier"]
    assert detail(stored("stalled")).revisions == ()


def event(**fields):
    return {
        "type": "Normal",
        "reason": "R",
        "message": "m",
        "involvedObject": {"kind": "OnnxModel", "name": "a"},
        **fields,
    }


def test_events_are_the_newest_first_whoever_wrote_them():
    found = detail(
        stored("ready"),
        [
            event(message="old", lastTimestamp="2026-01-01T00:00:00Z", count=3),
            event(message="new", eventTime="2026-01-03T00:00:00.123456Z", lastTimestamp=None),
            event(message="again", series={"count": 7, "lastObservedTime": "2026-01-02T00:00:00.000000Z"}),
            event(message="when"),
        ],
    ).events
    assert [(one.message, one.count) for one in found] == [("new", 1), ("again", 7), ("old", 3), ("when", 1)]
    assert found[0].seen == "2026-01-03T00:00:00Z"
    assert found[0].about == "OnnxModel a"


def test_events_are_bounded():
    assert len(detail(stored("ready"), [event() for _ in range(200)]).events) == 50
