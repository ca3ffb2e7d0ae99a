"""The election: one leads, nobody writes without the Lease, and an API server that is away ends nobody."""

import asyncio

import pytest

from onnxmodel_operator.cluster.errors import ApiError, NotLeadingError
from onnxmodel_operator.cluster.lease import LEASE_SECONDS, RENEW_SECONDS, Lease, LeaseLost, lead


class Store:
    """The API server's Lease. away: nobody is answered. loses: it does what it is asked, and the answer is lost."""

    def __init__(self):
        self.lease, self.version, self.now = None, 0, 1000.0
        self.away = self.loses = False
        self.slow: asyncio.Event | None = None  # set when a write has arrived; its answer takes for ever

    def clock(self):
        return self.now

    async def read_lease(self, namespace, name, timeout):
        if self.away:
            raise ConnectionError("refused")
        return self.lease

    async def write_lease(self, lease, timeout):
        if self.away:
            raise TimeoutError
        given = lease["metadata"].get("resourceVersion")
        if given != (self.lease and self.lease["metadata"]["resourceVersion"]):
            raise ApiError(409 if self.lease else 404, "the object has been modified")
        self.version += 1
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        if self.slow and not self.slow.is_set():
            self.slow.set()
            await asyncio.Event().wait()
        if self.loses:
            raise ConnectionError("reset")
        return self.lease

    def replica(self, name):
        return Lease(self, "n", name, self.clock)


def may_write(lease):
    try:
        return lease.fence() > 0
    except NotLeadingError:
        return False


async def test_one_leads_and_the_standby_takes_over_when_it_is_gone():
    store = Store()
    first, second = store.replica("first"), store.replica("second")
    assert not may_write(first)
    assert await first.try_acquire()
    assert may_write(first)
    for _ in range(30):
        store.now += 2
        await first.renew()
        assert not await second.try_acquire()
    store.now += LEASE_SECONDS - 1  # the first one is paused
    assert not may_write(first), "the standby cannot have it yet, and the first one writes no more"
    assert not await second.try_acquire()
    store.now += 1
    assert await second.try_acquire()
    assert may_write(second)
    assert not may_write(first)
    with pytest.raises(LeaseLost, match="second holds the Lease"):
        await first.renew()
    await first.release()
    assert store.lease["spec"]["holderIdentity"] == "second", "what is lost is not released"


async def test_what_is_written_ends_before_the_lease_does():
    store = Store()
    lease = store.replica("a")
    await lease.try_acquire()
    store.now += RENEW_SECONDS - 1
    assert lease.fence() == LEASE_SECONDS - RENEW_SECONDS + 1
    store.now += 1
    with pytest.raises(NotLeadingError):
        lease.fence()


async def test_an_api_server_that_is_away_ends_nobody_and_changes_no_leader(caplog):
    store = Store()
    first, second = store.replica("first"), store.replica("second")
    await first.try_acquire()
    assert not await second.try_acquire()
    store.away = True
    for _ in range(30):
        store.now += 2
        await first.renew()
        assert not await second.try_acquire()
    assert not may_write(first)
    store.away = False
    assert not await second.try_acquire(), "the first one could not renew it either, and gets its time"
    await first.renew()
    assert may_write(first)
    assert [record.levelname for record in caplog.records].count("WARNING") == 2, "once by each"


async def test_a_lease_that_somebody_made_empty_is_free():
    store = Store()
    await store.write_lease({"metadata": {"name": "onnxmodel-operator", "namespace": "n"}}, 1)
    assert await store.replica("a").try_acquire()


@pytest.mark.parametrize("what", ["a lost answer", "somebody's edit", "a deletion"])
async def test_the_leader_goes_on_after(what):
    store = Store()
    lease = store.replica("a")
    await lease.try_acquire()
    if what == "a lost answer":
        store.loses = True
        await lease.renew()
        store.loses = False
    elif what == "somebody's edit":
        await store.write_lease(store.lease, 1)
    else:
        store.lease = None
    store.now += RENEW_SECONDS
    await lease.renew()
    assert may_write(lease)
    assert store.lease["spec"]["holderIdentity"] == "a"


async def test_who_takes_the_lease_and_gets_no_answer_has_it_at_the_next_try():
    store = Store()
    lease = store.replica("a")
    store.loses = True
    assert not await lease.try_acquire()
    store.loses = False
    assert await lease.try_acquire(), "it is this process's own, and nobody is waited for"
    assert may_write(lease)
    assert store.lease["spec"]["leaseTransitions"] == 0, "it changed hands once"


async def test_a_process_knows_for_how_long_the_lease_was_out_of_its_reach():
    store = Store()
    leader, standby = store.replica("first"), store.replica("second")
    await leader.try_acquire()

    async def pass_time(seconds):
        store.now += seconds
        await leader.renew()
        await standby.try_acquire()
        return leader.unreached_seconds(), standby.unreached_seconds()

    assert await pass_time(LEASE_SECONDS) == (0, 0), "another's Lease is an answer as well"
    store.away = True
    assert await pass_time(LEASE_SECONDS) == (LEASE_SECONDS, LEASE_SECONDS)
    store.away = False
    assert await pass_time(1) == (0, 0)


@pytest.mark.parametrize("renewal", [False, True], ids=["as it takes the Lease", "as it renews it"])
async def test_who_is_told_to_end_while_a_write_of_the_lease_is_on_its_way_hands_over(renewal, monkeypatch):
    monkeypatch.setattr("onnxmodel_operator.cluster.lease._RETRY_SECONDS", 0)
    store = Store()

    async def work():
        store.slow = asyncio.Event()
        await asyncio.Event().wait()

    store.slow = None if renewal else asyncio.Event()
    leading = asyncio.create_task(lead(store.replica("first"), work))
    while not (store.slow and store.slow.is_set()):
        await asyncio.sleep(0)
    assert store.lease["spec"]["holderIdentity"] == "first"
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    assert await store.replica("second").try_acquire()


async def test_a_standby_that_is_told_to_end_takes_nothing_from_the_leader():
    store = Store()
    await store.replica("first").try_acquire()
    standby = asyncio.create_task(lead(store.replica("second"), asyncio.Event().wait))
    await asyncio.sleep(0)
    standby.cancel()
    with pytest.raises(asyncio.CancelledError):
        await standby
    assert store.lease["spec"]["holderIdentity"] == "first"


async def test_a_leader_that_is_told_to_end_hands_over_at_once():
    store = Store()
    began = asyncio.Event()

    async def work():
        began.set()
        await asyncio.Event().wait()

    first, second = store.replica("first"), store.replica("second")
    leading = asyncio.create_task(lead(first, work))
    await began.wait()
    assert not await second.try_acquire()
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    assert not may_write(first)
    assert await second.try_acquire()
    assert store.lease["spec"]["leaseTransitions"] == 1
