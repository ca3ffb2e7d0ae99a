"""The page over HTTP, with the API server replaced by what it would answer."""

import asyncio
import json

import pytest
from aiohttp.test_utils import TestClient, TestServer

from dev import fleet
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_page.credentials import Auth
from onnxmodel_page.feeds import Feeds
from onnxmodel_page.reader import OPENED
from onnxmodel_page.site import ASSETS, Site


class Api:
    """What each token may see, instead of an API server."""

    def __init__(self):
        self.tokens, self.events, self.problem = [], asyncio.Queue(), None
        self.models = [fleet.stored(fleet.model(number)) for number in range(3)]

    def reader(self, token):
        return Eyes(self, token)


class Eyes:
    """A ModelReader."""

    def __init__(self, server, token):
        self.server, self.token = server, token

    def _may(self):
        self.server.tokens.append(self.token)
        if self.token == "wrong":
            raise ApiError(401, "Unauthorized")
        if self.token == "poor":
            raise ApiError(403, 'User "poor" cannot list resource "onnxmodels"')

    async def pages(self, namespace):
        self._may()
        yield [one for one in self.server.models if namespace in ("", one["metadata"]["namespace"])], "1"

    async def watch(self, namespace, version):
        yield {"type": OPENED}
        while True:
            event = await self.server.events.get()
            if isinstance(event, ApiError):
                raise event
            yield event

    async def model(self, namespace, name):
        self._may()
        for one in self.server.models:
            if (one["metadata"]["namespace"], one["metadata"]["name"]) == (namespace, name):
                return one
        raise ApiError(404, "not found")

    async def events(self, namespace, uid):
        if self.server.problem:
            raise self.server.problem
        return [{"reason": "Told", "message": uid}]


@pytest.fixture
def api():
    return Api()


@pytest.fixture
async def site(api):
    clients = []

    async def make(auth=Auth.SERVICE_ACCOUNT, hosts=()):
        app = Site(auth, hosts, Feeds(api.reader), api.reader).app()
        clients.append(TestClient(TestServer(app)))
        await clients[-1].start_server()
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


def token(text):
    return {"Authorization": f"Bearer {text}"}


async def read(answer, kind):
    """The next event of a kind, from a stream."""
    async with asyncio.timeout(10):
        found = {}
        async for raw in answer.content:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name:
                found[name] = value
            elif found.get("event") == kind:
                return found
            else:
                found = {}
    return None


async def test_every_answer_has_the_policy_and_none_is_kept(site):
    page = await site()
    for path in ("/", "/main.js", "/api/models", "/api/models/a/b", "/nowhere", "/healthz"):
        answer = await page.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if path.startswith("/api"):
            assert answer.headers["Cache-Control"] == "no-store"


async def test_every_file_is_served_as_what_it_is(site):
    page = await site()
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for file in ASSETS.iterdir():
        answer = await page.get("/" if file.name == "index.html" else f"/{file.name}")
        assert answer.content_type == kinds[file.suffix]
        assert await answer.read() == file.read_bytes()
        again = await page.get(answer.url.path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304


def test_no_file_asks_anybody_else_and_none_has_what_the_policy_forbids():
    texts = {file.name: file.read_text() for file in ASSETS.iterdir()}
    for name, text in texts.items():
        assert "https://" not in text, name
        assert {word for word in text.split() if "http://" in word} <= {
            '"http://www.w3.org/2000/svg";',
            'xmlns="http://www.w3.org/2000/svg"',
        }
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "onclick="):
            assert word not in text, f"{name}: {word}"


async def test_the_list_is_shown_with_the_right_of_the_account(site, api):
    page = await site()
    answer = await page.get("/api/models", headers=token("somebodys"))
    assert answer.status == 200
    assert answer.headers["Content-Encoding"] == "gzip"
    assert [row["name"] for row in (await answer.json())["rows"]] == ["fraud-scorer", "bert-intent", "yolo-shelf"]
    assert set(api.tokens) == {""}


async def test_the_list_of_a_namespace(site):
    page = await site()
    answer = await page.get("/api/models?namespace=team-vision")
    assert [row["name"] for row in (await answer.json())["rows"]] == ["yolo-shelf"]


@pytest.mark.parametrize("path", ["/api/models", "/api/changes", "/api/models/team-vision/yolo-shelf"])
async def test_a_page_for_users_does_nothing_without_a_token(site, path, api):
    page = await site(Auth.USER)
    for headers in ({}, {"Authorization": "Basic YTpi"}):
        answer = await page.get(path, headers=headers)
        assert answer.status == 401
        assert "Authorization" in (await answer.json())["message"]
    assert api.tokens == []


async def test_a_page_for_users_asks_with_the_token_of_each(site, api):
    page = await site(Auth.USER)
    assert (await page.get("/api/models", headers=token("first"))).status == 200
    assert (await page.get("/api/models", headers=token("second"))).status == 200
    assert (await page.get("/api/models/team-vision/yolo-shelf", headers=token("third"))).status == 200
    assert api.tokens == ["first", "second", "third"]


@pytest.mark.parametrize(("who", "status", "words"), [("wrong", 401, "Unauthorized"), ("poor", 403, "cannot list")])
async def test_what_the_api_server_refuses_is_refused_in_its_words(site, who, status, words):
    page = await site(Auth.USER)
    for path in ("/api/models", "/api/models/team-vision/yolo-shelf"):
        answer = await page.get(path, headers=token(who))
        assert answer.status == status
        assert words in (await answer.json())["message"]


async def test_a_page_with_an_account_answers_to_its_names_only(site):
    page = await site(hosts=("models.example.com",))
    for host, status in {"models.example.com": 200, "localhost:80": 200, "evil.example.com": 421}.items():
        assert (await page.get("/api/models", headers={"Host": host})).status == status
        assert (await page.get("/healthz", headers={"Host": host})).status == 200


async def test_a_page_for_users_needs_no_names(site):
    page = await site(Auth.USER)
    assert (await page.get("/api/models", headers={**token("a"), "Host": "any.example.com"})).status == 200


@pytest.mark.parametrize(
    "path", ["/api/models?namespace=../x", "/api/models/A/b", "/api/models/a/..%2Fpods", "/api/models/a/b%3Fwatch=true"]
)
async def test_names_that_are_none_are_refused(site, path, api):
    page = await site()
    answer = await page.get(path)
    assert answer.status in (400, 404)
    assert api.tokens == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_can_be_written(site, method):
    page = await site()
    for path in ("/", "/api/models", "/api/models/team-vision/yolo-shelf"):
        assert (await page.request(method, path)).status == 405


async def test_one_model_with_its_events(site, api):
    page = await site()
    data = await (await page.get("/api/models/team-vision/yolo-shelf")).json()
    assert data["model"]["row"]["health"] == "Stalled"
    assert [one["reason"] for one in data["model"]["events"]] == ["Told"]
    assert data["events_problem"] == ""
    api.problem = ApiError(403, "cannot list events")
    data = await (await page.get("/api/models/team-vision/yolo-shelf")).json()
    assert (data["model"]["events"], data["events_problem"]) == ([], "cannot list events")
    assert (await page.get("/api/models/team-vision/another")).status == 404


async def test_a_change_is_sent_as_a_difference_to_all_who_look(site, api):
    page = await site()
    at = (await (await page.get("/api/models")).json())["at"]
    async with page.get(f"/api/changes?since={at}") as one, page.get(f"/api/changes?since={at}") as other:
        assert one.content_type == "text/event-stream"
        assert json.loads((await read(one, "report"))["data"])["state"] in ("Live", "Loading")
        changed = fleet.stored(fleet.model(2), version=9)
        changed["status"]["phase"] = "Validating"
        await api.events.put({"type": "MODIFIED", "object": changed})
        for stream in (one, other):
            told = await read(stream, "rows")
            assert [row["phase"] for row in json.loads(told["data"])["rows"]] == ["Validating"]
    async with page.get("/api/changes", headers={"Last-Event-ID": told["id"]}) as again:
        assert await read(again, "report")
    assert api.tokens == [""], "one list and one watch for all"


async def test_a_browser_that_knows_too_little_starts_anew(site):
    page = await site()
    async with page.get("/api/changes?since=another.5") as answer:
        assert (await read(answer, "reset"))["data"] == "{}"
        assert await answer.content.read() == b""


async def test_a_right_that_ends_is_told_and_ends_the_stream(site, api):
    page = await site(Auth.USER)
    at = (await (await page.get("/api/models", headers=token("a"))).json())["at"]
    async with page.get(f"/api/changes?since={at}", headers=token("a")) as stream:
        await read(stream, "report")

        await api.events.put(ApiError(401, "expired"))
        assert json.loads((await read(stream, "report"))["data"]) == {
            "state": "Ended",
            "message": "expired",
            "code": 401,
        }
        assert await stream.content.read() == b""
