"""Killed before and after every single write of a life: an operator that begins anew ends in the same state."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from onnxmodel_runtime.contract.outcome import ExitCode, Failure
from tests.builders import Cluster, body


class Crashing(Cluster):
    """A cluster that knows its state before and after each write. `settle` goes on from each, without the operator's memory."""

    points = 0

    def __init__(self, *models: dict[str, Any]) -> None:
        self.moments: list[Cluster] = []
        super().__init__(*models)

    @contextmanager
    def _write(self, verb: str, key: tuple[str, str, str]) -> Iterator[None]:
        self._remember()
        with super()._write(verb, key):
            yield
        self._remember()

    def _remember(self) -> None:
        self.points += 1
        if self.moments and self.moments[-1].objects == self.objects:
            return  # before a write all is as it was after the one before
        now = Cluster(platform=self.settings)
        now.objects, now.events, now.now = dict(self.objects), list(self.events), self.now
        now._made, now._versions = self._made.copy(), itertools.count(1_000_000)
        self.moments.append(now)

    def settle(self, name: str = "magika", *, most: int = 10) -> list[tuple[str, str, str]]:
        self.moments.clear()
        written = super().settle(name, most=most)
        for number, crashed in enumerate(self.moments):
            crashed.settle(name)
            after = f"point {number} of {written}"
            assert _state(crashed) == _state(self), after
            assert _made(crashed) == _made(self), f"a Job ran twice after {after}"
        return written


def _state(cluster: Cluster) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        key: {**item, "metadata": {k: v for k, v in item["metadata"].items() if k != "resourceVersion"}}
        for key, item in cluster.objects.items()
    }


def _made(cluster: Cluster) -> Counter[tuple[str, str, str]]:
    return Counter({key: count for key, count in cluster._made.items() if key[0] == "Job"})


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
    assert cluster.status()["phase"] == "ScaledToZero"
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
