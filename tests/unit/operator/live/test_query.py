"""Answers of Prometheus' HTTP API, and of what only claims to be one. With a real Prometheus: tests/addons."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from onnxmodel_operator.live.ask import asker
from onnxmodel_operator.live.query import MOST_BYTES, QueryResult, read


def success(kind: str, result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


SAMPLE = {"metric": {"job": "a"}, "value": [1.5, "0.25"]}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (success("vector", [SAMPLE]), 0.25),
        (success("scalar", [1.5, "3"]), 3.0),
    ],
)
def test_a_number_is_read(body, value):
    assert read(200, body) == QueryResult(value)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, success("vector", []), "the query gives no sample"),
        (200, success("vector", [SAMPLE, SAMPLE]), "the query gives 2 samples: it must give one number"),
        (200, success("matrix", []), "the query gives a matrix: it must give one number"),
        (200, success("scalar", [1.5, "NaN"]), "the query gives NaN, which is no number"),
        (200, success("scalar", [1.5, "+Inf"]), "the query gives +Inf, which is no number"),
        (200, success("scalar", [1.5, "many"]), "the query gives many, which is no number"),
        (400, b'{"status":"error","errorType":"bad_data","error":"parse error:\\n unexpected"}',
         "Prometheus refused the query: parse error: unexpected"),
        (502, b"<html>", "Prometheus answered with status 502 and no JSON"),
        (404, b"{}", "Prometheus answered with status 404"),
        (200, b"[]", "Prometheus answered something that is no result of a query"),
        (200, success("vector", [{"value": [1.5, 2]}]), "the query gives 1 samples: it must give one number"),
        (200, b"[" * 10_000, "Prometheus answered with status 200 and no JSON"),
        (200, b" " * (MOST_BYTES + 1), f"Prometheus answered more than {MOST_BYTES} bytes: the query must give one number"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_said(status, body, why):
    assert read(status, body) == QueryResult(None, why)


@asynccontextmanager
async def prometheus(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """Provide the URL of a server that answers queries with this."""
    app = web.Application()
    app.router.add_post("/prefix/api/v1/query", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"{site.name.rpartition(':')[0]}:{runner.addresses[0][1]}/prefix/"
    finally:
        await runner.cleanup()


async def test_it_is_asked_below_its_address():
    async def answer(request: web.Request) -> web.Response:
        form = await request.post()
        return web.json_response(body=success("scalar", [0, str(len(str(form["query"])))]))

    async with prometheus(answer) as address, asker(address) as source:
        assert await source.ask("up{a='b'} + 1") == QueryResult(13.0)


async def test_no_redirect_is_followed_and_no_flood_is_read():
    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/prefix/other")

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(b" " * MOST_BYTES)
        return response

    async with prometheus(elsewhere) as address, asker(address) as source:
        assert (await source.ask("1")).why == "Prometheus answered with status 307 and no JSON"
    async with prometheus(flood) as address, asker(address) as source:
        assert (await source.ask("1")).why.startswith("Prometheus answered more than")


async def test_one_that_is_away_is_said():
    async with asker("http://127.0.0.1:1") as source:
        assert (await source.ask("1")).why.startswith("Prometheus cannot be asked: Cannot connect")
