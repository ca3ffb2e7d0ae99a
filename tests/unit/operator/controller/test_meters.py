"""Servers are asked at their times; and a real server that becomes slow is noticed, and that it is fast again."""

import asyncio
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import POD
from onnxmodel_operator.controller.meters import Meters, address
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.live import speed
from onnxmodel_operator.live.scrape import scraper
from onnxmodel_operator.live.speed import Proven, is_slow, latest
from onnxmodel_operator.live.windows import Counts
from onnxmodel_operator.plan.values import Pace
from onnxmodel_runtime.contract.loadtest import Load, LoadTestRequest
from onnxmodel_runtime.models import probefile
from onnxmodel_runtime.stages.loadtest import loadtest
from tests.unit.runtime import server_support as support

KEY = ("n", "m")
START = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str, *, revision: str = "r", model: str = "m", version: int = 1, **status: Any) -> dict[str, Any]:
    labels = {names.LABEL_MODEL: model, **({names.LABEL_REVISION: revision} if revision else {})}
    metadata = {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "status": {"phase": "Running", "podIP": "10.0.0.1", **status}}


class Clock:
    """Time that a test lets pass, and the servers that were asked by then."""

    def __init__(self, cache: Cache) -> None:
        self.telemetry = Telemetry()
        self.seconds, self.asked, self.counts = 0.0, Counter[str](), Counts()
        self.woken: list[Any] = []
        self.meters = Meters(
            cache, self.telemetry, self.woken.append, where=lambda pod: (pod["metadata"]["uid"], 0), clock=lambda: self.seconds,
            now=lambda: START + timedelta(seconds=self.seconds),
        )  # fmt: skip

    async def read(self, host: str, port: int, model: str, order: str) -> Counts | None:
        self.asked[host] += 1
        return self.counts

    async def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.seconds += 1
            await self.meters.round(self.read)


@pytest.mark.parametrize(
    "item",
    [
        pod("p", phase="Pending"),
        pod("p", phase="Succeeded"),
        pod("p", podIP=""),
        pod("p", revision=""),
        {**pod("p"), "metadata": {**pod("p")["metadata"], "labels": {names.LABEL_MODEL: "m", names.LABEL_STAGE: "probe"}}},
    ],
)  # fmt: skip
async def test_only_running_servers_are_asked(item: dict[str, Any]) -> None:
    cache = Cache()
    cache.put(POD, item)
    clock = Clock(cache)
    await clock.run(60)
    assert clock.asked == {}


async def test_servers_are_asked_each_half_minute_and_not_all_at_once() -> None:
    cache = Cache()
    for number in range(100):
        cache.put(POD, pod(f"p{number}", model=f"m{number}"))
    clock, most = Clock(cache), 0
    for _ in range(300):
        before = clock.asked.total()
        await clock.run(1)
        most = max(most, clock.asked.total() - before)
    assert set(clock.asked.values()) <= {9, 10}
    assert most < 20


async def test_a_rollout_is_watched_closely() -> None:
    cache = Cache()
    cache.put(POD, pod("old"))
    clock = Clock(cache)
    await clock.run(60)
    assert clock.asked["old"] == 2
    cache.put(POD, pod("new", revision="r2"))
    await clock.run(60)
    assert clock.asked["old"] == 14
    assert clock.asked["new"] == 12
    assert clock.telemetry.of(KEY).window("r2", START, START + timedelta(seconds=120)) is not None


async def test_a_pod_that_is_gone_still_counts_for_a_while_and_is_then_forgotten() -> None:
    cache = Cache()
    cache.put(POD, pod("p"))
    clock = Clock(cache)
    await clock.run(120)
    cache.drop(POD, pod("p", version=2))
    await clock.run(600)
    assert clock.asked["p"] == 4
    assert clock.telemetry.of(KEY).window("r", START, START + timedelta(seconds=1000)) is not None
    await clock.run(1300)
    assert clock.telemetry.of(KEY).pods == {}


async def test_an_unreachable_server_has_no_readings() -> None:
    cache = Cache()
    cache.put(POD, pod("p"))
    clock = Clock(cache)
    clock.counts = None  # type: ignore[assignment]
    await clock.run(120)
    assert clock.asked["p"] == 4
    assert clock.telemetry.of(KEY).pods == {}
    assert clock.meters.speeds == {}


async def test_what_is_kept_is_bounded() -> None:
    cache = Cache()
    cache.put(POD, pod("p"))
    clock = Clock(cache)
    await clock.run(7200)
    (readings,) = clock.telemetry.of(KEY).pods["r"].values()
    assert len(readings) == 24
    assert len({id(reading.counts) for reading in readings}) == 1, "an idle server's counts are one object"


async def test_the_speed_of_servers_that_no_longer_answer_is_not_shown() -> None:
    cache = Cache()
    cache.put(POD, pod("p"))
    clock, total = Clock(cache), 0
    clock.telemetry.paces[KEY] = Pace(Proven("r", 10.0, 100.0, 1), 2.0)
    for _ in range(6):
        total += 600
        clock.counts = Counts(successes=total, executions=total, rows=total, run_seconds=total / 100)
        await clock.run(30)
    assert clock.meters.speeds[KEY].ratio == pytest.approx(1.0)
    clock.counts = None  # type: ignore[assignment]
    await clock.run(180)
    assert clock.meters.speeds == {}
    assert clock.woken == []


def test_the_address_is_the_pods() -> None:
    assert address(pod("p")) == ("10.0.0.1", 8002)


# ---- a real server ---------------------------------------------------------------------------------------------------

_MINUTE = 1.5  # seconds: the clock of the test runs forty times as fast
_FACTOR = 3.0  # more than the default: what else the machine does must not fail a test
_PROVEN, _MORE = 2000, 40_000  # how far the model counts for one answer


@contextmanager
def asking(port: int, count: int) -> Iterator[None]:
    """Two clients that send their next request when they have the answer."""
    stop = threading.Event()
    body = json.dumps({"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [count]}]})

    def ask() -> None:
        connection = http.client.HTTPConnection(support.HOST, port, timeout=30)
        while not stop.is_set():
            connection.request("POST", "/v2/models/slow/infer", body)
            assert connection.getresponse().read()
        connection.close()

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join()


async def test_a_real_server_that_gets_slow_is_noticed_and_that_it_is_fast_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_LEAST_REQUESTS", 5)  # as few as a minute of the test has
    path = support.slow(tmp_path)
    probefile.write(tmp_path / "probe.npz", {"n": np.array([_PROVEN])}, {"y": np.array([_PROVEN])})
    with support.in_process(support.request(path, revision="r")) as (_, ports):
        request = LoadTestRequest(
            "slow", support.HOST, str(tmp_path / "probe.npz"), (Load(1, 1), Load(1, 4)), variant="fp32",
            max_batch_size=1, revision="r", seconds=0.3, windows=5, http_port=ports[0],
        )  # fmt: skip
        single, many = loadtest(request).points
        best = max(single, many, key=lambda point: point.throughput)
        proven = Proven("r", single.p50, best.throughput, 1)
        cache, telemetry, began, woken = Cache(), Telemetry(), time.monotonic(), list[Any]()
        cache.put(POD, pod("p", model="slow"))
        telemetry.paces["n", "slow"] = Pace(proven, _FACTOR)

        def clock() -> float:
            return (time.monotonic() - began) * 60 / _MINUTE

        meters = Meters(
            cache, telemetry, woken.append, where=lambda _: (support.HOST, ports[2]), clock=clock,
            now=lambda: START + timedelta(seconds=clock()),
        )  # fmt: skip

        async def until(slow: bool, minutes: float) -> bool:
            """Read until it is judged so, at most for so long."""
            end, pace = clock() + minutes * 60, Pace(proven, _FACTOR, not slow)
            telemetry.paces["n", "slow"] = pace
            while clock() < end and not woken:
                await meters.round(source.read)
                await asyncio.sleep(0.05)
            found = bool(woken)
            woken.clear()
            live = telemetry.of(("n", "slow"))
            assert not found or is_slow(live, proven, _FACTOR, not slow) is slow, "a turn comes to the same conclusion"
            return found

        async with scraper() as source:
            with asking(ports[0], _PROVEN):
                assert not await until(slow=True, minutes=4)
                assert latest(telemetry.of(("n", "slow")), proven) is not None
            with asking(ports[0], _MORE):
                assert await until(slow=True, minutes=60)
                assert meters.speeds["n", "slow"].ratio > _FACTOR
            with asking(ports[0], _PROVEN):
                assert await until(slow=False, minutes=60)
