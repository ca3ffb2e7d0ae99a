"""What a turn costs: counted, never timed."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import BY_NAME
from onnxmodel_operator.controller import reconcile as turns
from onnxmodel_operator.controller.reconcile import Reconciled, reconcile
from onnxmodel_operator.controller.telemetry import Telemetry
from onnxmodel_operator.render import templates
from tests.builders import SETTINGS, Cluster, body, watched

KEY = ("team-a", "magika")


class Watcher:
    """The operator's cache of a cluster, kept from turn to turn as watches keep it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.cache, self.telemetry = cluster, Cache(), Telemetry()
        self.catch_up()

    def catch_up(self) -> None:
        for (kind, _, _), item in self.cluster.objects.items():
            if kind in BY_NAME and watched(item):
                self.cache.put(BY_NAME[kind], item)

    async def turn(self, seconds: float = 0, settings: Any = SETTINGS) -> Reconciled:
        now = self.cluster.now + timedelta(seconds=seconds)
        return await reconcile(KEY, self.cache, self.telemetry, settings, self.cluster, now)


@pytest.fixture
def ready() -> Watcher:
    cluster = Cluster(body())
    cluster.live()
    return Watcher(cluster)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part of a turn is run."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        part = getattr(turns, name)

        def run(*args: Any) -> Any:
            counted[name] += 1
            return part(*args)

        monkeypatch.setattr(turns, name, run)

    for name in ("observe", "plan", "render", "summarize"):
        count(name)
    return counted


async def test_a_turn_of_what_is_at_rest_does_nothing(ready: Watcher, calls: Counter[str]) -> None:
    first = await ready.turn()
    assert calls == dict.fromkeys(("observe", "plan", "render", "summarize"), 1)
    calls.clear()
    second = await ready.turn(10)
    assert not calls
    assert (second.phase, second.wrote) == ("Ready", False)
    assert first.requeue_seconds is not None
    assert second.requeue_seconds == first.requeue_seconds - 10, "its Jobs still go when their time has come"
    await ready.turn(first.requeue_seconds)
    assert calls["plan"] >= 1, "then it looks again"


def changes(cluster: Cluster) -> Iterator[tuple[str, Any]]:
    """By what it is: something that changes one thing which is known of the model."""
    yield "a spec", lambda: cluster.edit(serving={"replicas": 2})
    yield "a Deployment", lambda: cluster.available(replicas=0)
    yield "a Job", lambda: cluster._store({**cluster.jobs()["probe"], "status": {}})
    yield "a pod", lambda: cluster.pod(cluster.deployments()[0])
    key = ("Service", *KEY)
    yield "a Service", lambda: cluster._store({**cluster.objects[key], "spec": {"selector": {}}})


@pytest.mark.parametrize("number", range(5))
async def test_whatever_changes_is_looked_at(ready: Watcher, calls: Counter[str], number: int) -> None:
    await ready.turn()
    await ready.turn()
    assert calls["observe"] == 1
    what, change = list(changes(ready.cluster))[number]
    change()
    ready.catch_up()
    await ready.turn()
    assert calls["observe"] >= 2, what


async def test_what_is_gone_is_looked_at(ready: Watcher) -> None:
    await ready.turn()
    service = ready.cluster.objects.pop(("Service", *KEY))
    assert ready.cache.drop(BY_NAME["Service"], service) == KEY
    await ready.turn()
    assert ready.cluster.routed(), "it is made again"


async def test_other_settings_are_looked_at(ready: Watcher, calls: Counter[str]) -> None:
    await ready.turn()
    other = SETTINGS.model_copy(update={"progress_deadline_seconds": 601})
    await ready.turn(settings=other)
    assert calls["render"] >= 2


@pytest.fixture
def validating() -> Watcher:
    cluster = Cluster(body())
    cluster.settle()
    return Watcher(cluster)


async def test_a_model_that_waits_is_looked_at_each_time(validating: Watcher, calls: Counter[str]) -> None:
    """What it waits for may be another model's: that changes nothing that is known of this one."""
    await validating.turn()
    await validating.turn()
    assert calls["plan"] == 2, "its Job runs: how it would be made depends on the pods of others"


async def test_a_change_of_one_thing_decodes_and_parses_nothing_again(
    ready: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results, specs and templates are read once, however often a model has its turn."""
    await ready.turn()
    read: Counter[str] = Counter()
    monkeypatch.setattr("json.loads", lambda *_: read.update(["json"]))
    monkeypatch.setattr("yaml.load", lambda *_, **__: read.update(["yaml"]))
    monkeypatch.setattr(templates, "_follow", lambda *_: read.update(["jinja"]))
    ready.cluster.pod(ready.cluster.deployments()[0])
    ready.catch_up()
    assert (await ready.turn()).phase == "Ready"
    assert not read


def test_a_step_is_told_once() -> None:
    """Nothing is told that the same turn makes untrue."""
    cluster = Cluster(body())
    cluster.live()
    told = Counter(verb for verb, _, _ in cluster.writes)
    assert told == {"apply": 10, "delete": 1, "status": 7}, (
        "a status for each of five stages, for the rollout, and Ready"
    )


def test_a_new_model_takes_one_turn_until_its_first_job_ends() -> None:
    """Its first status tells of a generation that nothing was known of, and nothing follows from that."""
    cluster = Cluster(body())
    assert not cluster.step().wrote
    assert [verb for verb, *_ in cluster.writes] == ["apply", "apply", "status"]
    assert cluster.settle() == []
