"""The rows of one credential: lists, watches, differences, and what goes wrong."""

import asyncio
import json

import pytest

from dev import fleet
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_page import feed as module
from onnxmodel_page.feed import Feed
from onnxmodel_page.reader import OPENED


class Script:
    """A source that lists what it is told, and sends what is put into its queue. An exception is raised."""

    def __init__(self, *lists):
        self.lists, self.events, self.versions = list(lists), asyncio.Queue(), []

    async def pages(self, namespace):
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        for start in range(0, max(len(found), 1), 2):
            yield found[start : start + 2], "100"

    async def watch(self, namespace, version):
        self.versions.append(version)
        yield {"type": OPENED}
        while True:
            item = await self.events.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item


def models(*numbers, version=1):
    return [fleet.stored(fleet.model(number), version) for number in numbers]


def event(kind, item):
    return {"type": kind, "object": item}


async def eventually(look):
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_SECONDS", 0.02)


@pytest.fixture
async def start():
    tasks = []

    def begin(source, **given):
        feed = Feed(source, **given)
        tasks.append(asyncio.create_task(feed.run()))
        return feed

    yield begin
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def names(text):
    return [row["name"] for row in json.loads(text)["rows"]]


async def test_everything_then_only_what_is_new(start):
    source = Script(models(0, 1, 2))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    whole = json.loads(feed.snapshot())
    assert [row["name"] for row in whole["rows"]] == ["fraud-scorer", "bert-intent", "yolo-shelf"]
    before = feed.place(whole["at"])
    assert before == 3

    changed = models(1, version=2)[0]
    changed["status"]["phase"] = "Probing"
    await source.events.put(event("MODIFIED", changed))
    await source.events.put(event("ADDED", models(3)[0]))
    await source.events.put(event("DELETED", models(0)[0]))
    await eventually(lambda: feed.number == 6)
    told = json.loads(feed.changes(before))
    assert [row["name"] for row in told["rows"]] == ["bert-intent", "whisper-encoder"]
    assert told["gone"] == ["team-search/fraud-scorer"]
    assert names(feed.changes(5)) == []
    assert names(feed.snapshot()) == ["yolo-shelf", "bert-intent", "whisper-encoder"]


async def test_a_change_that_no_row_shows_is_no_news(start):
    source = Script(models(0))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    await source.events.put(event("MODIFIED", models(0)[0]))
    await source.events.put(event("BOOKMARK", {"metadata": {"resourceVersion": "200"}}))
    await source.events.put(None)
    await eventually(lambda: source.versions == ["100", "200"])
    assert feed.number == 1


async def test_the_first_page_is_shown_before_the_last_one_comes(start):
    gate = asyncio.Event()

    class Slow(Script):
        async def pages(self, namespace):
            yield models(0, 1), "100"
            await gate.wait()
            yield models(2), "100"

    feed = start(Slow())
    await feed.listed.wait()
    assert len(names(feed.snapshot())) == 2
    assert feed.report.state == "Loading"
    gate.set()
    await eventually(lambda: feed.report.state == "Live")
    assert len(names(feed.changes(2))) == 1


async def test_after_an_expired_version_everything_is_listed_and_only_differences_are_told(start):
    source = Script(models(0, 1, 2), models(0, 2, 3))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    await source.events.put(ApiError(410, "too old"))
    await eventually(lambda: feed.number == 5)
    told = json.loads(feed.changes(3))
    assert [row["name"] for row in told["rows"]] == ["whisper-encoder"]
    assert told["gone"] == ["team-payments/bert-intent"]


@pytest.mark.parametrize("trouble", [ConnectionError("nobody answers"), TimeoutError("silence"), ApiError(500, "etcd")])
async def test_trouble_is_told_and_rows_stay(start, trouble):
    source = Script(models(0))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    states = []

    async def listen():
        while True:
            news = feed.news
            states.append(feed.report)
            await news.wait()

    listening = asyncio.create_task(listen())
    await source.events.put(trouble)
    await eventually(lambda: len(source.versions) == 2)
    await eventually(lambda: feed.report.state == "Live")
    listening.cancel()
    assert [(one.state, one.message) for one in states if one.state == "Late"] == [("Late", str(trouble))]
    assert names(feed.snapshot()) == ["fraud-scorer"]
    assert source.versions == ["100", "100"], "the list is not asked for again"


async def test_a_list_that_fails_is_tried_again_and_meanwhile_the_page_says_why(start):
    source = Script(ConnectionError("nobody answers"), models(0))
    feed = start(source)
    await feed.listed.wait()
    assert feed.report.message in ("nobody answers", "")
    await eventually(lambda: names(feed.snapshot()) == ["fraud-scorer"])


@pytest.mark.parametrize("code", [401, 403])
async def test_a_right_that_ends_takes_the_rows_with_it(start, code):
    source = Script(models(0))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    await source.events.put(ApiError(code, "no more"))
    await eventually(lambda: feed.report.state == "Ended")
    assert (feed.report.code, feed.report.message) == (code, "no more")
    assert names(feed.snapshot()) == []


async def test_a_defect_ends_the_feed_and_is_logged(start, caplog):
    source = Script(models(0))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    await source.events.put({"type": "MODIFIED", "object": {"metadata": {"resourceVersion": "1"}}})
    await eventually(lambda: feed.report.state == "Ended")
    assert feed.report.code == 500
    assert "a feed failed" in caplog.text


async def test_who_was_away_for_too_long_starts_anew(start, monkeypatch):
    monkeypatch.setattr(module, "_TOMBSTONES", 2)
    source = Script(models(*range(6)))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    for item in models(0, 1, 2):
        await source.events.put(event("DELETED", item))
    await eventually(lambda: feed.number == 9)
    assert feed.changes(6) is None, "the first deletion is forgotten"
    assert len(json.loads(feed.changes(7))["gone"]) == 2
    assert feed.place(f"{feed.epoch}.6") is None
    assert feed.place(f"{feed.epoch}.7") == 7


async def test_a_model_that_comes_back_is_not_gone(start):
    source = Script(models(0))
    feed = start(source)
    await eventually(lambda: feed.report.state == "Live")
    await source.events.put(event("DELETED", models(0)[0]))
    await source.events.put(event("ADDED", models(0, version=5)[0]))
    await eventually(lambda: feed.number == 3)
    told = json.loads(feed.changes(1))
    assert ([row["version"] for row in told["rows"]], told["gone"]) == (["5"], [])


@pytest.mark.parametrize("at", ["", "x", "other.1", "{epoch}.", "{epoch}.-1", "{epoch}.99", "{epoch}.1.2"])
async def test_moments_of_others_are_unknown(start, at):
    feed = start(Script(models(0)))
    await eventually(lambda: feed.report.state == "Live")
    assert feed.place(at.format(epoch=feed.epoch)) is None
