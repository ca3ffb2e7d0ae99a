"""Events are written in the background: bounded, counted where they repeat, and dropped where they cannot be written."""

import asyncio
import contextlib
import itertools

import pytest

from onnxmodel_operator.cluster import broadcaster as module
from onnxmodel_operator.cluster.broadcaster import Broadcaster
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_operator.events.values import About, normal, warning

MODEL = About("team-a", "magika", "uid-1")
READY = normal("Ready", "Serving", "fp32 serves")


class Api:
    """Takes Events, or refuses them. gone: the Events have expired."""

    def __init__(self):
        self.created, self.counted, self.refuses, self.gone = [], [], None, False

    async def create_event(self, namespace, body):
        if self.refuses:
            raise self.refuses
        self.created.append(body)

    async def count_event(self, namespace, name, series):
        self.counted.append((name, series["count"]))
        return not self.gone


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(module, "_PER_SECOND", 1e9)
    return Api()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broadcaster(api, clock):
    return Broadcaster(api, clock)


def write(broadcaster, *events, about=MODEL):
    """All of these are written or dropped."""

    async def run():
        broadcaster._news = asyncio.Event()
        broadcaster.add(about, events)
        task = asyncio.create_task(broadcaster.run())
        while broadcaster._waiting:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_an_event_regards_its_model(broadcaster, api):
    write(broadcaster, warning("OpsetTooLow", "validate", "the opset is 7"))
    (body,) = api.created
    assert body["regarding"] == {
        "apiVersion": "onnx-operator.dev/v1alpha1", "kind": "OnnxModel", "namespace": "team-a", "name": "magika",
        "uid": "uid-1",
    }  # fmt: skip
    assert (body["type"], body["reason"], body["action"]) == ("Warning", "OpsetTooLow", "validate")
    assert body["metadata"]["name"].startswith("magika.")


def test_the_same_words_again_count_in_a_series(broadcaster, api):
    write(broadcaster, READY, normal("Ready", "Serving", "fp16 serves"), READY)
    write(broadcaster, READY)
    name = api.created[0]["metadata"]["name"]
    assert len(api.created) == 2
    assert api.counted == [(name, 2), (name, 3)]


def test_another_model_has_events_of_its_own(broadcaster, api):
    write(broadcaster, READY)
    write(broadcaster, READY, about=About("team-a", "magika", "uid-2"))
    assert len(api.created) == 2


def test_after_an_hour_or_once_it_has_expired_it_is_a_new_event(broadcaster, api, clock):
    write(broadcaster, READY)
    clock.now = 3601
    write(broadcaster, READY)
    assert (len(api.created), api.counted) == (2, [])
    api.gone = True
    write(broadcaster, READY)
    assert len(api.created) == 3


def test_a_model_that_flaps_is_bounded(broadcaster, api, clock):
    flapping = [normal("NotReady", "Serving", f"{number} pods") for number in range(200)]
    write(broadcaster, *flapping)
    assert len(api.created) == 50
    clock.now = 60
    write(broadcaster, *flapping[:10])
    assert len(api.created) + len(api.counted) == 52
    write(broadcaster, READY, about=About("team-a", "other", "uid-2"))
    assert len(api.created) + len(api.counted) == 53, "another one has its own"


def test_the_queue_is_bounded(broadcaster):
    for _ in range(100):
        broadcaster.add(MODEL, [READY] * 100)
    assert len(broadcaster._waiting) == 2000


@pytest.mark.parametrize(
    "error",
    [
        ApiError(403, 'User "o" cannot create resource "events" in API group "events.k8s.io"'),
        ApiError(500, "broken"),
        ConnectionError("refused"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_written_is_dropped_and_the_next_one_is_tried(broadcaster, api, error, caplog):
    api.refuses = error
    write(broadcaster, READY, normal("Recovered", "Serving", "m"))
    api.refuses = None
    write(broadcaster, READY)
    assert [body["reason"] for body in api.created] == ["Ready"]
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == (getattr(error, "status", 0) == 403), "a missing right is told once"


def test_names_differ(broadcaster, api):
    events = [normal("Ready", "Serving", str(number)) for number in itertools.islice(itertools.count(), 40)]
    write(broadcaster, *events)
    assert len({body["metadata"]["name"] for body in api.created}) == 40
