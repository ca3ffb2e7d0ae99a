"""The cache, the barrier before anything is decided, and the sweep of what was deleted unseen."""

import asyncio

from onnxmodel_operator import names
from onnxmodel_operator.cluster.cache import Cache
from onnxmodel_operator.cluster.kinds import ALL, JOB, MODEL
from onnxmodel_operator.cluster.sync import resync, wait_until_known


def item(name, version=1, uid=None, model="m"):
    metadata = {
        "name": name, "namespace": "n", "uid": uid or f"uid-{name}", "resourceVersion": str(version),
        "labels": {names.LABEL_MODEL: model}, "managedFields": [{"big": "noise"}],
    }  # fmt: skip
    return {"metadata": metadata}


class Lister:
    def __init__(self, **items):
        self.items = items
        self.calls = []

    async def list(self, kind):
        self.calls.append(kind.name)
        return self.items.get(kind.plural, [])


def test_children_are_found_by_their_model_and_without_noise():
    cache = Cache()
    assert cache.put(MODEL, item("m")) == ("n", "m")
    assert cache.put(JOB, item("m-validate-1")) == ("n", "m")
    cache.put(JOB, item("other-validate-1", model="other"))
    snapshot = cache.snapshot(("n", "m"))
    assert snapshot.model["metadata"]["name"] == "m"
    assert [job["metadata"]["name"] for job in snapshot.jobs] == ["m-validate-1"]
    assert "managedFields" not in snapshot.jobs[0]["metadata"]


def test_an_older_state_does_not_replace_a_newer_one():
    cache = Cache()
    cache.put(JOB, item("j", version=10))
    assert cache.put(JOB, item("j", version=9)) is None
    assert cache.put(JOB, item("j", version=10)) is None
    assert cache.snapshot(("n", "m")).jobs[0]["metadata"]["resourceVersion"] == "10"


def test_a_late_deletion_does_not_remove_a_new_object_of_the_name():
    cache = Cache()
    cache.put(JOB, item("j", version=10, uid="new"))
    cache.drop(JOB, item("j", version=5, uid="old"))
    assert len(cache.snapshot(("n", "m")).jobs) == 1
    cache.drop(JOB, item("j", version=11, uid="new"))
    assert cache.keys() == []


async def test_nothing_is_decided_before_everything_listed_was_told():
    cache, lister = Cache(), Lister(onnxmodels=[item("m")], jobs=[item("j")])
    barrier = asyncio.create_task(wait_until_known(cache, lister))
    await asyncio.sleep(0.1)
    cache.put(MODEL, item("m"))
    await asyncio.sleep(0.2)
    assert not barrier.done()
    cache.put(JOB, item("j"))
    await asyncio.wait_for(barrier, 5)
    assert set(lister.calls) == {kind.name for kind in ALL}


async def test_what_is_deleted_meanwhile_does_not_hold_the_barrier():
    cache, lister = Cache(), Lister(jobs=[item("j")])
    barrier = asyncio.create_task(wait_until_known(cache, lister))
    await asyncio.sleep(0.1)
    lister.items = {}
    await asyncio.wait_for(barrier, 5)


async def test_resync_forgets_ghosts_and_learns_what_was_missed():
    cache = Cache()
    cache.put(JOB, item("ghost"))
    cache.put(JOB, item("same"))
    concerned = await resync(cache, Lister(jobs=[item("same"), item("new", model="other")]))
    assert concerned == {("n", "m"), ("n", "other")}
    assert [job["metadata"]["name"] for job in cache.snapshot(("n", "m")).jobs] == ["same"]
    assert await resync(cache, Lister(jobs=[item("same"), item("new", model="other")])) == set()


async def test_what_is_deleted_while_the_list_is_on_its_way_stays_deleted():
    cache = Cache()
    cache.put(JOB, item("j"))

    class Slow(Lister):
        async def list(self, kind):
            found = await super().list(kind)
            if kind is JOB:
                cache.drop(JOB, item("j", version=2))
            return found

    await resync(cache, Slow(jobs=[item("j")]))
    assert cache.snapshot(("n", "m")).jobs == ()
