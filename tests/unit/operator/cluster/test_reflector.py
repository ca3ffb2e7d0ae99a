"""A reflector's cache ends as the API server is, wherever its list and its watch are cut."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from onnxmodel_operator.cluster import reflector
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.errors import ApiError
from onnxmodel_operator.cluster.kinds import BY_NAME, JOB, MODEL
from onnxmodel_operator.cluster.reflector import Reflector, WentBackError
from onnxmodel_operator.metrics import LISTS, REPAIRS
from tests.builders import item


def event(type_, name, version, **more):
    return {"type": type_, "object": item(name, version=version, **more)}


def bookmark(version, *, end=False):
    metadata = {"resourceVersion": str(version)} | (
        {"annotations": {"k8s.io/initial-events-end": "true"}} if end else {}
    )
    return {"type": "BOOKMARK", "object": {"metadata": metadata}}


class Scripted:
    """Plays one script for each call of `watch`: events to send, or an error to raise. Silent after the last."""

    def __init__(self, *scripts, pages=(), kind=JOB):
        self.scripts, self.asked, self._pages = list(scripts), [], pages

    async def pages(self, kind, namespace=None):
        for page in self._pages:
            yield page

    async def watch(self, kind, version, namespace=None):
        self.asked.append(version)
        self.namespace = namespace
        if not self.scripts:
            await asyncio.Event().wait()
        for step in self.scripts.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


class Run:
    def __init__(self, *scripts, pages=(), kind=JOB, namespace=None):
        self.cache, self.changed, self.source = Cache(), [], Scripted(*scripts, pages=pages)
        self.reflector = Reflector(
            kind,
            self.source,
            self.cache,
            lambda key, _, *, later: self.changed.append((key, later)),
            namespace=namespace,
        )

    async def to_the_end(self):
        """Until every script was played and the next watch waits."""
        task = asyncio.create_task(self.reflector.run())
        async with asyncio.timeout(20):
            while self.source.scripts or not self.source.asked:
                await asyncio.sleep(0)
                assert not task.done(), task.exception()
            for _ in range(20):
                await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return [job["metadata"]["name"] for job in self.cache.snapshot(("n", "m")).jobs]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No pause between two watches."""
    monkeypatch.setattr(reflector, "_FIRST_PAUSE_SECONDS", 0)


async def test_what_is_there_comes_with_the_watch_and_is_synced_at_its_bookmark():
    run = Run([event("ADDED", "a", 3), bookmark(4)])
    assert await run.to_the_end() == ["a"]
    assert not run.reflector.synced.is_set(), "an ordinary bookmark ends no list"
    run = Run([event("ADDED", "a", 3), bookmark(5, end=True)])
    assert await run.to_the_end() == ["a"]
    assert run.reflector.synced.is_set()
    assert run.changed == [(("n", "m"), True)], "those that were there can wait"
    assert run.source.asked == [None, "5"]


@pytest.mark.parametrize(
    "cut",
    [[], [ApiError(500, "etcd")], [ApiError(429, "later")], [TimeoutError()], [ConnectionError("cut")]],
    ids=["ended", "500", "429", "silent", "cut"],
)
async def test_a_watch_that_is_cut_goes_on_where_it_was(cut):
    run = Run(
        [event("ADDED", "a", 3), bookmark(5, end=True), event("ADDED", "b", 6), *cut],
        [event("DELETED", "a", 7), bookmark(9), *cut],
        [event("ADDED", "c", 10), *cut],
    )
    assert await run.to_the_end() == ["b", "c"]
    assert run.source.asked == [None, "6", "9", "10"]


async def test_a_version_that_is_too_old_lists_again_and_forgets_ghosts(caplog):
    caplog.set_level("INFO")
    before, lists = REPAIRS.labels("Job")._value.get(), LISTS.labels("Job")._value.get()
    run = Run(
        [event("ADDED", "ghost", 3), event("ADDED", "same", 4), bookmark(5, end=True), ApiError(410, "too old")],
        [event("ADDED", "same", 4), event("ADDED", "new", 20, model="other"), bookmark(21, end=True)],
    )
    assert await run.to_the_end() == ["same"]
    assert run.source.asked == [None, None, "21"]
    assert run.changed[-2:] == [(("n", "other"), False), (("n", "m"), False)]
    assert REPAIRS.labels("Job")._value.get() == before + 2
    assert LISTS.labels("Job")._value.get() == lists + 2
    told = [record.message for record in caplog.records if "found changes" in record.message]
    assert told == ["a new list of Jobs found changes that the watch had not told: of n/m, n/other"]


async def test_a_list_names_some_of_the_models_that_it_repaired(caplog):
    caplog.set_level("INFO")
    run = Run(
        [bookmark(5, end=True), ApiError(410, "too old")],
        [*(event("ADDED", f"j{n}", 6 + n, model=f"m{n}") for n in range(7)), bookmark(21, end=True)],
        [ApiError(410, "too old")],
        [*(event("ADDED", f"j{n}", 6 + n, model=f"m{n}") for n in range(7)), bookmark(21, end=True)],
    )
    await run.to_the_end()
    told = [record.message for record in caplog.records if "found changes" in record.message]
    assert [line.partition("of n/")[2] for line in told] == ["m0, n/m1, n/m2, n/m3, n/m4 and 2 more models"]


async def test_neither_a_list_nor_a_bookmark_is_an_event():
    now = 0.0

    def passing(*steps):
        nonlocal now
        for seconds, step in steps:
            now += seconds
            reflector_._proved = now
            reflector_._take(step["type"], step["object"])
        return reflector_.event_age_seconds()

    reflector_ = Reflector(JOB, None, Cache(), lambda key, item, *, later: None, clock=lambda: now)
    reflector_._unlisted = set()
    assert passing((1, event("ADDED", "a", 3)), (1, bookmark(5, end=True)), (1, bookmark(6))) == 3
    assert passing((1, event("MODIFIED", "a", 7))) == 0
    assert passing((4, bookmark(8))) == 4


async def test_a_crd_that_is_not_there_is_said(caplog):
    run = Run([ApiError(404, "Not Found")], [ApiError(404, "Not Found")], kind=BY_NAME["OnnxModel"])
    await run.to_the_end()
    (record,) = caplog.records
    assert "there is no CRD for OnnxModels: apply the CRD of the operator's release (docs/install.md)" in record.message


async def test_a_list_that_is_cut_forgets_nothing_and_begins_again():
    run = Run(
        [event("ADDED", "a", 3), event("ADDED", "b", 4), bookmark(5, end=True), ApiError(410, "too old")],
        [event("ADDED", "a", 3), ConnectionError("cut")],
        [event("ADDED", "b", 4), event("ADDED", "a", 3), bookmark(9, end=True)],
    )
    assert await run.to_the_end() == ["a", "b"]
    assert run.source.asked == [None, None, None, "9"]


async def test_what_is_deleted_while_the_list_runs_stays_deleted():
    run = Run([event("ADDED", "a", 3), event("DELETED", "a", 4), bookmark(5, end=True)])
    assert await run.to_the_end() == []


async def test_an_api_server_that_cannot_stream_a_list_is_asked_in_pages():
    refused = ApiError(422, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
    pages = [([item("a", version=3)], "8"), ([item("b", version=4)], "8")]
    run = Run([refused], [event("DELETED", "a", 9)], pages=pages)
    assert await run.to_the_end() == ["b"]
    assert run.source.asked == [None, "8", "9"]
    assert run.reflector.synced.is_set()


async def test_a_version_that_the_api_server_never_had_lists_again():
    ahead = ApiError(504, "Timeout: Too large resource version: 900, current: 500")
    run = Run(
        [event("ADDED", "a", 3), bookmark(900, end=True)], [ahead], [event("ADDED", "a", 3), bookmark(901, end=True)]
    )
    assert await run.to_the_end() == ["a"]
    assert run.source.asked == [None, "900", None, "901"]


async def test_an_api_server_that_went_back_in_time_ends_it():
    run = Run(
        [event("ADDED", "a", 3), bookmark(900, end=True), ApiError(410, "too old")],
        [event("ADDED", "a", 2), bookmark(500, end=True)],
    )
    with pytest.raises(WentBackError, match="were at version 900 and are at 500"):
        await run.reflector.run()


async def test_a_watch_lists_again_after_ten_minutes_whatever_it_told():
    now = [0.0]
    run = Run(
        [event("ADDED", "missed", 3), bookmark(5, end=True), bookmark(6), bookmark(7)],
        [event("ADDED", "new", 4), bookmark(8, end=True)],
    )
    run.reflector._clock = lambda: now[0]
    told = run.reflector._take

    def take(*args):
        told(*args)
        now[0] += reflector.RESYNC_SECONDS / 2

    run.reflector._take = take
    assert await run.to_the_end() == ["new"], "the deletion that no event told of"
    assert run.source.asked == [None, None, "8"]


@pytest.mark.parametrize(
    ("error", "said"), [(ConnectionError("refused"), 0), (ApiError(503, "away"), 0), (ApiError(403, "forbidden"), 1)]
)
async def test_a_watch_that_never_held_is_not_said_to_be_cut_by_an_outage(error, said, caplog):
    await Run([error], [error], [error]).to_the_end()
    assert caplog.text.count("the watch of Jobs was interrupted") == said


async def test_a_watch_that_held_is_said_once_to_be_cut(caplog):
    error = ConnectionError("refused")
    await Run([bookmark(1, end=True)], [error], [error], [error]).to_the_end()
    assert caplog.text.count("the watch of Jobs was interrupted") == 1


async def test_a_defect_ends_it():
    run = Run([{"type": "ADDED"}])
    with pytest.raises(KeyError):
        await run.reflector.run()


async def test_a_list_of_one_namespace_forgets_nothing_of_another():
    run = Run([bookmark(9, end=True)], namespace="n")
    gone, elsewhere = item("gone", uid="gone"), item("elsewhere", uid="elsewhere")
    elsewhere["metadata"]["namespace"] = "other"
    for one in (gone, elsewhere):
        run.cache.put(MODEL, one)
    run.reflector.kind = MODEL
    await run.to_the_end()
    assert run.source.namespace == "n"
    assert run.reflector.name == "Job of namespace n"
    assert run.cache.keys() == [("other", "elsewhere")]
    assert run.changed == [(("n", "gone"), False)]


async def test_seconds_since_the_last_proof_of_life():
    now = [100.0]
    watched = Reflector(JOB, Scripted(), Cache(), print, clock=lambda: now[0])
    now[0] += 7
    assert watched.silent_seconds() == 7
    watched._source = Scripted([bookmark(5, end=True), TimeoutError()])
    task = asyncio.create_task(watched.run())
    await asyncio.wait_for(watched.synced.wait(), 5)
    assert watched.silent_seconds() == 0
    task.cancel()


async def test_an_add_on_that_the_cluster_lacks_is_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(reflector, "MISSING_PAUSE_SECONDS", 0)
    kind, gone = replace(JOB, add_on=True), ApiError(404, "page not found")
    run = Run([gone], [gone], kind=kind)
    run.cache.put(MODEL, item("m", uid="model"))
    await run.to_the_end()
    assert run.reflector.synced.is_set(), "nothing waits for it"
    assert run.cache.missing == run.cache.snapshot(("n", "m")).missing == {"Job"}
    assert run.changed == [(("n", "m"), True)], "each model is told once"
    assert len([one for one in caplog.messages if "no kind Job" in one]) == 1
    run = Run([gone], [event("ADDED", "a", 3), bookmark(5, end=True)], kind=kind)
    run.cache.put(MODEL, item("m", uid="model"))
    assert await run.to_the_end() == ["a"]
    assert run.cache.missing == set()
    assert run.changed[-1] == (("n", "m"), True), "and once more when it is there"


async def test_what_an_add_on_had_goes_with_it(monkeypatch):
    monkeypatch.setattr(reflector, "MISSING_PAUSE_SECONDS", 0)
    there, gone = [event("ADDED", "a", 3), bookmark(5, end=True)], ApiError(404, "page not found")
    run = Run(there, [gone], kind=replace(JOB, add_on=True))
    assert await run.to_the_end() == []
