"""One feed for each credential and namespace, for as long as somebody looks."""

import asyncio

import pytest

from onnxmodel_page import feeds as module
from onnxmodel_page.feeds import CrowdedError, Feeds


class Nothing:
    """A source without models."""

    def __init__(self, token):
        self.token = token

    async def pages(self, namespace):
        yield [], "1"

    async def watch(self, namespace, version):
        await asyncio.Event().wait()
        yield {}


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
async def made(clock):
    found = Feeds(Nothing, lambda: clock[0])
    yield found
    found.close()
    await asyncio.sleep(0)


async def test_viewers_of_one_token_share_a_feed_and_others_never_do(made):
    one = made.get("a", "")
    assert made.get("a", "") is one
    assert made.get("b", "") is not one
    assert made.get("a", "team") is not one
    assert len(made) == 3
    assert one._source.token == "a"


async def test_a_feed_that_nobody_looks_at_ends(made, clock):
    looked, left = made.get("a", ""), made.get("b", "")
    clock[0] = 61
    with looked.watched():
        made.sweep()
        await asyncio.sleep(0.01)
        assert made.get("a", "") is looked
        assert made.get("b", "") is not left


async def test_a_feed_that_ended_is_begun_anew(made):
    first = made.get("a", "")
    await first.listed.wait()
    first.end(403, "no")
    made._running[next(iter(made._running))][1].cancel()
    await asyncio.sleep(0.01)
    assert made.get("a", "") is not first


async def test_there_is_room_for_so_many(made, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 2)
    first, second = made.get("a", ""), made.get("b", "")
    with first.watched(), second.watched():
        with pytest.raises(CrowdedError):
            made.get("c", "")
    made.get("c", "")
    assert len(made) == 2


async def test_closing_tells_all_viewers(made):
    feed = made.get("a", "")
    made.close()
    assert feed.report.state == "Ended"
