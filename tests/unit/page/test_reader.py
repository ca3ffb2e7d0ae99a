"""Requests to the API server: whose credential they carry, and what becomes of its answers."""

from dataclasses import replace
from types import SimpleNamespace

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from onnxmodel_operator.cluster.access import Access
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_page.reader import OPENED, ModelReader, connect


@pytest.fixture
async def server():
    """An API server that answers what it is told, and keeps what it was asked."""
    app, told = web.Application(), SimpleNamespace(asked=[], answer=lambda request: web.json_response({"items": []}))

    async def answer(request):
        told.asked.append(request)
        response = told.answer(request)
        response.set_cookie("session", "of-one-user")
        return response

    app.router.add_route("*", "/{tail:.*}", answer)
    async with TestServer(app) as running:
        yield SimpleNamespace(told=told, address=str(running.make_url("")).rstrip("/"), close=running.close)


@pytest.fixture
async def reader(server):
    access = Access(server.address)
    async with connect(access) as session:
        yield lambda token: ModelReader(replace(access, token=token), session)


async def test_each_request_has_its_own_token_and_nothing_of_anothers(server, reader):
    await reader("first").events("team-a", "u-1")
    await reader("second").events("team-a", "u-1")
    await reader("").events("team-a", "u-1")
    headers = [request.headers for request in server.told.asked]
    assert [one.get("Authorization") for one in headers] == ["Bearer first", "Bearer second", None]
    assert [one.get("Cookie") for one in headers] == [None] * 3
    assert [request.method for request in server.told.asked] == ["GET"] * 3


async def test_a_list_is_read_page_by_page(server, reader):
    def answer(request):
        more = "next" if "continue" not in request.query else ""
        return web.json_response({"items": [{"n": more}], "metadata": {"resourceVersion": "7", "continue": more}})

    server.told.answer = answer
    found = [page async for page in reader("t").pages("team-a")]
    assert found == [([{"n": "next"}], "7"), ([{"n": ""}], "7")]
    assert {request.path for request in server.told.asked} == {
        "/apis/onnx-operator.dev/v1alpha1/namespaces/team-a/onnxmodels"
    }


async def test_a_watch_ends_with_the_stream_and_an_error_is_one(server, reader):
    lines = [{"type": "ADDED", "object": {"a": 1}}, {"type": "ERROR", "object": {"code": 410, "message": "too old"}}]
    server.told.answer = lambda request: web.Response(body=b"\n".join(map(orjson.dumps, lines)) + b"\n")
    events = reader("t").watch("", "5")
    assert [await anext(events), await anext(events)] == [{"type": OPENED}, lines[0]]
    with pytest.raises(ApiError, match="too old") as caught:
        await anext(events)
    assert caught.value.status == 410
    assert server.told.asked[0].query["resourceVersion"] == "5"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda _: web.json_response({"message": "no right"}, status=403), ApiError, "no right"),
        (lambda _: web.Response(text="<html>", status=502), ApiError, "Bad Gateway"),
        (lambda _: web.Response(text="<html>"), ConnectionError, "is not JSON"),
        (lambda _: web.Response(status=302, headers={"Location": "/elsewhere"}), ApiError, "Found"),
    ],
)
async def test_what_is_no_answer_is_an_error(server, reader, answer, kind, words):
    server.told.answer = answer
    with pytest.raises(kind, match=words):
        await reader("t").model("team-a", "m")
    assert len(server.told.asked) == 1, "a credential is sent to nobody else"


async def test_an_api_server_that_is_not_there(reader, server):
    await server.close()
    with pytest.raises(ConnectionError):
        await reader("t").model("team-a", "m")
