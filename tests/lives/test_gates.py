"""A canary is judged by what the servers of both revisions count, as the operator reads it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnxmodel_operator import names
from onnxmodel_operator.controller.meters import Meters
from onnxmodel_operator.controller.questions import Questions
from onnxmodel_operator.live.query import QueryResult, Question
from onnxmodel_operator.live.scrape import scraper
from onnxmodel_operator.live.windows import Compared, Counts, Latencies
from onnxmodel_runtime.contract.compare import read as read_order
from onnxmodel_runtime.server import comparing, service
from tests.builders import SETTINGS, Cluster, body
from tests.unit.runtime import server_support as support

STEPS = [{"weight": 50, "pause": "1m"}]
GATES = {"mode": "Enforce", "minRequests": 200}
FAST, SLOW = 0.005, 0.05


class Canary:
    """A canary at its first step, whose servers answer a hundred requests in five seconds each."""

    def __init__(self, **gates: Any) -> None:
        rollout = {"strategy": "Canary", "steps": STEPS, "gates": GATES | gates}
        self.cluster = cluster = Cluster(body(serving={"replicas": 2}, rollout=rollout))
        cluster.live()
        cluster.edit(optimization={"graphLevel": "Basic"})
        for stage in ("optimize", "benchmark"):
            cluster.settle()
            cluster.succeed(stage)
        cluster.settle()
        cluster.deploy()
        self.old, self.new = (d["metadata"]["labels"][names.LABEL_REVISION] for d in cluster.deployments())
        self.counts = {revision: Counts() for revision in (self.old, self.new)}
        self.compared = {"agreed": 10, "differed": 0}
        self.orders: list[tuple[str, str]] = []
        for deployment, host in zip(cluster.deployments(), (self.old, self.new), strict=True):
            cluster.pod(deployment, podIP=host)
        cluster.settle()
        self.meters = Meters(
            cluster.cache, cluster.telemetry, lambda _: None, clock=lambda: cluster.now.timestamp(), now=lambda: cluster.now
        )  # fmt: skip

    async def _read(self, host: str, port: int, model: str, order: str) -> Counts | None:
        counts = self.counts.get(host)
        if counts and order:
            self.orders.append((host, order))
            key = asked.key if (asked := read_order(order)) else ""
            before = counts.compared.get(key, Compared())
            more = {name: getattr(before, name) + count for name, count in self.compared.items()}
            counts = self.counts[host] = replace(counts, compared={key: Compared(**more, largest=0.125)})
        return counts

    def wait(self, seconds: int, *, failures: int = 0, latency: float = FAST, answers: bool = True) -> None:
        """Let it go on so with the new revision; the old one is well."""
        for _ in range(seconds // 5):
            self.cluster.pass_time(5)
            for revision in list(self.counts):
                bad, took = (failures, latency) if revision == self.new else (0, FAST)
                self.counts[revision] = _more(self.counts[revision], 100 - bad, bad, took)
            if not answers:
                self.counts.pop(self.new, None)
            asyncio.run(self.meters.round(self._read))
            again = self.cluster.step().requeue_seconds
            assert again is None or again > 0
            self.cluster.settle()
            self.cluster.play()
            self.cluster.settle()

    @property
    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.status()["rollout"]
        return found


def _more(counts: Counts, successes: int, failures: int, took: float) -> Counts:
    fast, total = successes if took <= 0.01 else 0, counts.successes + successes
    before = counts.latencies.counts[0] if counts.latencies else 0
    latencies = Latencies((0.01, 0.1), (before + fast, total), total)
    return Counts(
        successes=total,
        failures=counts.failures + failures,
        seconds=counts.seconds + successes * took,
        executions=total,
        rows=total,
        run_seconds=total * FAST,
        latencies=latencies,
        compared=counts.compared,
    )


def test_a_revision_that_is_as_good_goes_on() -> None:
    canary = Canary()
    canary.wait(50)
    assert canary.rollout["gate"].startswith("Pass: 0 % of "), canary.rollout
    canary.wait(30)
    assert canary.cluster.routed() == canary.new
    assert canary.cluster.status()["phase"] == "Ready"


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"failures": 5}, "requests to the new revision failed"), ({"latency": SLOW}, "p99 of the new revision is")],
)  # fmt: skip
def test_a_revision_that_is_worse_loses_its_traffic(bad: dict[str, Any], words: str) -> None:
    canary = Canary()
    canary.wait(55, **bad)
    found = canary.cluster.condition("Stalled")
    assert found is not None
    assert found["reason"] == "GateFailed"
    assert words in found["message"]
    assert canary.cluster.routed() == canary.old
    assert [item["spec"]["replicas"] for item in canary.cluster.deployments()] == [2, 0]
    before = len(canary.cluster.writes)
    canary.wait(60)
    assert canary.cluster.writes[before:] == [], "it stays refused"


def test_a_revision_whose_metrics_cannot_be_read_waits() -> None:
    canary = Canary()
    canary.wait(120, answers=False)
    assert canary.rollout["step"] == 1
    assert canary.cluster.condition("Reconciling")["reason"] == "CanaryInconclusive"  # type: ignore[index]
    assert "the servers of the new revision report no metrics" in canary.rollout["gate"]


def test_a_pause_does_not_keep_a_bad_revision() -> None:
    canary = Canary()
    cluster = canary.cluster
    model = cluster.objects["OnnxModel", "team-a", "magika"]
    cluster._store({**model, "metadata": {**model["metadata"], "annotations": {names.PAUSE: "true"}}})
    canary.wait(20)
    assert cluster.condition("Reconciling")["reason"] == "CanaryPaused"  # type: ignore[index]
    again = cluster.step().requeue_seconds
    assert again is not None, "nothing else would look at its gate"
    assert again <= 5
    canary.wait(60, failures=5)
    assert cluster.condition("Stalled")["reason"] == "GateFailed"  # type: ignore[index]


def test_a_gate_that_cannot_decide_is_reported_once_a_minute() -> None:
    canary = Canary(minRequests=1_000_000)
    canary.wait(90)
    before = len(canary.cluster.writes)
    canary.wait(180)
    assert canary.cluster.condition("Reconciling")["reason"] == "CanaryInconclusive"  # type: ignore[index]
    assert len(canary.cluster.writes) - before <= 4, canary.cluster.writes[before:]


COMPARE = {"percent": 25, "minComparisons": 50}


def test_a_revision_that_answers_alike_goes_on() -> None:
    canary = Canary(compare=COMPARE)
    cluster = canary.cluster
    assert cluster.objects["Service", "team-a", f"magika-{canary.new}"]["spec"]["clusterIP"] == "None"
    canary.wait(20)
    assert "of the 50 of minComparisons" in canary.rollout["gate"]
    canary.wait(30)
    assert canary.rollout["gate"].startswith("Pass: "), canary.rollout
    assert canary.rollout["gate"].endswith(" compared answers agree, and the largest difference is 0.125")
    canary.wait(20)
    assert cluster.status()["phase"] == "Ready"
    assert ("Service", "team-a", f"magika-{canary.new}") not in cluster.objects
    assert {host for host, _ in canary.orders} == {canary.old}, "those that serve compare, not those on trial"
    order = read_order(canary.orders[0][1])
    assert order is not None
    assert (order.revision, order.percent, order.tolerance.relative) == (canary.new, 25, 0.01)
    count = len(canary.orders)
    canary.wait(30)
    assert len(canary.orders) == count, "nobody is on trial any more"


def test_a_revision_that_answers_otherwise_is_refused_at_once() -> None:
    canary = Canary(compare=COMPARE)
    canary.compared = {"agreed": 10, "differed": 1}
    canary.wait(20)
    found = canary.cluster.condition("Stalled")
    assert found is not None
    assert found["reason"] == "AnswersDiffer"
    assert "compared answers agree, and the largest difference is 0.125: minAgreementPercent is 99" in found["message"]
    assert canary.cluster.routed() == canary.old
    assert [item["spec"]["replicas"] for item in canary.cluster.deployments()] == [2, 0]
    assert ("Service", "team-a", f"magika-{canary.new}") not in canary.cluster.objects
    count = len(canary.orders)
    canary.wait(30)
    assert len(canary.orders) == count
    assert canary.cluster.condition("Stalled")["reason"] == "AnswersDiffer"  # type: ignore[index]
    hint = canary.cluster.status()["lastFailure"]["hint"]
    assert hint.startswith("If its answers are meant to differ, first remove spec.rollout.gates.compare. Apply another")


def test_where_nobody_compares_the_gate_waits() -> None:
    canary = Canary(compare=COMPARE)
    canary.compared = {}
    canary.counts[canary.old] = Counts()
    canary.wait(120)
    assert canary.rollout["step"] == 1
    assert canary.cluster.condition("Reconciling")["reason"] == "CanaryInconclusive"  # type: ignore[index]


QUERY = {
    "query": 'errors{namespace="$namespace",model="$model",revision="$revision",of="$stable"}[$window]',
    "max": 0.1,
}


class Asked(Canary):
    """A canary with a gate that asks Prometheus."""

    def __init__(self, answer: QueryResult | None = None, **gates: Any) -> None:
        super().__init__(prometheus=QUERY, **gates)
        self.answer, self.queries = answer, list[str]()
        self.source = Questions(self.cluster.telemetry, "unused", clock=lambda: self.cluster.now.timestamp())

    def wait(self, seconds: int, **traffic: Any) -> None:
        for _ in range(seconds // 5):
            super().wait(5, **traffic)
            asyncio.run(self.source.round(self._ask))

    async def _ask(self, query: str) -> QueryResult:
        self.queries.append(query)
        return self.answer or QueryResult(None, "the query gives no sample")


def test_a_query_within_its_limit_lets_the_rollout_go_on() -> None:
    canary = Asked(QueryResult(0.05))
    canary.wait(50)
    assert canary.rollout["gate"].endswith("; the query of rollout.gates.prometheus gives 0.05"), canary.rollout
    text = canary.queries[0]
    assert text.startswith(f'errors{{namespace="team-a",model="magika",revision="{canary.new}",of="{canary.old}"}}[')
    assert text.endswith("s]")
    assert len(canary.queries) <= 3, "not in every turn"
    canary.wait(30)
    assert canary.cluster.status()["phase"] == "Ready"
    assert canary.cluster.telemetry.questions == {}
    assert canary.cluster.telemetry.answers == {}, "nobody waits for an answer"


def test_a_query_beyond_its_limit_takes_the_traffic_back_once_there_were_enough_requests() -> None:
    canary = Asked(QueryResult(0.2), minRequests=400)
    canary.wait(15)
    assert canary.cluster.condition("Stalled") is None, "three hundred requests prove nothing"
    canary.wait(30)
    found = canary.cluster.condition("Stalled")
    assert found is not None
    assert found["reason"] == "GateFailed"
    assert found["message"] == "the query of rollout.gates.prometheus gives 0.2: max is 0.1"
    assert canary.cluster.routed() == canary.old


def test_a_query_without_an_answer_waits_and_the_answer_to_another_step_is_none() -> None:
    canary = Asked()
    canary.wait(120)
    assert canary.rollout["step"] == 1
    assert canary.cluster.condition("Reconciling")["reason"] == "CanaryInconclusive"  # type: ignore[index]
    assert canary.rollout["gate"] == "Inconclusive: rollout.gates.prometheus: the query gives no sample"
    key = next(iter(canary.cluster.telemetry.answers))
    canary.cluster.telemetry.answers[key] = Question("another step", ""), QueryResult(0.05)
    canary.cluster.settle()
    assert canary.rollout["step"] == 1


def test_a_query_without_a_prometheus_is_refused() -> None:
    platform = SETTINGS.model_copy(update={"prometheus": None})
    cluster = Cluster(body(rollout={"gates": {"prometheus": QUERY}}), platform=platform)
    cluster.settle()
    found = cluster.condition("Stalled")
    assert found is not None
    assert found["reason"] == "InvalidSpec"
    assert "set settings.prometheus.address" in found["message"]


def test_no_answer_is_compared_unless_asked_for() -> None:
    canary = Canary()
    canary.wait(30)
    assert canary.orders == []
    assert ("Service", "team-a", f"magika-{canary.new}") not in canary.cluster.objects


@pytest.mark.parametrize(("make", "reason"), [(support.double, ""), (support.biased, "AnswersDiffer")])
def test_two_real_servers_are_compared_while_clients_ask(
    make: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (comparing, service):
        monkeypatch.setattr(module, "REST", 0.0)  # else it takes longer
    monkeypatch.setattr(comparing, "_BUSY_SECONDS", 0.05)
    canary = Canary(compare={"percent": 50, "minComparisons": 20}, maxP99RegressionPercent=10_000)
    gates = []
    with (
        support.in_thread(support.request(support.double(tmp_path), name="magika")) as old,
        support.in_thread(support.request(make(tmp_path), name="magika")) as new,
    ):
        servers = {canary.old: old, canary.new: new}
        old._service.comparing._address = lambda _: (support.HOST, new.ports[0])

        async def read(host: str, port: int, model: str, order: str) -> Counts | None:
            async with scraper() as source:
                return await source.read(support.HOST, servers[host].ports[2], model, order)

        monkeypatch.setattr(canary, "_read", read)
        x = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 4]}
        for _ in range(16):
            for server in servers.values():
                for _ in range(60):
                    ask = json.dumps({"inputs": [x]})
                    assert support.call(server.ports[0], "POST", "/v2/models/magika/infer", ask)[0] == 200
            canary.wait(5)
            gates.append(canary.cluster.status().get("rollout", {}).get("gate", ""))
    if reason:
        assert canary.cluster.condition("Stalled")["reason"] == reason  # type: ignore[index]
        assert canary.cluster.routed() == canary.old
    else:
        assert canary.cluster.status()["phase"] == "Ready"
        assert canary.cluster.routed() == canary.new
        assert any("; 100 % of " in gate and "compared answers agree" in gate for gate in gates), gates
