"""A model that is slower in live traffic than its load test proved is Degraded, and nothing else follows from it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from onnxmodel_operator.controller.meters import Meters
from onnxmodel_operator.live.windows import Counts
from tests.builders import SETTINGS, Cluster, body
from tests.gitops import argo, kstatus, waited

KEY = ("team-a", "magika")
PROVEN = 2.5
"""Milliseconds of one row in the load test of `dev.results`."""


@dataclass
class Traffic:
    """A cluster whose server counts executions of one row, ten in a second, and the operator that reads it."""

    cluster: Cluster
    counts: Counts = field(default_factory=Counts)
    woken: list[Any] = field(default_factory=list)
    reachable: bool = True

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.cluster.restart()
        self.cluster.settle()
        self.meters = Meters(
            self.cluster.cache, self.cluster.telemetry, self.woken.append, clock=self._clock, now=lambda: self.cluster.now
        )  # fmt: skip

    def _clock(self) -> float:
        return self.cluster.now.timestamp()

    async def _read(self, *_: Any) -> Counts | None:
        return self.counts if self.reachable else None

    def minutes(self, count: int, *, milliseconds: float = PROVEN, executions: int = 300) -> list[Any]:
        """Let it go on so, and the operator look where it is woken. Returns what was written."""
        before = len(self.cluster.writes)
        for _ in range(2 * count):
            self.cluster.pass_time(30)
            old = self.counts
            seconds = (old.run_seconds or 0.0) + executions * milliseconds / 1000
            total = old.executions + executions
            self.counts = Counts(successes=total, executions=total, rows=total, run_seconds=seconds)
            asyncio.run(self.meters.round(self._read))
            while self.woken:
                self.cluster.cache.notes.pop(self.woken.pop(), None)
                self.cluster.settle()
        return self.cluster.writes[before:]


@pytest.fixture
def traffic() -> Traffic:
    cluster = Cluster(body())
    cluster.live()
    cluster.pod(cluster.deployments()[0], podIP="10.0.0.1")
    return Traffic(cluster)


def test_what_is_as_fast_as_proven_writes_nothing(traffic: Traffic) -> None:
    assert traffic.minutes(30) == []
    assert traffic.cluster.condition("Degraded") is None


def test_the_condition_comes_and_goes_with_one_write_each(traffic: Traffic) -> None:
    traffic.minutes(5)
    assert traffic.minutes(2, milliseconds=10) == [], "two minutes are no reason"
    assert traffic.minutes(2, milliseconds=10) == [("status", "OnnxModel", "magika")]
    found = traffic.cluster.condition("Degraded")
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "SlowerThanProven")
    assert "take 10 ms on average for 1 row; the load test proved at most 2.5 ms for as many" in found["message"]
    assert traffic.cluster.condition("Ready")["status"] == "True"  # type: ignore[index]
    assert traffic.cluster.status()["phase"] == "Ready"
    model = traffic.cluster.objects["OnnxModel", *KEY]
    assert (argo(model)[0], kstatus(model), waited(model, "Ready")) == ("Healthy", "Current", True)
    assert traffic.minutes(30, milliseconds=12) == [], "other numbers are no news"
    assert traffic.minutes(10, milliseconds=4.5) == [], "near the limit it stays as it is"
    assert traffic.minutes(5) == [("status", "OnnxModel", "magika")]
    assert traffic.cluster.condition("Degraded") is None


def test_a_restarted_operator_neither_forgets_nor_repeats_it(traffic: Traffic) -> None:
    traffic.minutes(5, milliseconds=10)
    found = traffic.cluster.condition("Degraded")
    traffic.restart()
    assert traffic.minutes(1, milliseconds=10) == []
    assert traffic.cluster.condition("Degraded") == found
    traffic.reachable = False
    traffic.restart()
    assert traffic.minutes(30) == []
    assert traffic.cluster.condition("Degraded") == found is not None


def test_without_traffic_it_is_forgotten_in_the_end(traffic: Traffic) -> None:
    traffic.minutes(5, milliseconds=10)
    assert traffic.minutes(5, executions=0) == []
    assert traffic.minutes(10, executions=0) == [("status", "OnnxModel", "magika")]
    assert traffic.cluster.condition("Degraded") is None


@pytest.mark.parametrize("spec", [{"suspend": True}, {"serving": {"nodePool": "mars"}}])
def test_a_spec_that_changes_nothing_about_what_serves_keeps_it(traffic: Traffic, spec: dict[str, Any]) -> None:
    traffic.minutes(5, milliseconds=10)
    traffic.cluster.edit(**spec)
    traffic.cluster.settle()
    found = traffic.cluster.condition("Degraded")
    assert found is not None
    assert found["observedGeneration"] == 2
    assert traffic.minutes(5, milliseconds=10) == []


def test_it_is_about_the_revision_that_serves(traffic: Traffic) -> None:
    traffic.minutes(5, milliseconds=10)
    cluster = traffic.cluster
    cluster.edit(serving={"batching": {"maxQueueDelayMicroseconds": 100}})
    for _ in range(10):
        cluster.settle()
        cluster.play()
    cluster.settle()
    assert cluster.status()["phase"] == "Ready"
    assert cluster.condition("Degraded") is None, "nothing is known of the new one"


def test_a_platform_that_reads_no_metrics_has_no_such_condition() -> None:
    live = SETTINGS.live_traffic.model_copy(update={"read": False})
    cluster = Cluster(body(), platform=SETTINGS.model_copy(update={"live_traffic": live}))
    cluster.live()
    cluster.pod(cluster.deployments()[0], podIP="10.0.0.1")
    traffic = Traffic(cluster)
    assert traffic.minutes(10, milliseconds=10) == []
