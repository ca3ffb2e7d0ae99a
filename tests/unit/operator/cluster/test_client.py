"""What the client makes of a watch that a network or a proxy spoils."""

import asyncio
import contextlib
import gc

import aiohttp
import pytest
from aiohttp import web
from aiohttp.helpers import calculate_timeout_when

from onnxmodel_operator.cluster import client as module
from onnxmodel_operator.cluster.access import Access
from onnxmodel_operator.cluster.client import Client, connect
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_operator.cluster.kinds import JOB

EVENT = b'{"type": "ADDED", "object": {"metadata": {"name": "j", "resourceVersion": "7"}}}\n'


@contextlib.asynccontextmanager
async def answering(*chunks, silent=False, cut=False):
    """A client of an API server that answers a watch with these bytes, and then ends it, cuts it or says nothing."""

    async def handle(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if silent:
            await asyncio.Event().wait()
        if cut:
            request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with connect(Access(f"http://127.0.0.1:{runner.addresses[0][1]}")) as client:
            yield client
    finally:
        await runner.cleanup()


async def told(client):
    """The events until the stream ends, and what ended it."""
    events = []
    try:
        async for event in client.watch(JOB, "5"):
            events.append(event["object"]["metadata"]["resourceVersion"])
    except (ApiError, OSError, TimeoutError) as error:
        return events, error
    return events, None


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([EVENT], None),
        ([EVENT, EVENT[:40]], ConnectionError),
        ([EVENT, b"<html>a proxy's page</html>\n"], ConnectionError),
        ([EVENT, b'{"type": "ADDED", "object": null}\n'], ConnectionError),
        ([EVENT, b'{"type": "ERROR", "object": {"code": 410, "message": "too old"}}\n'], ApiError),
    ],
    ids=["ended", "cut", "page", "no-object", "error"],
)
async def test_a_stream_that_ends(chunks, error):
    async with answering(*chunks) as client:
        events, raised = await told(client)
    assert events == ["7"]
    assert (raised and type(raised)) == error
    if error is ApiError:
        assert (raised.status, str(raised)) == (410, "too old")


async def test_silence_ends_it(monkeypatch):
    monkeypatch.setattr(module, "_SILENT_SECONDS", 0.2)
    async with answering(EVENT, silent=True) as client:
        events, raised = await told(client)
    assert events == ["7"]
    assert isinstance(raised, TimeoutError)


@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_a_stream_that_breaks_off_leaves_nothing_to_the_garbage_collector(monkeypatch, how):
    monkeypatch.setattr(module, "_SILENT_SECONDS", 0.2)
    gc.collect()
    gc.disable()
    try:
        async with answering(EVENT, **{how: True}) as client:
            assert isinstance((await told(client))[1], OSError)
        assert not [one for one in gc.get_objects() if type(one) is aiohttp.StreamReader]
    finally:
        gc.enable()


async def test_a_write_ends_with_its_fence_and_not_at_the_next_whole_second():
    asked = []

    class Session:
        async def request(self, *_, timeout, **__):
            asked.append(timeout)
            raise TimeoutError

    client = Client(Access("http://127.0.0.1:1"), Session(), fence=lambda: 5.05)
    with pytest.raises(TimeoutError):
        await client.apply_status("n", "m", "u", {})
    [timeout] = asked
    assert timeout.total == 5.05
    assert calculate_timeout_when(100.5, timeout.total, timeout.ceil_threshold) == pytest.approx(105.55)
