"""The story of a model, from the statuses of whole lives."""

import json
import re

import pytest

from onnxmodel_cli.cluster.story import story, text
from onnxmodel_runtime.contract.outcome import Failure
from tests.builders import Cluster, body
from tests.canaries import canary


def plain(_, words):
    return words


def model(cluster):
    return cluster.objects["OnnxModel", "team-a", "magika"]


def event(reason, time, kind="Normal", **fields):
    return {"metadata": {}, "reason": reason, "type": kind, "message": f"about {reason}", "eventTime": time, **fields}


def told(cluster, *events):
    return text(story(model(cluster), events), plain)


def test_a_ready_model_has_each_stage_with_its_verdict_and_what_serves():
    cluster = Cluster(body())
    cluster.live()
    shown = told(cluster)
    assert shown.startswith("magika in team-a: Ready (Ready): fp32 serves: its p50 is 50 percent lower than original\n")
    rows = re.findall(r"^(\w+) +Succeeded +1\.5 +2026-01-01T00:00:00Z *(.*)$", shown, re.MULTILINE)
    assert [name for name, _ in rows] == ["validate", "optimize", "benchmark", "loadtest", "probe"]
    assert dict(rows)["loadtest"] == "p99 5 ms, 800/s"
    assert "1/1 replicas, onnxruntime, fp32 on CPU, p99 5ms, 800/s\n  http://magika.team-a.svc:8000" in shown


def test_a_refusal_comes_first_with_its_fix():
    cluster = Cluster(body())
    cluster.settle()
    cluster.fail("validate", 10, failure=Failure("OpsetTooLow", "the opset is 7", "Export again.", "spec.source.uri"))
    cluster.settle()
    lines = told(cluster).splitlines()
    assert lines[0] == "magika in team-a: Stalled (Failed): the opset is 7"
    assert lines[1] == "  failed validate: OpsetTooLow (spec.source.uri), attempt 1: the opset is 7"
    assert lines[2].startswith("    fix: Export again. Log: kubectl -n team-a logs job/magika-validate-")
    assert re.search(r"^validate +Failed +2026-01-01T00:00:00Z +the opset is 7$", told(cluster), re.MULTILINE)
    assert re.search(r"^optimize +Pending$", told(cluster), re.MULTILINE)


def test_a_model_that_nobody_has_seen_says_so():
    shown = told(Cluster(body()))
    assert shown.startswith("magika in team-a: Pending (Pending): the operator has not looked at it yet\n")
    assert "the operator has not seen the newest spec yet" in shown


def test_a_canary_is_told():
    cluster = canary()
    assert re.search(r"^rolling out: revision \w+, Canary, step 1 of 2, weight 10 %$", told(cluster), re.MULTILINE)


def test_events_are_in_order_with_their_counts():
    events = [
        event("Ready", "2026-01-01T00:03:00.123456Z"),
        event("NotReady", None, "Warning", lastTimestamp="2026-01-01T00:02:00Z", count=3),
        event(
            "StageStarted", "2026-01-01T00:00:00.1Z", series={"count": 2, "lastObservedTime": "2026-01-01T00:01:00.1Z"}
        ),
    ]
    assert told(Cluster(body()), *events).splitlines()[-3:] == [
        "  2026-01-01T00:01:00Z Normal StageStarted (x2): about StageStarted",
        "  2026-01-01T00:02:00Z Warning NotReady (x3): about NotReady",
        "  2026-01-01T00:03:00Z Normal Ready: about Ready",
    ]


@pytest.mark.parametrize("settle", [False, True])
def test_the_story_is_plain_data(settle):
    cluster = Cluster(body())
    if settle:
        cluster.live()
    data = story(model(cluster), [])
    assert json.loads(json.dumps(data)) == data
    assert "handled" not in data.get("rollout", {})
