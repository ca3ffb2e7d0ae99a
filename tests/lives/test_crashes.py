"""Killed before and after every single write of a life: an operator that begins anew ends in the same state."""

import pytest

from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from tests.builders import body
from tests.crashing import Crashing


@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_killed_at_any_write_of_a_life_the_end_is_the_same(runtime):
    cluster = Crashing(body(serving={"runtime": runtime}))
    cluster.live()
    cluster.edit(optimization={"graphLevel": "Basic"})
    cluster.live()
    cluster.edit(optimization={})
    cluster.live()
    cluster.edit(serving={"runtime": runtime, "replicas": 0})
    cluster.settle()
    assert cluster.status()["phase"] == "TurnedOff"
    cluster.edit(serving={"runtime": runtime, "replicas": 3})
    cluster.live()
    cluster.edit(optimization={"graphLevel": "Extended"})
    cluster.settle()
    cluster.fail("optimize", ExitCode.REFUSED, failure=Failure("ParityFailed", "another answer", "Look at it."))
    cluster.settle()
    assert cluster.status()["phase"] == "Failed"
    cluster.pass_time(3601)
    assert {verb for verb, _, _ in cluster.settle()} == {"delete"}, "Jobs are collected"
    model = cluster.objects["OnnxModel", "team-a", "magika"]
    cluster._store({**model, "metadata": {**model["metadata"], "deletionTimestamp": "2026-01-01T02:00:00Z"}})
    assert cluster.settle() == []
    assert cluster.points == 2 * len(cluster.writes) > 100
