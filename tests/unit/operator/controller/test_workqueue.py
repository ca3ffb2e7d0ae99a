"""The queue: each key once, never twice at a time, again after a failure."""

import asyncio

import pytest

from onnxmodel_operator.controller.workqueue import Urgency, WorkQueue


async def run_for(queue, work, workers=4, seconds=0.3):
    task = asyncio.create_task(queue.run(work, workers))
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_waits_once():
    queue, seen = WorkQueue(), []
    for _ in range(100):
        queue.add("a")
    queue.add("b")
    assert len(queue) == 2

    async def work(key):
        seen.append(key)

    await run_for(queue, work, seconds=0.05)
    assert sorted(seen) == ["a", "b"]


async def test_a_key_is_never_worked_on_twice_at_a_time_and_what_came_meanwhile_is_not_lost():
    queue, at_once, most, runs = WorkQueue(), 0, 0, 0

    async def work(key):
        nonlocal at_once, most, runs
        at_once += 1
        most = max(most, at_once)
        runs += 1
        if runs == 1:
            for _ in range(10):
                queue.add(key)
        await asyncio.sleep(0.01)
        at_once -= 1

    queue.add("a")
    await run_for(queue, work)
    assert (most, runs) == (1, 2)


async def test_backoff_doubles_to_its_maximum_and_is_forgotten():
    queue = WorkQueue(first_backoff=1, max_backoff=5)
    assert [queue.retry("a") for _ in range(4)] == [1, 2, 4, 5]
    queue.forget("a")
    assert queue.retry("a") == 1


async def test_what_failed_is_tried_at_once_when_what_it_failed_at_is_over():
    queue = WorkQueue(first_backoff=1000, max_backoff=9000)
    for key in "aba":
        queue.retry(key)
    queue.add_after("later", 1000)
    queue.retry_all()
    assert len(queue) == 2
    assert await taken(queue, 2) == ["a", "b"]
    assert queue.retry("a") == 1000


async def test_the_earlier_time_wins():
    queue, seen = WorkQueue(), []
    start = asyncio.get_running_loop().time()
    queue.add_after("a", 5)
    queue.add_after("a", 0.05)
    queue.add_after("a", 7)

    async def work(key):
        seen.append(asyncio.get_running_loop().time() - start)

    await run_for(queue, work)
    assert len(seen) == 1


async def test_a_worker_survives_what_its_work_raises():
    queue, seen = WorkQueue(first_backoff=0.01), []

    async def work(key):
        seen.append(key)
        if len(seen) < 3:
            raise RuntimeError("a defect")

    queue.add("a")
    await run_for(queue, work, workers=1)
    assert seen == ["a"] * 3


@pytest.mark.parametrize("turns", range(4))
async def test_a_queue_that_is_cancelled_ends_whatever_its_timer_does(turns):
    queue = WorkQueue()

    async def work(key):
        pass

    task = asyncio.create_task(queue.run(work, 2))
    for later in (100, 60):
        await asyncio.sleep(0.01)
        queue.add_after(later, later)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    ended, _ = await asyncio.wait({task}, timeout=5)
    task.cancel()
    assert ended


async def taken(queue, keys):
    seen, last = [], asyncio.Event()

    async def work(key):
        seen.append(key)
        if len(seen) == keys:
            last.set()

    task = asyncio.create_task(queue.run(work, 1))
    await asyncio.wait_for(last.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(seen) == len(set(seen)) == keys
    assert len(queue) == 0
    return seen


async def test_shares_take_turns():
    queue = WorkQueue(share=lambda key: key[0])
    for number in range(500):
        queue.add(("crowd", number))
    queue.add(("late", 1))
    queue.add(("late", 2))
    seen = await taken(queue, 502)
    assert seen[:4] == [("crowd", 0), ("late", 1), ("crowd", 1), ("late", 2)]


async def test_what_was_there_at_the_start_comes_after_what_changes_and_does_not_starve():
    queue = WorkQueue()
    for number in range(50):
        queue.add(number, Urgency.LATER)
    for number in range(100, 150):
        queue.add(number)
    queue.add(49)  # it changes as well
    seen = await taken(queue, 100)
    assert seen.index(49) == 57
    assert [number for number in seen[:58] if number < 49] == [0, 1, 2, 3, 4, 5, 6], "one of eight"


async def test_what_is_urgent_comes_first_and_keeps_nothing_waiting_for_ever():
    queue = WorkQueue()
    for number in range(8):
        queue.add(number)
    for number in range(100, 150):
        queue.add(number, Urgency.FIRST)
    queue.add(7, Urgency.FIRST)
    queue.add(100)  # no less urgent for that
    seen = await taken(queue, 58)
    assert [number for number in seen[:57] if number < 100] == [0, 1, 2, 3, 4, 5, 6], "one of eight"
    assert seen.index(7) == 57


async def test_what_is_urgent_to_one_share_keeps_no_other_waiting():
    queue = WorkQueue(share=lambda key: key[0])
    for number in range(500):
        queue.add(("crowd", number), Urgency.FIRST)
    queue.add(("other", 1))
    queue.add(("other", 2), Urgency.FIRST)
    queue.add(("third", 1), Urgency.LATER)
    seen = await taken(queue, 503)
    assert seen[:4] == [("crowd", 0), ("other", 2), ("crowd", 1), ("other", 1)]
    assert seen[-1] == ("third", 1)


async def test_times_that_are_void_take_no_room():
    queue = WorkQueue()
    for _ in range(1000):
        queue.add_after("a", 3600)
        queue.add("a")
        assert await taken(queue, 1) == ["a"]
    assert len(queue._timers) < 150


async def test_what_becomes_urgent_while_it_is_worked_on_is_worked_on_first():
    queue, seen = WorkQueue(), []

    async def work(key):
        if not seen:
            queue.add("a", Urgency.LATER)
            queue.add("b")
            queue.add("a", Urgency.FIRST)
        seen.append(key)

    queue.add("a")
    await run_for(queue, work, workers=1, seconds=0.05)
    assert seen == ["a", "a", "b"]


async def test_a_time_to_work_on_a_key_is_void_once_that_happened():
    queue, seen = WorkQueue(), []

    async def work(key):
        seen.append(key)
        if len(seen) == 1:
            queue.add_after("a", 0.1)  # what happens meanwhile is for the next time

    for _ in range(4):
        queue.add_after("a", 0.05)
    queue.add("a")
    await run_for(queue, work, seconds=0.25)
    assert seen == ["a", "a"]


async def test_ages_are_of_the_oldest_of_each_share():
    queue = WorkQueue(share=lambda key: key[0])
    assert queue.ages() == {}
    queue.add(("a", 1), Urgency.LATER)
    await asyncio.sleep(0.02)
    queue.add(("a", 2))
    queue.add(("b", 1))
    queue.add(("a", 1))
    ages = queue.ages()
    assert ages["a"] >= 0.02 > ages["b"]


async def test_work_that_waits_for_nothing_holds_up_nothing_else():
    queue, done, seen = WorkQueue(), [], []
    for key in range(100):
        queue.add(key)

    async def work(key):
        done.append(key)

    running = asyncio.create_task(queue.run(work, workers=4))
    while len(done) < 100:
        await asyncio.sleep(0)
        seen.append(len(done))
    running.cancel()
    assert max(after - before for before, after in zip([0, *seen], seen, strict=False)) <= 4
